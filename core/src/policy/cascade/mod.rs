//! Cascade's own policy: evicts what is expected to bring the fewest hits for the room that it takes.
//!
//! A *segment* is the run of blocks that one request touched or made last in one class ([`class`]): a vertical piece of
//! the prefix tree, evicted from its bottom, so a parent never leaves before its child. For each class the chance of
//! reuse by age is learned from the traffic ([`hazard`], after Kaplan and Meier 1958; [`ghosts`] tell what became of the
//! evicted), and the victim is the tail of the segment with the least index ([`gittins`], after Gittins 1979) among the
//! oldest of each class and age ([`cells`], [`ranking`]). What arrives competes from its first moment: a block that is
//! worth less than all others is itself the next victim. core/docs/policy.md has the reasons and the figures.
//!
//! Only what a node sees is used: matched chains, insertions one by one, evictions. A request's number, length and missing
//! keys are not looked at, so a dry run and a node agree.
//!
//! Invariants: a block is offered only while it is the lowest of its segment; a handle takes 20 bytes, segments and ghosts
//! an amount set in `memory.rs`, so all takes at most 64 bytes a block of capacity beside some fixed hundreds of KiB. *Pinned by
//! core/tests/policy_cascade_memory.rs.* O(1) amortised for each block: a tick of eight blocks looks at every bucket, and
//! learns one class anew now and then; nothing walks over what is resident.

mod age;
mod cells;
mod class;
mod forest;
mod ghosts;
mod gittins;
mod hazard;
mod memory;
mod order;
mod ranking;
mod time;
mod touch;

use super::{Arrival, BlockId, Policy, REFUSALS_MAX, Removal, Request, checked_capacity};
use age::TICK_BLOCKS;
use alloc::vec::Vec;
use cells::{Cells, Change, RANKED};
use class::Class;
use forest::{Forest, NONE, State};
use ghosts::Ghosts;
use hazard::Hazards;
use ranking::Ranking;
use time::Tails;
use touch::REQUEST_TICKS;

/// What follows a touch or an insertion is waited for while so much of the capacity passes, and at most for as long as an
/// insertion is taken for part of a request.
const GROWING_SHARE: u64 = 32;

/// Least expected hits for the room. What it learns stands in `core/docs/policy.md`.
pub struct Cascade {
    forest: Forest,
    cells: Cells,
    ranking: Ranking,
    ghosts: Ghosts,
    hazards: Hazards,
    tails: Tails,
    returning: Returning,
    capacity: usize,
    /// Blocks touched and inserted, and the tick that follows from it.
    traffic: u64,
    now: u32,
    /// When the next class is learned, and which.
    learn_at: u32,
    learn_next: usize,
    /// The chain that is being touched.
    chain: Vec<u32>,
}

/// Ghosts that are being inserted again, below one another.
#[derive(Clone, Copy)]
struct Returning {
    /// The last of them, how many are to follow, and what is known of them all.
    above: u32,
    blocks: u32,
    touches: u8,
    is_shared: bool,
}

impl Cascade {
    /// An empty one. Panics as [`by_name`](super::by_name) does.
    pub fn new(capacity_blocks: usize) -> Self {
        let mut policy = Self {
            forest: Forest::new(),
            cells: Cells::new(),
            ranking: Ranking::new(RANKED),
            ghosts: Ghosts::new(),
            hazards: Hazards::new(),
            tails: Tails::default(),
            returning: Returning { above: NONE, blocks: 0, touches: 0, is_shared: false },
            capacity: checked_capacity(capacity_blocks),
            traffic: 0,
            now: 0,
            learn_at: 0,
            learn_next: 0,
            chain: Vec::new(),
        };
        Class::all().for_each(|class| policy.learn(class));
        policy
    }

    /// Enters a segment where it belongs.
    fn place(&mut self, segment: u32) {
        let state = self.forest.state_of(segment);
        if state != self.forest.segment(segment).state {
            self.lift(segment);
            self.enter(segment, state);
        }
    }

    fn enter(&mut self, segment: u32, state: State) {
        let change = self.cells.enter(self.forest.segments(), segment, state, self.now);
        self.rank(change);
    }

    /// Whether more is likely to come below a segment. A caller that makes room ahead of what arrives would lose the blocks
    /// that are under way with their parent; one that evicts what is too much has them all.
    fn is_growing(&self, segment: u32, excess: usize) -> bool {
        let passed_ticks = self.now.wrapping_sub(self.forest.segment(segment).last);
        let patience_ticks =
            (self.capacity as u64 / GROWING_SHARE / TICK_BLOCKS).clamp(1, REQUEST_TICKS.into());
        excess == 0 && u64::from(passed_ticks) < patience_ticks
    }

    /// Takes a segment out of its list.
    fn lift(&mut self, segment: u32) {
        let change = self.cells.leave(self.forest.segments(), segment);
        self.rank(change);
    }

    fn rank(&mut self, change: Option<Change>) {
        if let Some(Change { cell, is_occupied }) = change {
            self.ranking.set_occupied(cell, is_occupied);
        }
    }
}

impl Policy for Cascade {
    fn name(&self) -> &'static str {
        "cascade"
    }

    fn len(&self) -> usize {
        self.forest.len()
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn set_capacity(&mut self, blocks: usize) {
        self.capacity = checked_capacity(blocks);
        self.trim();
    }

    fn contains(&self, block: BlockId) -> bool {
        self.forest.block(block.0).is_some()
    }

    fn touch(&mut self, request: &Request<'_>) {
        self.touch_chain(request.matched);
    }

    fn insert(&mut self, arrival: Arrival) {
        self.insert_block(arrival);
        self.trim();
    }

    fn victim(&mut self, evictable: &mut dyn FnMut(BlockId) -> bool) -> Option<BlockId> {
        for _ in 0..REFUSALS_MAX {
            let least = self.ranking.least().map(|cell| self.cells.oldest_ranked(cell));
            let segment = least.or_else(|| self.cells.oldest_parked())?;
            let tail = BlockId(self.forest.segment(segment).tail);
            if (least.is_none() || !self.is_growing(segment, self.excess())) && evictable(tail) {
                return Some(tail);
            }
            self.lift(segment);
            self.enter(segment, State::Parked);
        }
        None
    }

    fn coldest(&self, limit: usize, out: &mut Vec<BlockId>) {
        self.list_coldest(limit, out);
    }

    fn hottest(&self, limit: usize, out: &mut Vec<BlockId>) {
        self.list_hottest(limit, out);
    }

    fn remove(&mut self, block: BlockId, removal: Removal) {
        let Some(&forest::Block { segment, up, print, touches, .. }) = self.forest.block(block.0) else {
            return;
        };
        let was_tail = self.forest.segment(segment).tail == block.0;
        self.forest.leave(block.0);
        if was_tail && removal == Removal::Evicted {
            self.forest.segment_mut(segment).is_whole = false;
            self.remember(segment, print, touches);
        }
        let &forest::Segment { len, ghosts, .. } = self.forest.segment(segment);
        if len == 0 && ghosts == 0 {
            self.close(segment);
        } else {
            self.place(segment);
        }
        if let Some(above) = self.forest.block(up).map(|above| above.segment)
            && above != segment
            && self.forest.segment(above).state == State::Blocked
        {
            self.place(above);
        }
        self.trim();
    }
}
