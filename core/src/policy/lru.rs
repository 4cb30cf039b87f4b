//! Least recently used, tail first.
//!
//! One list; a touch renews the matched prefix from its tail up, so its root ends youngest.

use super::resident::Residents;
use super::{Arrival, BlockId, Policy, REFUSALS_MAX, Removal, Request, checked_capacity, refill};
use alloc::vec::Vec;

const ONLY: usize = 0;

/// Least recently used. Order: *pinned by core/tests/policy_models/lru.rs against a plain model.*
pub struct Lru {
    residents: Residents<1>,
    capacity: usize,
}

impl Lru {
    /// An empty one. Panics as [`by_name`](super::by_name) does.
    pub fn new(capacity_blocks: usize) -> Self {
        Self { residents: Residents::new(), capacity: checked_capacity(capacity_blocks) }
    }
}

impl Policy for Lru {
    fn name(&self) -> &'static str {
        "lru"
    }

    fn len(&self) -> usize {
        self.residents.total()
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn set_capacity(&mut self, blocks: usize) {
        self.capacity = checked_capacity(blocks);
    }

    fn contains(&self, block: BlockId) -> bool {
        self.residents.list_of(block).is_some()
    }

    fn touch(&mut self, request: &Request<'_>) {
        for &block in request.matched.iter().rev() {
            if self.contains(block) {
                self.residents.renew(ONLY, block);
            }
        }
    }

    fn insert(&mut self, arrival: Arrival) {
        self.residents.admit(ONLY, arrival, |_| true);
    }

    fn victim(&mut self, evictable: &mut dyn FnMut(BlockId) -> bool) -> Option<BlockId> {
        self.residents.scan(ONLY, REFUSALS_MAX, evictable)
    }

    fn coldest(&self, limit: usize, out: &mut Vec<BlockId>) {
        refill(out, self.residents.oldest_first(ONLY).take(limit));
    }

    fn hottest(&self, limit: usize, out: &mut Vec<BlockId>) {
        refill(out, self.residents.youngest_first(ONLY).take(limit));
    }

    fn remove(&mut self, block: BlockId, _: Removal) {
        self.residents.remove(block);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{evict, insert, touch};
    use super::*;

    #[test]
    fn a_chain_leaves_from_its_tail() {
        let mut lru = Lru::new(8);
        insert(&mut lru, &[0, 1, 2]);
        insert(&mut lru, &[5, 6]);
        assert_eq!(evict(&mut lru, 5), [2, 1, 0, 6, 5]);
    }

    #[test]
    fn new_blocks_are_older_than_the_prefix_that_they_continue() {
        let mut lru = Lru::new(8);
        insert(&mut lru, &[0, 1]);
        insert(&mut lru, &[5]);
        touch(&mut lru, &[0, 1]);
        lru.insert(Arrival { block: BlockId(2), fingerprint: 2, parent: Some(BlockId(1)) });
        assert_eq!(evict(&mut lru, 4), [5, 2, 1, 0]);
    }

    #[test]
    fn a_refused_block_goes_behind_the_others() {
        let mut lru = Lru::new(8);
        insert(&mut lru, &[0]);
        insert(&mut lru, &[1]);
        assert_eq!(lru.victim(&mut |block| block != BlockId(0)), Some(BlockId(1)));
        assert_eq!(evict(&mut lru, 2), [1, 0]);
    }
}
