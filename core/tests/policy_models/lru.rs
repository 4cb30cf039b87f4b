//! LRU against a plain model, and the order that tail first promises.

use crate::game::{Model, ops, place, play, scan};
use cascade_core::policy::{Arrival, BlockId, Lru, Policy, Removal, Request};
use proptest::prelude::*;

#[derive(Default)]
struct PlainLru {
    order: Vec<BlockId>,
}

impl Model for PlainLru {
    fn contains(&self, block: BlockId) -> bool {
        self.order.contains(&block)
    }

    fn len(&self) -> usize {
        self.order.len()
    }

    fn set_capacity(&mut self, _: usize) {}

    fn touch(&mut self, matched: &[BlockId]) {
        for &block in matched.iter().rev() {
            if self.contains(block) {
                self.order.retain(|&other| other != block);
                self.order.push(block);
            }
        }
    }

    fn insert(&mut self, arrival: Arrival) {
        place(&mut self.order, &arrival);
    }

    fn victim(&mut self, evictable: &dyn Fn(BlockId) -> bool) -> Option<BlockId> {
        scan(&mut self.order, evictable)
    }

    fn remove(&mut self, block: BlockId, _: Removal) {
        self.order.retain(|&other| other != block);
    }
}

proptest! {
    #[test]
    fn lru_is_its_plain_model(ops in ops()) {
        play(&mut Lru::new(8), &mut PlainLru::default(), &ops)?;
    }

    /// Chains over a binary tree: block n has the parent n / 2, and 1 is the root. No victim is ever refused.
    #[test]
    fn the_oldest_block_is_always_a_leaf(tails in prop::collection::vec(1_u32..256, 1..60), capacity in 1_usize..60) {
        let mut lru = Lru::new(capacity);
        for tail in tails {
            let depth = tail.ilog2();
            let chain: Vec<_> = (0..=depth).map(|level| BlockId(tail >> (depth - level))).collect();
            let hits = chain.iter().take_while(|&&block| lru.contains(block)).count();
            lru.touch(&Request { number: 0, matched: &chain[..hits], missing: &[], blocks: depth + 1 });
            for &block in &chain[hits..] {
                let parent = Some(BlockId(block.0 / 2)).filter(|&parent| lru.contains(parent));
                lru.insert(Arrival { block, fingerprint: u64::from(block.0), parent });
            }
            while lru.excess() > 0 {
                let oldest = lru.victim(&mut |_| true).expect("nothing is refused");
                for child in [oldest.0 * 2, oldest.0 * 2 + 1] {
                    prop_assert!(!lru.contains(BlockId(child)), "{oldest:?} left before its child {child}");
                }
                lru.remove(oldest, Removal::Evicted);
            }
        }
    }
}
