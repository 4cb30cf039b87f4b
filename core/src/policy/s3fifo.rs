//! S3-FIFO, tail first.
//!
//! New blocks pass a small queue; those hit there, and those whose ghost is still known, go to the main queue, which gives
//! a block another round for each hit. Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023.
//!
//! Tail first in a queue that no touch reorders: an arriving child goes beside its parent only while that one was not hit,
//! which tells that both came with the same request. A parent that was hit has been waiting, and a place beside it would
//! cut the child's time in the queue short.
//!
//! Invariants: hits ≤ 3; main ghosts none, small ghosts ≤ nine tenths of the capacity.

use super::ghost::Ghosts;
use super::resident::Residents;
use super::{Arrival, BlockId, Policy, REFUSALS_MAX, Removal, Request, checked_capacity, refill};
use alloc::vec::Vec;

const SMALL: usize = 0;
const MAIN: usize = 1;
const HITS_MAX: u8 = 3;

/// How far an order looks for blocks that were not hit, among those that were: in blocks for each that is listed, and at least.
const LOOKAHEAD: usize = 4;
const LOOKAHEAD_MIN: usize = 1024;

/// Simple, scalable FIFO queues.
pub struct S3Fifo {
    residents: Residents<2>,
    hits: Vec<u8>,
    ghosts: Ghosts,
    capacity: usize,
}

impl S3Fifo {
    /// An empty one. Panics as [`by_name`](super::by_name) does.
    pub fn new(capacity_blocks: usize) -> Self {
        Self {
            residents: Residents::new(),
            hits: Vec::new(),
            ghosts: Ghosts::new(),
            capacity: checked_capacity(capacity_blocks),
        }
    }

    /// The small queue's share: a tenth, as in the paper.
    fn small_target(&self) -> usize {
        (self.capacity / 10).max(1)
    }

    fn ghosts_max(&self) -> usize {
        self.capacity - self.capacity / 10
    }

    fn hits(&self, block: BlockId) -> u8 {
        self.hits[block.0 as usize]
    }

    fn promote(&mut self, block: BlockId) {
        self.hits[block.0 as usize] = 0;
        self.residents.renew(MAIN, block);
    }

    /// Cuts the small queue down to `target`, up to the first block that was not hit. A refused one is in use: it passes.
    fn small_victim(
        &mut self,
        target: usize,
        mut patience: usize,
        evictable: &mut dyn FnMut(BlockId) -> bool,
    ) -> Option<BlockId> {
        while self.residents.len(SMALL) > target && patience > 0 {
            let block = self.residents.oldest(SMALL)?;
            if self.hits[block.0 as usize] == 0 {
                if evictable(block) {
                    return Some(block);
                }
                patience -= 1;
            }
            self.promote(block);
        }
        None
    }

    /// The oldest block of the main queue that has used up its rounds. Each round was paid for by a hit, so the walk is O(1) amortised.
    fn main_victim(
        &mut self,
        mut patience: usize,
        evictable: &mut dyn FnMut(BlockId) -> bool,
    ) -> Option<BlockId> {
        patience = patience.min(self.residents.len(MAIN));
        while patience > 0 {
            let block = self.residents.oldest(MAIN)?;
            let hits = &mut self.hits[block.0 as usize];
            if *hits > 0 {
                *hits -= 1;
            } else if evictable(block) {
                return Some(block);
            } else {
                patience -= 1;
            }
            self.residents.renew(MAIN, block);
        }
        None
    }
}

/// Which blocks leave before which others if nothing more happens: those of one wave in the order of their queue.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Wave(u8);

impl Wave {
    const FROM_SMALL: Self = Self(0);
    /// They go behind the main queue, as if they had not been hit.
    const PROMOTED: Self = Self(2);
    const LAST: Self = Self(u8::MAX);

    fn from_main(rounds: u8) -> Self {
        Self(if rounds == 0 { 1 } else { 2 + rounds })
    }
}

/// Lists `limit` blocks of the first few times as many, the least first, in their order where they are equal.
fn refill_by<K: Ord + Copy>(order: impl Iterator<Item = (K, BlockId)>, limit: usize, out: &mut Vec<BlockId>) {
    let mut near: Vec<_> = order.take(limit.saturating_mul(LOOKAHEAD).max(LOOKAHEAD_MIN)).collect();
    near.sort_by_key(|&(key, _)| key);
    refill(out, near.into_iter().map(|(_, block)| block).take(limit));
}

