//! Demotion: pieces that only memory has are written below, in the background.
//!
//! What is to go comes from three sides: the margin asks for the coldest blocks ahead of need, write-through for what was just
//! put, and a job (`persist`, `drain`) for what it has promised. Blocks are taken in batches; in a batch those of a chain
//! go one behind the other, from the root on, so that they lie in one piece below. Invariants: what is below is not
//! written again, and nothing is written before the tier has told what it holds; what is under way is bounded in bytes, so a
//! tier that hangs keeps little of memory busy; a block stays readable, and stays, while it is written.

use std::collections::{HashMap, HashSet, VecDeque};

use cascade_core::flow::NowNs;
use cascade_core::governor::Urgency;
use cascade_core::margin::{Margin, Mode, Stock};
use cascade_core::piece::PieceId;
use cascade_core::policy::BlockId;
use cascade_tier::{Action, NO_DEADLINE, Place};

use super::below::{Below, Direction, Ended};
use super::copies::Leaving;
use super::store::Store;
use crate::config::{self, FlowMode};

/// What one batch has at most.
const BATCH_PIECES: usize = 256;
const BATCH_BYTES: u64 = 64 << 20;
/// What may be under way at most, and the share of memory that it may be, as a divisor.
const UNDER_WAY_BYTES_MAX: u64 = 128 << 20;
const UNDER_WAY_SHARE: u64 = 8;
/// Blocks of the cold end that are looked at for some to write; twice as many after a look in vain.
const LOOK_BLOCKS: std::ops::RangeInclusive<usize> = 1024..=8192;
/// How long nobody looks again after a look in vain, for each block that was looked at: so looking takes a few hundredths of
/// the time.
const LOOK_PAUSE_NS: u64 = 20_000;
/// Handles that one step of a sweep looks at.
const SWEEP_HANDLES: u32 = 2048;
/// Fresh blocks that are remembered one by one; when there are more, all blocks are looked at instead.
const FRESH_MAX: usize = 1 << 16;

/// Who wants something written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum For {
    /// The flow itself.
    Margin,
    /// The job of this number.
    Job(u64),
}

/// A write that ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    /// Who wanted it.
    pub(super) whom: For,
    /// How many bytes.
    pub(super) bytes: u64,
    /// Whether the tier has them now.
    pub(super) is_stored: bool,
}

/// What is being written, and what is to be.
#[derive(Debug)]
pub(super) struct Demotions {
    margin: Margin,
    is_write_through: bool,
    /// Blocks to write, in order, and who wants them.
    waiting: VecDeque<(BlockId, For)>,
    under_way: HashMap<u64, (Leaving, For)>,
    look_blocks: usize,
    look_again_ns: NowNs,
    /// The next handle to look at, where all are looked at.
    sweep: Option<u32>,
    looked_at: Vec<BlockId>,
}

impl Demotions {
    pub(super) fn new(flow: &config::Flow) -> Self {
        let is_write_through = flow.mode == FlowMode::WriteThrough;
        let mode = match flow.mode {
            FlowMode::WriteThrough => Mode::WriteThrough,
            FlowMode::WriteBack => {
                Mode::WriteBack { low_ratio: flow.clean_low_ratio, high_ratio: flow.clean_high_ratio }
            }
        };
        Self {
            margin: Margin::new(mode),
            is_write_through,
            waiting: VecDeque::new(),
            under_way: HashMap::new(),
            look_blocks: *LOOK_BLOCKS.start(),
            look_again_ns: 0,
            // What was adopted was put before anybody noted it.
            sweep: is_write_through.then_some(0),
            looked_at: Vec::new(),
        }
    }

    /// Whether writes are under way or wait to be.
    pub(super) fn is_busy(&self) -> bool {
        !self.under_way.is_empty() || !self.waiting.is_empty()
    }

    /// Pieces on their way.
    pub(super) fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Whether so little waits that whoever has more to write may bring some.
    pub(super) fn takes_more(&self) -> bool {
        self.waiting.len() < BATCH_PIECES
    }

    /// Whether something that this one wants has not gone out yet.
    pub(super) fn waits_for(&self, whom: For) -> bool {
        self.waiting.iter().any(|(_, other)| *other == whom)
    }

