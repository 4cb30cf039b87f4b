//! Short verbs for the unit tests of policies: block `n` has fingerprint `n`.

use super::{Arrival, BlockId, Policy, Removal, Request};
use alloc::vec::Vec;

/// Inserts a chain, root first, below nothing.
pub(super) fn insert(policy: &mut dyn Policy, chain: &[u32]) {
    let mut parent = None;
    for &block in chain {
        policy.insert(Arrival { block: BlockId(block), fingerprint: u64::from(block), parent });
        parent = Some(BlockId(block));
    }
}

/// Touches a chain.
pub(super) fn touch(policy: &mut dyn Policy, chain: &[u32]) {
    let matched: Vec<_> = chain.iter().map(|&block| BlockId(block)).collect();
    policy.touch(&Request { number: 0, matched: &matched, missing: &[], blocks: chain.len() as u32 });
}

/// Evicts `count` blocks and tells which.
pub(super) fn evict(policy: &mut dyn Policy, count: usize) -> Vec<u32> {
    let one = |_| {
        let block = policy.victim(&mut |_| true).expect("nothing is refused");
        policy.remove(block, Removal::Evicted);
        block.0
    };
    (0..count).map(one).collect()
}
