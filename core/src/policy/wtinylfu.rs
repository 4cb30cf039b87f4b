//! W-TinyLFU, tail first.
//!
//! A window of 1 % takes every new block. What falls out of it contests the next victim of the main part, a segmented LRU
//! of probation (20 %) and protected (80 %): the one that a count-min sketch has seen less often leaves, the newcomer at a tie.
//! Einziger, Friedman and Manes, "TinyLFU: a highly efficient cache admission policy", ACM TOS 2017.
//!
//! The contest is held when a victim is asked for: only then somebody has to leave. A caller that keeps a reserve free asks
//! before the capacity is reached, so what counts as full is the least length that an eviction left.
//!
//! Invariant: protected ≤ its share after each touch.

use super::resident::Residents;
use super::sketch::Sketch;
use super::{Arrival, BlockId, Policy, REFUSALS_MAX, Removal, Request, checked_capacity, refill};
use alloc::collections::VecDeque;
use alloc::vec::Vec;

const WINDOW: usize = 0;
const PROBATION: usize = 1;
const PROTECTED: usize = 2;

/// Window TinyLFU.
pub struct WTinyLfu {
    residents: Residents<3>,
    sketch: Sketch,
    capacity: usize,
    /// Blocks that stay when the caller has made room: ≤ capacity.
    full_len: usize,
}

impl WTinyLfu {
    /// An empty one. Panics as [`by_name`](super::by_name) does.
    pub fn new(capacity_blocks: usize) -> Self {
        let capacity = checked_capacity(capacity_blocks);
        Self { residents: Residents::new(), sketch: Sketch::new(capacity), capacity, full_len: capacity }
    }

    fn window_target(&self) -> usize {
        (self.capacity / 100).max(1)
    }

    fn protected_max(&self) -> usize {
        self.main_max() * 4 / 5
    }

    fn estimate(&self, block: BlockId) -> u64 {
        self.sketch.estimate(self.residents.fingerprint(block))
    }

    fn main_max(&self) -> usize {
        self.full_len - self.window_target().min(self.full_len)
    }

    /// The window may hold a reserve of the caller's beside its share, but not a great part of everything.
    fn window_max(&self) -> usize {
        (self.capacity / 4).max(self.window_target())
    }

    /// Lets what falls out of the window into the main part while that has room: nobody has to leave, so there is no contest.
    /// Not done on arrival, when the chain is still incomplete and its order would be lost.
    fn fill_main(&mut self) {
        while let Some(block) = self.residents.oldest(WINDOW) {
            let main = self.residents.len(PROBATION) + self.residents.len(PROTECTED);
            let spills = self.residents.len(WINDOW) > self.window_target() && main < self.main_max();
            let bursts = self.residents.len(WINDOW) > self.window_max() && self.len() <= self.capacity;
            if !spills && !bursts {
                return;
            }
            self.residents.renew(PROBATION, block);
        }
    }

    /// Sends the oldest protected blocks back on probation until the share is kept.
    fn demote_excess(&mut self) {
        while self.residents.len(PROTECTED) > self.protected_max() {
            let Some(block) = self.residents.oldest(PROTECTED) else { return };
            self.residents.renew(PROBATION, block);
        }
    }
}

