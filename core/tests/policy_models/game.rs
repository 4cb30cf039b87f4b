//! Plain models of policies, and the game that compares a policy with its model.
//!
//! A model is the slowest code that is obviously right: vectors, linear search, no shared parts. Operations are drawn
//! without regard for the rules of driving, so that order is compared in states that a node never reaches, too.

use cascade_core::policy::{Arrival, BlockId, Fingerprint, Policy, REFUSALS_MAX, Removal, Request};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Handles and fingerprints that the game uses: few, so that ghosts return and handles are reused.
const BLOCKS: u32 = 24;
const FINGERPRINTS: u64 = 32;

/// What a model must tell. Verbs as in [`Policy`].
pub(crate) trait Model {
    fn contains(&self, block: BlockId) -> bool;
    fn len(&self) -> usize;
    fn set_capacity(&mut self, blocks: usize);
    fn touch(&mut self, matched: &[BlockId]);
    fn insert(&mut self, arrival: Arrival);
    fn victim(&mut self, evictable: &dyn Fn(BlockId) -> bool) -> Option<BlockId>;
    fn remove(&mut self, block: BlockId, removal: Removal);
}

/// One move of the game.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Touch(Vec<u32>),
    Insert { block: u32, fingerprint: Fingerprint, parent: Option<u32> },
    Evict { refused: BTreeSet<u32> },
    Remove { block: u32, removal: Removal },
    SetCapacity(usize),
}

/// Sequences of moves: mostly insertions and evictions, so that the policy is full half of the time.
pub(crate) fn ops() -> impl Strategy<Value = Vec<Op>> {
    let insert = (0..BLOCKS, 0..FINGERPRINTS, proptest::option::of(0..BLOCKS))
        .prop_map(|(block, fingerprint, parent)| Op::Insert { block, fingerprint, parent });
    let removal = prop_oneof![Just(Removal::Evicted), Just(Removal::Dropped)];
    let op = prop_oneof![
        3 => vec(0..BLOCKS, 0..6).prop_map(Op::Touch),
        8 => insert,
        5 => btree_set(0..BLOCKS, 0..8).prop_map(|refused| Op::Evict { refused }),
        1 => (0..BLOCKS, removal).prop_map(|(block, removal)| Op::Remove { block, removal }),
        1 => (1..20_usize).prop_map(Op::SetCapacity),
    ];
    vec(op, 0..200)
}

/// Plays `ops` on both; every victim and the final order must agree.
pub(crate) fn play(policy: &mut dyn Policy, model: &mut dyn Model, ops: &[Op]) -> Result<(), TestCaseError> {
    for op in ops {
        match op {
            Op::Touch(blocks) => {
                let matched: Vec<_> = blocks.iter().map(|&block| BlockId(block)).collect();
                policy.touch(&Request { number: 0, matched: &matched, missing: &[], blocks: 0 });
                model.touch(&matched);
            }
            &Op::Insert { block, fingerprint, parent } => {
                let (block, parent) = (BlockId(block), parent.map(BlockId).filter(|&p| p != BlockId(block)));
                if !model.contains(block) {
                    policy.insert(Arrival { block, fingerprint, parent });
                    model.insert(Arrival { block, fingerprint, parent });
                }
            }
            Op::Evict { refused } => evict(policy, model, refused)?,
            &Op::Remove { block, removal } => {
                policy.remove(BlockId(block), removal);
                model.remove(BlockId(block), removal);
            }
            &Op::SetCapacity(blocks) => {
                policy.set_capacity(blocks);
                model.set_capacity(blocks);
            }
        }
        prop_assert_eq!(policy.len(), model.len());
        for block in (0..BLOCKS).map(BlockId) {
            prop_assert_eq!(policy.contains(block), model.contains(block));
        }
    }
    while model.len() > 0 {
        evict(policy, model, &BTreeSet::new())?;
    }
    prop_assert!(policy.is_empty());
    Ok(())
}

fn evict(
    policy: &mut dyn Policy,
    model: &mut dyn Model,
    refused: &BTreeSet<u32>,
) -> Result<(), TestCaseError> {
    let evictable = |block: BlockId| !refused.contains(&block.0);
    let victim = policy.victim(&mut |block| evictable(block));
    prop_assert_eq!(victim, model.victim(&evictable));
    if let Some(block) = victim {
        policy.remove(block, Removal::Evicted);
        model.remove(block, Removal::Evicted);
    }
    Ok(())
}

/// Puts an arrival beside its parent on the older side, else at the young end; `order` runs from the oldest.
pub(crate) fn place(order: &mut Vec<BlockId>, arrival: &Arrival) {
    let beside = arrival.parent.and_then(|parent| order.iter().position(|&block| block == parent));
    order.insert(beside.unwrap_or(order.len()), arrival.block);
}

/// The oldest acceptable block; those refused on the way go to the young end.
pub(crate) fn scan(order: &mut [BlockId], evictable: &dyn Fn(BlockId) -> bool) -> Option<BlockId> {
    assert!(order.len() <= REFUSALS_MAX / 4, "the game is small enough that no scan is cut short");
    let accepted = order.iter().position(|&block| evictable(block));
    order.rotate_left(accepted.unwrap_or(0));
    accepted.map(|_| order[0])
}
