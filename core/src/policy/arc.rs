//! ARC, tail first.
//!
//! Two lists share the capacity: blocks seen once (`recent`) and again (`frequent`). Ghosts of each show which was cut too
//! short, and the target for `recent` follows. Megiddo and Modha, "ARC: a self-tuning, low overhead replacement
//! cache", FAST 2003; names there: T1, T2, B1, B2, p.
//!
//! Invariants: recent + its ghosts ≤ capacity and all four lists ≤ 2 × capacity once the excess is evicted; the target
//! is within 0 ..= capacity.

use super::ghost::Ghosts;
use super::resident::Residents;
use super::{Arrival, BlockId, Policy, REFUSALS_MAX, Removal, Request, checked_capacity, refill};
use alloc::vec::Vec;

const RECENT: usize = 0;
const FREQUENT: usize = 1;

/// Adaptive replacement cache.
pub struct Arc {
    residents: Residents<2>,
    recent_ghosts: Ghosts,
    frequent_ghosts: Ghosts,
    /// Blocks that `recent` should hold. A fraction, because the paper's step is a ratio and rounding it down learns slower.
    recent_target: f64,
    capacity: usize,
}

impl Arc {
    /// An empty one. Panics as [`by_name`](super::by_name) does.
    pub fn new(capacity_blocks: usize) -> Self {
        Self {
            residents: Residents::new(),
            recent_ghosts: Ghosts::new(),
            frequent_ghosts: Ghosts::new(),
            recent_target: 0.0,
            capacity: checked_capacity(capacity_blocks),
        }
    }

    /// Blocks that `recent` gives up before `frequent` gives one.
    fn above_target(&self) -> usize {
        // A whole length is above a target if it is above its whole part.
        self.residents.len(RECENT).saturating_sub(self.recent_target as usize)
    }

    fn trim_ghosts(&mut self) {
        self.recent_ghosts.trim(self.capacity.saturating_sub(self.residents.len(RECENT)));
        let rest = (2 * self.capacity).saturating_sub(self.residents.total() + self.recent_ghosts.len());
        self.frequent_ghosts.trim(rest);
    }
}

/// How far one ghost hit moves the target: the rarer the ghosts that were hit, the more each hit says.
fn step(hit: usize, other: usize) -> f64 {
    (other as f64 / hit as f64).max(1.0)
}

impl Policy for Arc {
    fn name(&self) -> &'static str {
        "arc"
    }

    fn len(&self) -> usize {
        self.residents.total()
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn set_capacity(&mut self, blocks: usize) {
        self.capacity = checked_capacity(blocks);
        self.recent_target = self.recent_target.min(blocks as f64);
        self.trim_ghosts();
    }

    fn contains(&self, block: BlockId) -> bool {
        self.residents.list_of(block).is_some()
    }

    fn touch(&mut self, request: &Request<'_>) {
        for &block in request.matched.iter().rev() {
            if self.contains(block) {
                self.residents.renew(FREQUENT, block);
            }
        }
    }

    fn insert(&mut self, arrival: Arrival) {
        let (recent, frequent) = (self.recent_ghosts.len(), self.frequent_ghosts.len());
        let list = if self.recent_ghosts.take(arrival.fingerprint) {
            self.recent_target = (self.recent_target + step(recent, frequent)).min(self.capacity as f64);
            FREQUENT
        } else if self.frequent_ghosts.take(arrival.fingerprint) {
            self.recent_target = (self.recent_target - step(frequent, recent)).max(0.0);
            FREQUENT
        } else {
            RECENT
        };
        self.residents.admit(list, arrival, |_| true);
        self.trim_ghosts();
    }

    fn victim(&mut self, evictable: &mut dyn FnMut(BlockId) -> bool) -> Option<BlockId> {
        let recent_is_long = self.residents.len(RECENT) as f64 > self.recent_target;
        let order = if recent_is_long { [RECENT, FREQUENT] } else { [FREQUENT, RECENT] };
        // Half of the patience each: a list full of pinned blocks must not hide the other.
        order.into_iter().find_map(|list| self.residents.scan(list, REFUSALS_MAX / 2, evictable))
    }

    /// Exact: without arrivals the target stands still. What `recent` has above it leaves, then all of `frequent`.
    fn coldest(&self, limit: usize, out: &mut Vec<BlockId>) {
        let above_target = self.above_target();
        let recent = || self.residents.oldest_first(RECENT);
        let order = recent().take(above_target);
        let order = order.chain(self.residents.oldest_first(FREQUENT));
        refill(out, order.chain(recent().skip(above_target)).take(limit));
    }

    fn hottest(&self, limit: usize, out: &mut Vec<BlockId>) {
        let order = self.residents.youngest_first(FREQUENT).chain(self.residents.youngest_first(RECENT));
        refill(out, order.take(limit));
    }

    fn remove(&mut self, block: BlockId, removal: Removal) {
        let Some(list) = self.residents.remove(block) else { return };
        if removal == Removal::Evicted {
            let ghosts = if list == RECENT { &mut self.recent_ghosts } else { &mut self.frequent_ghosts };
            ghosts.push(self.residents.fingerprint(block));
        }
        self.trim_ghosts();
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{evict, insert, touch};
    use super::*;

    /// Four blocks in two chains, the first of them touched.
    fn half_frequent() -> Arc {
        let mut arc = Arc::new(4);
        insert(&mut arc, &[0, 1]);
        touch(&mut arc, &[0, 1]);
        insert(&mut arc, &[2, 3]);
        arc
    }

    #[test]
    fn blocks_seen_once_leave_first_and_tails_before_roots() {
        assert_eq!(evict(&mut half_frequent(), 4), [3, 2, 1, 0]);
    }

    #[test]
    fn a_scan_does_not_flush_blocks_seen_again() {
        let mut arc = half_frequent();
        for block in 10..30 {
            insert(&mut arc, &[block]);
            let excess = arc.excess();
            evict(&mut arc, excess);
        }
        assert!(arc.contains(BlockId(0)) && arc.contains(BlockId(1)));
    }

    #[test]
    fn a_ghost_of_a_recent_block_raises_the_target_and_returns_as_frequent() {
        let mut arc = half_frequent();
        assert_eq!(evict(&mut arc, 1), [3]);
        insert(&mut arc, &[3]);
        assert_eq!(arc.recent_target, 1.0);
        assert_eq!(arc.residents.list_of(BlockId(3)), Some(FREQUENT));
        // One recent block is within the target now, so a frequent one leaves; its ghost lowers the target again.
        assert_eq!(evict(&mut arc, 1), [1]);
        insert(&mut arc, &[1]);
        assert_eq!(arc.recent_target, 0.0);
    }

    #[test]
    fn dropped_blocks_leave_no_ghost() {
        let mut arc = half_frequent();
        arc.remove(BlockId(3), Removal::Dropped);
        insert(&mut arc, &[3]);
        assert_eq!((arc.recent_target, arc.residents.list_of(BlockId(3))), (0.0, Some(RECENT)));
    }

    #[test]
    fn a_smaller_capacity_cuts_target_and_ghosts() {
        let mut arc = half_frequent();
        evict(&mut arc, 2);
        insert(&mut arc, &[2, 3]);
        arc.set_capacity(1);
        assert!(arc.recent_target <= 1.0);
        assert_eq!(arc.excess(), 3);
        evict(&mut arc, 3);
        assert!(arc.len() + arc.recent_ghosts.len() + arc.frequent_ghosts.len() <= 2);
    }
}