impl Policy for WTinyLfu {
    fn name(&self) -> &'static str {
        "wtinylfu"
    }

    fn len(&self) -> usize {
        self.residents.total()
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    /// A capacity that at least doubles, or falls to a quarter, starts the sketch anew: it learns within a few turnovers.
    fn set_capacity(&mut self, blocks: usize) {
        let reserve = self.capacity - self.full_len;
        self.capacity = checked_capacity(blocks);
        self.full_len = blocks.saturating_sub(reserve).max(1);
        self.sketch.fit(blocks);
        self.demote_excess();
    }

    fn contains(&self, block: BlockId) -> bool {
        self.residents.list_of(block).is_some()
    }

    fn touch(&mut self, request: &Request<'_>) {
        self.fill_main();
        for &block in request.matched.iter().rev() {
            let Some(list) = self.residents.list_of(block) else { continue };
            self.sketch.increment(self.residents.fingerprint(block));
            self.residents.renew(if list == WINDOW { WINDOW } else { PROTECTED }, block);
        }
        self.demote_excess();
    }

    fn insert(&mut self, arrival: Arrival) {
        self.sketch.increment(arrival.fingerprint);
        self.residents.admit(WINDOW, arrival, |_| true);
    }

    fn victim(&mut self, evictable: &mut dyn FnMut(BlockId) -> bool) -> Option<BlockId> {
        self.fill_main();
        self.full_len = self.full_len.min(self.len().saturating_sub(1)).max(1);
        // Each list has its own patience: pinned blocks in one must not hide the others.
        let mut rival = self.residents.scan(PROBATION, REFUSALS_MAX / 2, evictable);
        if rival.is_none() {
            rival = self.residents.scan(PROTECTED, REFUSALS_MAX / 4, evictable);
        }
        if let Some(candidate) = self.residents.oldest(WINDOW)
            && self.residents.len(WINDOW) > self.window_target()
        {
            let wins = rival.is_some_and(|rival| self.estimate(candidate) > self.estimate(rival));
            if !wins && evictable(candidate) {
                return Some(candidate);
            }
            self.residents.renew(PROBATION, candidate);
        }
        rival.or_else(|| self.residents.scan(WINDOW, REFUSALS_MAX / 4 - 1, evictable))
    }

    /// The contests of the window's excess are held in thought. Approximate only in that the sketch stands still meanwhile, and
    /// where the window takes a burst.
    fn coldest(&self, limit: usize, out: &mut Vec<BlockId>) {
        let main = self.residents.len(PROBATION) + self.residents.len(PROTECTED);
        let excess = self.residents.len(WINDOW).saturating_sub(self.window_target());
        let spilling = excess.min(self.main_max().saturating_sub(main));
        let window = || self.residents.oldest_first(WINDOW);
        let mut probation = self.residents.oldest_first(PROBATION).chain(window().take(spilling));
        let mut contenders = window().take(excess).skip(spilling);
        let mut winners = VecDeque::new();
        let mut protected = self.residents.oldest_first(PROTECTED);
        out.clear();
        while out.len() < limit {
            let Some(rival) = probation.next().or_else(|| winners.pop_front()).or_else(|| protected.next())
            else {
                break;
            };
            // Who loses against this rival leaves before it; the first who wins takes its place.
            let loses = |&candidate: &BlockId| self.estimate(candidate) <= self.estimate(rival);
            while out.len() < limit
                && let Some(candidate) = contenders.next()
            {
                if !loses(&candidate) {
                    winners.push_back(candidate);
                    break;
                }
                out.push(candidate);
            }
            out.push(rival);
        }
        out.truncate(limit);
        out.extend(contenders.chain(window().skip(excess)).take(limit - out.len()));
    }

    /// Protected before probation before the window, in each the younger first.
    fn hottest(&self, limit: usize, out: &mut Vec<BlockId>) {
        let order = [PROTECTED, PROBATION, WINDOW];
        refill(out, order.into_iter().flat_map(|list| self.residents.youngest_first(list)).take(limit));
    }

    fn remove(&mut self, block: BlockId, _: Removal) {
        self.residents.remove(block);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{evict, insert, touch};
    use super::*;

    /// Full with 0..4, each in its own chain and seen twice; window of one.
    fn full() -> WTinyLfu {
        let mut tiny = WTinyLfu::new(4);
        for block in 0..4 {
            insert(&mut tiny, &[block]);
        }
        for block in 0..4 {
            touch(&mut tiny, &[block]);
        }
        tiny
    }

    #[test]
    fn a_scan_of_new_blocks_passes_through_the_window_only() {
        let mut tiny = full();
        insert(&mut tiny, &[10]);
        // 3 was in the window; 10 pushes it out, and being seen as often as any other it leaves at the tie.
        assert_eq!(evict(&mut tiny, 1), [3]);
        for block in 11..40 {
            insert(&mut tiny, &[block]);
            assert_eq!(evict(&mut tiny, 1), [block - 1]);
        }
    }

    #[test]
    fn a_newcomer_seen_more_often_takes_the_place_of_the_victim() {
        let mut tiny = full();
        touch(&mut tiny, &[3]);
        insert(&mut tiny, &[10]);
        // 2 was demoted when protected passed its share of two, or 0 was: the oldest on probation leaves in place of 3.
        let left = evict(&mut tiny, 1);
        assert_eq!(left, [0]);
        assert_eq!(tiny.residents.list_of(BlockId(3)), Some(PROBATION));
    }

    #[test]
    fn a_touch_protects_and_the_protected_share_is_kept() {
        let mut tiny = WTinyLfu::new(100);
        (0..100).for_each(|block| insert(&mut tiny, &[block]));
        (0..99).for_each(|block| touch(&mut tiny, &[block]));
        assert_eq!(tiny.residents.len(PROTECTED), 79);
        assert_eq!(tiny.residents.len(PROBATION), 20);
        assert_eq!(tiny.residents.list_of(BlockId(98)), Some(PROTECTED));
    }

    #[test]
    fn a_chain_leaves_from_its_tail() {
        let mut tiny = WTinyLfu::new(10);
        insert(&mut tiny, &[0, 1, 2, 3]);
        assert_eq!(evict(&mut tiny, 4), [3, 2, 1, 0]);
    }

    #[test]
    fn a_caller_that_evicts_ahead_of_its_insertions_gets_the_contest_too() {
        let mut tiny = WTinyLfu::new(110);
        (0..100).for_each(|block| insert(&mut tiny, &[block]));
        for _ in 0..3 {
            (0..100).for_each(|block| touch(&mut tiny, &[block]));
        }
        for first in (200..800).step_by(5) {
            evict(&mut tiny, 5);
            (first..first + 5).for_each(|block| insert(&mut tiny, &[block]));
            touch(&mut tiny, &[]);
        }
        // The scan took the reserve and the window, no more.
        let kept = (0..100).filter(|&block| tiny.contains(BlockId(block))).count();
        assert!(kept >= 90, "{kept} of 100 familiar blocks are left");
    }
}