    /// The request of the oldest write under way.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.under_way.keys().min().copied()
    }

    /// Blocks that a job wants written, in this order among themselves.
    pub(super) fn want(&mut self, store: &Store, blocks: &mut Vec<BlockId>, whom: For) {
        for batch in batches(store, blocks) {
            self.waiting.extend(batch.into_iter().map(|block| (block, whom)));
        }
        blocks.clear();
    }

    /// Looks for what the flow wants written, and writes what waits; `true` if anything went out. `growth_bytes` is memory that
    /// comes without an eviction.
    pub(super) fn turn(
        &mut self,
        store: &mut Store,
        below: &mut Below,
        now: NowNs,
        growth_bytes: u64,
    ) -> bool {
        // What the tier holds must not be written again, so it has to be known first.
        if !below.is_listed() || below.is_given_up(now, Direction::Write) {
            return false;
        }
        self.look(store, now, growth_bytes);
        self.write(store, below, now)
    }

    /// A request ended, if it was ours. What the tier has of a piece that was dropped meanwhile is to be removed.
    pub(super) fn ended(&mut self, store: &mut Store, ended: &Ended) -> Option<Written> {
        let (leaving, whom) = self.under_way.remove(&ended.request)?;
        let is_stored = ended.status.is_ok();
        let unwanted = store.end_demotion(&leaving, is_stored.then_some(ended.extent));
        store.removals.extend(unwanted);
        Some(Written { whom, bytes: leaving.meta.len_bytes, is_stored })
    }

    /// The tier is closed: nothing is written any more.
    pub(super) fn abandon(self, store: &mut Store) {
        for (leaving, _) in self.under_way.values() {
            store.end_demotion(leaving, None);
        }
    }

    /// Forgets what waits for a job that is over.
    pub(super) fn forget(&mut self, whom: For) {
        self.waiting.retain(|(_, other)| *other != whom);
    }

    fn look(&mut self, store: &mut Store, now: NowNs, growth_bytes: u64) {
        if self.is_write_through {
            self.take_fresh(store);
            return;
        }
        let wanted_bytes = self.margin.wanting_bytes(stock(store, growth_bytes));
        if wanted_bytes == 0 || !self.waiting.is_empty() || now < self.look_again_ns {
            return;
        }
        let mut looked_at = std::mem::take(&mut self.looked_at);
        store.policy.coldest(self.look_blocks, &mut looked_at);
        let mut bytes = 0;
        looked_at.retain(|&block| {
            let dirty = if bytes < wanted_bytes { admitted_bytes(store, block) } else { 0 };
            bytes += dirty;
            dirty > 0
        });
        if looked_at.is_empty() {
            // The cold end is clean as far as we see: what comes next in its place can go without a transfer.
            self.look_again_ns = now + LOOK_PAUSE_NS * self.look_blocks as u64;
            self.look_blocks = (self.look_blocks * 2).min(*LOOK_BLOCKS.end());
        } else {
            self.look_blocks = *LOOK_BLOCKS.start();
            self.want(store, &mut looked_at, For::Margin);
        }
        self.looked_at = looked_at;
    }

    fn take_fresh(&mut self, store: &mut Store) {
        if store.fresh.as_ref().is_some_and(|fresh| fresh.len() > FRESH_MAX) {
            (store.fresh, self.sweep) = (Some(Vec::new()), Some(0));
        }
        if !self.takes_more() {
            return;
        }
        let mut blocks = store.fresh.replace(Vec::new()).unwrap_or_default();
        if let Some(next) = self.sweep {
            self.sweep = sweep(store, next, &mut blocks);
        }
        blocks.retain(|&block| admitted_bytes(store, block) > 0);
        self.want(store, &mut blocks, For::Margin);
    }

    fn write(&mut self, store: &mut Store, below: &mut Below, now: NowNs) -> bool {
        let limit = UNDER_WAY_BYTES_MAX.min(store.backed_bytes() / UNDER_WAY_SHARE);
        let mut wrote = false;
        while let Some(&(block, whom)) = self.waiting.front() {
            // What waited has been written, evicted or replaced by something else since: that shows now.
            let pieces: Vec<PieceId> = store.dirty_pieces(block).collect();
            for id in pieces {
                // One piece may go alone, however large it is.
                if store.leaving_bytes > 0 && store.leaving_bytes >= limit {
                    return wrote;
                }
                match self.write_piece(store, below, now, &id, whom) {
                    Some(true) => wrote = true,
                    Some(false) => {}
                    None => return wrote,
                }
            }
            self.waiting.pop_front();
        }
        wrote
    }

    /// Writes a piece; `Some(false)` if it cannot be written at all, `None` if not now.
    fn write_piece(
        &mut self,
        store: &mut Store,
        below: &mut Below,
        now: NowNs,
        id: &PieceId,
        whom: For,
    ) -> Option<bool> {
        let Some(slot) = store.catalog.slot(id) else { return Some(false) };
        let len_bytes = store.line(slot.arena, slot.slot).meta().len_bytes;
        let Some((offset, _)) = store.segment().extent(slot.arena, slot.slot) else { return Some(false) };
        let Some(source) = below.range(slot.arena, offset, len_bytes) else { return Some(false) };
        if len_bytes > below.piece_bytes_max() {
            return Some(false);
        }
        let urgency = match whom {
            For::Margin => Urgency::Background,
            For::Job(_) => Urgency::Waited,
        };
        if !below.may_ask(now, Direction::Write, urgency, len_bytes) {
            return None;
        }
        let Some(leaving) = store.begin_demotion(id) else { return Some(false) };
        let Leaving { meta, parent, .. } = leaving;
        let place = Place { parent: *parent.as_bytes(), depth: meta.depth };
        let action = Action::Store { source, piece: meta.id.into(), checksum: meta.checksum, place };
        let request = below.ask(now, action, NO_DEADLINE);
        self.under_way.insert(request, (leaving, whom));
        Some(true)
    }
}

