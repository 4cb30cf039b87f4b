//! Warming: pieces are brought into free memory before anybody asks, those that were stored last first.
//!
//! Of pieces stored within one minute the shallow come first: a chain is of use from its root on. Nothing is evicted for it.

use std::collections::BinaryHeap;

use cascade_core::flow::NowNs;
use cascade_core::governor::Urgency;
use cascade_core::piece::PieceId;
use cascade_core::policy::BlockId;
use cascade_core::residency::Residency;

use super::super::lower::Lower;
use super::super::promote::{Granted, Wish};
use super::super::store::Store;
use super::{Heard, Progress};

/// Handles that one step looks at.
const STEP_HANDLES: u32 = 2048;
/// Pieces that are wished for at once.
const WISH_PIECES: usize = 256;
/// What a wish may take.
const WISH_NS: u64 = 30_000_000_000;
/// Seconds within which pieces count as stored at once.
const TOGETHER_S: u32 = 60;

/// The order of bringing: stored late, then near to the root.
type Rank = (u32, std::cmp::Reverse<u32>);

/// The state of a warming.
#[derive(Debug)]
pub(super) struct Warm {
    bytes_max: u64,
    next: Option<u32>,
    found: BinaryHeap<(Rank, u32, u16, u16)>,
    wished_bytes: u64,
    wish: Option<u64>,
    done: u64,
    bytes: u64,
}

impl Warm {
    pub(super) fn new(bytes_max: u64) -> Self {
        let found = BinaryHeap::new();
        Self { bytes_max, next: Some(0), found, wished_bytes: 0, wish: None, done: 0, bytes: 0 }
    }

    pub(super) fn advance(
        &mut self,
        store: &Store,
        lower: &mut Lower,
        heard: Heard<'_>,
        now: NowNs,
    ) -> Progress {
        let mut progress = Progress { moved: true, ..Progress::default() };
        if let Some(over) = self.wish.and_then(|wish| heard.granted(wish)) {
            self.wish = None;
            self.done += over.pieces;
            self.bytes += over.bytes;
            progress.end = match over.granted {
                Granted::Fenced => Some(Err("the tier does not answer".to_owned())),
                // Memory is full, or the tier is busy with what somebody waits for.
                Granted::Late => Some(Ok(())),
                Granted::All | Granted::Part => None,
            };
        } else if self.wish.is_some() {
            progress.moved = false;
        } else if let Some(next) = self.next.filter(|_| lower.below.is_listed()) {
            self.next = self.scan(store, next);
        } else if lower.below.is_listed() {
            progress.end = self.bring(store, lower, now);
        }
        (progress.done, progress.bytes) = (self.done, self.bytes);
        progress.total = self.done + self.found.len() as u64;
        progress
    }

    fn scan(&mut self, store: &Store, next: u32) -> Option<u32> {
        let handles = store.catalog.handles();
        let end = next.saturating_add(STEP_HANDLES).min(handles);
        for handle in next..end {
            for (id, residency) in store.catalog.copies(BlockId(handle)) {
                if let Residency::Below { stored } = residency {
                    let copy = store.stored.get(stored);
                    let rank = (copy.stored_unix_s / TOGETHER_S, std::cmp::Reverse(copy.depth));
                    self.found.push((rank, handle, id.rank, id.group));
                }
            }
        }
        (end < handles).then_some(end)
    }

    /// Wishes for what comes next; the end, if nothing does.
    fn bring(&mut self, store: &Store, lower: &mut Lower, now: NowNs) -> Option<Result<(), String>> {
        let free_bytes = store.free_bytes() + lower.growth_bytes();
        let mut pieces = Vec::new();
        let mut bytes = 0;
        while pieces.len() < WISH_PIECES
            && let Some((_, handle, rank, group)) = self.found.pop()
        {
            // The handle may be another block's by now: then it is another piece that comes, or none.
            let mut copies = store.catalog.copies(BlockId(handle));
            let found = copies.find(|(id, _)| (id.rank, id.group) == (rank, group));
            let Some((id, Residency::Below { stored })) = found else { continue };
            let len_bytes = store.stored.get(stored).len_bytes;
            if self.wished_bytes + len_bytes > self.bytes_max || bytes + len_bytes > free_bytes {
                self.found.clear();
                break;
            }
            self.wished_bytes += len_bytes;
            bytes += len_bytes;
            pieces.push(id);
        }
        if pieces.is_empty() {
            return Some(Ok(()));
        }
        pieces.sort_by_key(|id: &PieceId| depth(store, id));
        let wish = Wish { pieces, deadline_ns: now + WISH_NS, urgency: Urgency::Background, near: None };
        self.wish = Some(lower.wish(wish));
        None
    }
}

fn depth(store: &Store, id: &PieceId) -> u32 {
    store.catalog.residency(id).stored().map_or(0, |stored| store.stored.get(stored).depth)
}