impl Policy for S3Fifo {
    fn name(&self) -> &'static str {
        "s3fifo"
    }

    fn len(&self) -> usize {
        self.residents.total()
    }

    fn capacity(&self) -> usize {
        self.capacity
    }

    fn set_capacity(&mut self, blocks: usize) {
        self.capacity = checked_capacity(blocks);
        self.ghosts.trim(self.ghosts_max());
    }

    fn contains(&self, block: BlockId) -> bool {
        self.residents.list_of(block).is_some()
    }

    fn touch(&mut self, request: &Request<'_>) {
        for &block in request.matched {
            if self.contains(block) {
                let hits = &mut self.hits[block.0 as usize];
                *hits = (*hits + 1).min(HITS_MAX);
            }
        }
    }

    fn insert(&mut self, arrival: Arrival) {
        let list = if self.ghosts.take(arrival.fingerprint) { MAIN } else { SMALL };
        let hits = &self.hits;
        self.residents.admit(list, arrival, |parent| hits[parent.0 as usize] == 0);
        let index = arrival.block.0 as usize;
        if self.hits.len() <= index {
            self.hits.resize(index + 1, 0);
        }
        self.hits[index] = 0;
    }

    fn victim(&mut self, evictable: &mut dyn FnMut(BlockId) -> bool) -> Option<BlockId> {
        // Each walk has its own patience: pinned blocks in one queue must not hide the other.
        if let Some(block) = self.small_victim(self.small_target(), REFUSALS_MAX / 4, evictable) {
            return Some(block);
        }
        if let Some(block) = self.main_victim(REFUSALS_MAX / 2, evictable) {
            return Some(block);
        }
        self.small_victim(0, REFUSALS_MAX / 4, evictable)
    }

    /// Exact as far as it looks ahead, which is some way.
    fn coldest(&self, limit: usize, out: &mut Vec<BlockId>) {
        let excess = self.residents.len(SMALL).saturating_sub(self.small_target());
        let small = || self.residents.oldest_first(SMALL);
        let leaving = small().take(excess).map(|block| match self.hits(block) {
            0 => (Wave::FROM_SMALL, block),
            _ => (Wave::PROMOTED, block),
        });
        let main = self.residents.oldest_first(MAIN).map(|block| (Wave::from_main(self.hits(block)), block));
        let kept = small().skip(excess).map(|block| (Wave::LAST, block));
        refill_by(leaving.chain(main).chain(kept), limit, out);
    }

    /// The main queue before the small one, in each those that were hit more often first, and of them the younger.
    fn hottest(&self, limit: usize, out: &mut Vec<BlockId>) {
        let order = [MAIN, SMALL].into_iter().enumerate().flat_map(|(rank, list)| {
            let blocks = self.residents.youngest_first(list);
            blocks.map(move |block| ((rank, HITS_MAX - self.hits(block)), block))
        });
        refill_by(order, limit, out);
    }

    fn remove(&mut self, block: BlockId, removal: Removal) {
        let list = self.residents.remove(block);
        if list == Some(SMALL) && removal == Removal::Evicted {
            self.ghosts.push(self.residents.fingerprint(block));
            self.ghosts.trim(self.ghosts_max());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{evict, insert, touch};
    use super::*;

    #[test]
    fn a_block_hit_in_the_small_queue_moves_on_and_the_others_leave() {
        let mut s3 = S3Fifo::new(10);
        insert(&mut s3, &[0, 1, 2]);
        touch(&mut s3, &[0]);
        insert(&mut s3, &[5]);
        // 2 and 1 came with 0 but were not hit; 0 passes; 5 is all that the small queue may keep.
        assert_eq!(evict(&mut s3, 3), [2, 1, 0]);
        assert!(s3.contains(BlockId(5)));
    }

    #[test]
    fn each_hit_buys_one_round_in_the_main_queue() {
        let mut s3 = S3Fifo::new(10);
        for block in [0, 1] {
            insert(&mut s3, &[block]);
            touch(&mut s3, &[block]);
        }
        insert(&mut s3, &[9]);
        // Both pass into the main queue, where 0, the older one, is hit twice more.
        assert_eq!(s3.victim(&mut |_| true), Some(BlockId(0)));
        touch(&mut s3, &[0]);
        touch(&mut s3, &[0]);
        assert_eq!(evict(&mut s3, 2), [1, 0]);
    }

    #[test]
    fn a_block_whose_ghost_is_known_skips_the_small_queue() {
        let mut s3 = S3Fifo::new(10);
        insert(&mut s3, &[0]);
        insert(&mut s3, &[1]);
        assert_eq!(evict(&mut s3, 1), [0]);
        insert(&mut s3, &[0]);
        assert_eq!(s3.residents.list_of(BlockId(0)), Some(MAIN));
    }

    #[test]
    fn dropped_blocks_leave_no_ghost() {
        let mut s3 = S3Fifo::new(10);
        insert(&mut s3, &[0]);
        s3.remove(BlockId(0), Removal::Dropped);
        insert(&mut s3, &[0]);
        assert_eq!(s3.residents.list_of(BlockId(0)), Some(SMALL));
    }

    #[test]
    fn a_new_child_does_not_inherit_the_age_of_a_parent_that_was_hit() {
        let mut s3 = S3Fifo::new(10);
        insert(&mut s3, &[0]);
        insert(&mut s3, &[5]);
        touch(&mut s3, &[0]);
        s3.insert(Arrival { block: BlockId(1), fingerprint: 1, parent: Some(BlockId(0)) });
        // Beside its parent it would have been the first victim.
        assert_eq!(evict(&mut s3, 1), [5]);
    }
}