/// One step of a look at all blocks: adds those of `SWEEP_HANDLES` handles that have something to write. Returns where to go on.
pub(super) fn sweep(store: &Store, next: u32, blocks: &mut Vec<BlockId>) -> Option<u32> {
    let handles = store.catalog.handles();
    let end = next.saturating_add(SWEEP_HANDLES).min(handles);
    let has_dirty = |&block: &BlockId| store.dirty_pieces(block).next().is_some();
    blocks.extend((next..end).map(BlockId).filter(has_dirty));
    (end < handles).then_some(end)
}

fn stock(store: &Store, growth_bytes: u64) -> Stock {
    let (clean_bytes, leaving_bytes) = (store.clean_bytes, store.leaving_bytes);
    Stock {
        capacity_bytes: store.backed_bytes() + growth_bytes,
        free_bytes: store.whole_bytes() + growth_bytes,
        clean_bytes,
        leaving_bytes,
        dirty_bytes: store.counters.resident_bytes.saturating_sub(clean_bytes + leaving_bytes),
    }
}

fn dirty_bytes(store: &Store, block: BlockId) -> u64 {
    let slots = store.dirty_pieces(block).filter_map(|id| store.catalog.slot(&id));
    slots.map(|slot| store.line(slot.arena, slot.slot).meta().len_bytes).sum()
}

fn admitted_bytes(store: &Store, block: BlockId) -> u64 {
    if store.spares.admits(block) { dirty_bytes(store, block) } else { 0 }
}

/// Cuts a row of blocks into batches, each of which has its chains one after the other, from the root on.
fn batches(store: &Store, blocks: &[BlockId]) -> Vec<Vec<BlockId>> {
    let mut batches = vec![Vec::new()];
    let (mut pieces, mut bytes) = (0, 0);
    for &block in blocks {
        pieces += store.dirty_pieces(block).count();
        bytes += dirty_bytes(store, block);
        if pieces > BATCH_PIECES || bytes > BATCH_BYTES {
            (pieces, bytes) = (store.dirty_pieces(block).count(), dirty_bytes(store, block));
            batches.push(Vec::new());
        }
        batches.last_mut().expect("there is one").push(block);
    }
    batches.iter_mut().for_each(|batch| *batch = in_chains(store, batch));
    batches
}

/// The blocks of a batch, chain by chain as they first appear, each from the one nearest to its root.
fn in_chains(store: &Store, batch: &[BlockId]) -> Vec<BlockId> {
    let members: HashSet<BlockId> = batch.iter().copied().collect();
    let mut ordered = Vec::with_capacity(batch.len());
    let mut placed = HashSet::new();
    for &block in batch {
        // Up to the first that is placed, or that is not in the batch; then down again.
        let above = std::iter::successors(Some(block), |&block| store.catalog.parent(block));
        let mut row: Vec<BlockId> =
            above.take_while(|block| members.contains(block) && !placed.contains(block)).collect();
        placed.extend(row.iter().copied());
        row.reverse();
        ordered.extend(row);
    }
    ordered
}
