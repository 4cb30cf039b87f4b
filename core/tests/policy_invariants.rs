//! What every policy promises, whatever its order: one suite, run for each name.

use cascade_core::policy::{Arrival, BlockId, NAMES, Policy, REFUSALS_MAX, Removal, Request, by_name};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// A catalog over a tree of keys: a key is its path, the path without its last step its parent's.
struct Catalog {
    policy: Box<dyn Policy>,
    handles: BTreeMap<Vec<u8>, BlockId>,
    keys: BTreeMap<BlockId, Vec<u8>>,
    pinned: BTreeSet<BlockId>,
    free: Vec<u32>,
    victims: Vec<Vec<u8>>,
}

/// One step of a history.
#[derive(Clone, Debug)]
enum Step {
    /// A request for a path and the prefixes of it. `eager`: the excess leaves after each block, not at the end.
    Request {
        path: Vec<u8>,
        eager: bool,
    },
    /// Pins the n-th resident block, or unpins it.
    Pin(usize),
    /// Drops the n-th leaf.
    Drop(usize),
    SetCapacity(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (vec(0_u8..3, 1..9), any::<bool>()).prop_map(|(path, eager)| Step::Request { path, eager }),
        2 => any::<usize>().prop_map(Step::Pin),
        1 => any::<usize>().prop_map(Step::Drop),
        1 => (1..50_usize).prop_map(Step::SetCapacity),
    ];
    vec(step, 0..150)
}

impl Catalog {
    fn new(name: &str, capacity_blocks: usize) -> Self {
        let policy = by_name(name, capacity_blocks).expect("a name of NAMES");
        let (handles, keys, pinned, free, victims) = Default::default();
        Self { policy, handles, keys, pinned, free, victims }
    }

    fn is_leaf(&self, block: BlockId) -> bool {
        let key = &self.keys[&block];
        !self.handles.keys().any(|other| other.len() == key.len() + 1 && other.starts_with(key))
    }

    fn acceptable(&self, block: BlockId) -> bool {
        self.is_leaf(block) && !self.pinned.contains(&block)
    }

    fn request(&mut self, path: &[u8], eager: bool) {
        let keys = (1..=path.len()).map(|len| &path[..len]);
        let matched: Vec<_> = keys.clone().map_while(|key| self.handles.get(key).copied()).collect();
        self.policy.touch(&Request { number: 0, matched: &matched, missing: &[], blocks: path.len() as u32 });
        for key in keys.skip(matched.len()) {
            let parent = self.handles.get(&key[..key.len() - 1]).copied();
            if key.len() > 1 && parent.is_none() {
                return; // Evicted already: what follows it is of no use.
            }
            let block = BlockId(self.free.pop().unwrap_or(self.handles.len() as u32));
            let fingerprint = key.iter().fold(1, |hash: u64, &step| hash * 5 + u64::from(step));
            self.policy.insert(Arrival { block, fingerprint, parent });
            self.handles.insert(key.to_vec(), block);
            self.keys.insert(block, key.to_vec());
            if eager {
                self.evict_excess();
            }
        }
        self.evict_excess();
    }

    /// Evicts down to the capacity, or as far as pins let it.
    fn evict_excess(&mut self) {
        while self.policy.excess() > 0 {
            let Some(block) = self.victim() else {
                assert!(
                    !self.keys.keys().any(|&block| self.acceptable(block)),
                    "{}: an acceptable block is never met",
                    self.policy.name()
                );
                return;
            };
            self.victims.push(self.keys[&block].clone());
            self.forget(block, Removal::Evicted);
        }
    }

    /// The next victim, asked for as often as it may take: a block that was hit stands up to three rounds of a queue,
    /// and a call that is refused all the time goes round it once, or half of [`REFUSALS_MAX`] far.
    fn victim(&mut self) -> Option<BlockId> {
        let mut policy = std::mem::replace(&mut self.policy, by_name("lru", 1).expect("a name"));
        let found = (0..8 + 8 * self.keys.len() / REFUSALS_MAX).find_map(|_| {
            let mut asked = Vec::new();
            let mut evictable = |block| {
                assert!(self.keys.contains_key(&block), "{block:?} is not resident");
                asked.push(block);
                self.acceptable(block)
            };
            let victim = policy.victim(&mut evictable);
            let refused = asked.iter().filter(|&&block| !self.acceptable(block)).count();
            assert!(refused <= REFUSALS_MAX, "{refused} refusals in one call");
            if let Some(block) = victim {
                assert!(asked.contains(&block), "{block:?} was chosen unasked");
                assert!(self.acceptable(block), "{block:?} was chosen though refused");
                assert!(policy.contains(block), "a victim stays until it is removed");
            }
            victim
        });
        self.policy = policy;
        found
    }

    fn forget(&mut self, block: BlockId, removal: Removal) {
        self.policy.remove(block, removal);
        let key = self.keys.remove(&block).expect("resident");
        self.handles.remove(&key);
        self.pinned.remove(&block);
        self.free.push(block.0);
    }

    /// All blocks from the coldest and from the hottest on.
    fn orders(&self) -> [Vec<BlockId>; 2] {
        let (mut cold, mut hot) = (Vec::new(), Vec::new());
        self.policy.coldest(usize::MAX, &mut cold);
        self.policy.hottest(usize::MAX, &mut hot);
        [cold, hot]
    }

    fn play(&mut self, steps: &[Step]) {
        for step in steps {
            let blocks: Vec<_> = self.keys.keys().copied().collect();
            match step {
                Step::Request { path, eager } => self.request(path, *eager),
                Step::Pin(n) if !blocks.is_empty() => {
                    let block = blocks[n % blocks.len()];
                    if !self.pinned.remove(&block) {
                        self.pinned.insert(block);
                    }
                }
                Step::Drop(n) if !blocks.is_empty() => {
                    let leaves: Vec<_> = blocks.iter().filter(|&&block| self.is_leaf(block)).collect();
                    self.forget(*leaves[n % leaves.len()], Removal::Dropped);
                }
                &Step::SetCapacity(blocks) => {
                    self.policy.set_capacity(blocks);
                    assert_eq!(self.policy.capacity(), blocks);
                }
                Step::Pin(_) | Step::Drop(_) => {}
            }
            self.evict_excess();
            assert_eq!(self.policy.len(), self.keys.len());
            assert!(self.keys.keys().all(|&block| self.policy.contains(block)));
            assert!(self.free.iter().all(|&block| !self.policy.contains(BlockId(block))));
            let [cold, hot] = self.orders();
            assert_eq!((cold.len(), hot.len()), (self.keys.len(), self.keys.len()));
            assert!(
                [cold, hot].iter().all(|order| order
                    .iter()
                    .collect::<BTreeSet<_>>()
                    .into_iter()
                    .eq(self.keys.keys()))
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..Default::default() })]

    #[test]
    fn victims_are_resident_accepted_and_found(steps in steps(), capacity in 1_usize..50) {
        for name in NAMES {
            Catalog::new(name, capacity).play(&steps);
        }
    }

    #[test]
    fn the_same_calls_give_the_same_victims_and_orders(steps in steps(), capacity in 1_usize..50) {
        for name in NAMES {
            let [mut one, mut other] = [Catalog::new(name, capacity), Catalog::new(name, capacity)];
            one.play(&steps);
            other.play(&steps);
            prop_assert_eq!(one.orders(), other.orders());
            prop_assert_eq!(one.victims, other.victims);
        }
    }
}

#[test]
fn every_name_makes_the_policy_of_that_name() {
    for name in NAMES {
        let policy = by_name(name, 10).expect("a name of NAMES");
        assert_eq!((policy.name(), policy.len(), policy.capacity()), (name, 0, 10));
    }
    assert!(by_name("LRU", 10).is_none());
}

#[test]
fn refused_blocks_do_not_hide_the_one_that_may_leave() {
    const BLOCKS: u32 = 2000;
    for name in NAMES {
        for loose in [0, 1, 700, BLOCKS - 1].map(BlockId) {
            let mut policy = by_name(name, BLOCKS as usize).expect("a name of NAMES");
            for n in 0..BLOCKS {
                policy.insert(Arrival { block: BlockId(n), fingerprint: u64::from(n), parent: None });
            }
            // Some were hit, so that every list of every policy holds some.
            let hit: Vec<_> = (0..BLOCKS).step_by(3).map(BlockId).collect();
            policy.touch(&Request { number: 0, matched: &hit, missing: &[], blocks: 0 });
            let calls = (1..=200).find(|_| policy.victim(&mut |block| block == loose) == Some(loose));
            assert!(calls.is_some(), "{name}: {loose:?} was not found in 200 calls");
        }
    }
}

#[test]
fn a_chain_that_no_one_hits_leaves_from_its_tail() {
    for name in NAMES {
        let mut policy = by_name(name, 100).expect("a name of NAMES");
        for n in 0..50_u32 {
            let parent = n.checked_sub(1).map(BlockId);
            policy.insert(Arrival { block: BlockId(n), fingerprint: u64::from(n), parent });
        }
        for n in (0..50).rev() {
            assert_eq!(policy.victim(&mut |_| true), Some(BlockId(n)), "{name}");
            policy.remove(BlockId(n), Removal::Evicted);
        }
    }
}

#[test]
fn blocks_that_left_are_ignored() {
    for name in NAMES {
        let mut policy = by_name(name, 4).expect("a name of NAMES");
        policy.insert(Arrival { block: BlockId(0), fingerprint: 0, parent: None });
        policy.remove(BlockId(0), Removal::Evicted);
        policy.remove(BlockId(0), Removal::Evicted);
        policy.remove(BlockId(77), Removal::Dropped);
        let matched = [BlockId(0), BlockId(77)];
        policy.touch(&Request { number: 0, matched: &matched, missing: &[], blocks: 2 });
        assert_eq!((policy.len(), policy.victim(&mut |_| true)), (0, None), "{name}");
        policy.insert(Arrival { block: BlockId(1), fingerprint: 1, parent: Some(BlockId(0)) });
        assert_eq!(policy.victim(&mut |_| true), Some(BlockId(1)), "{name}");
    }
}

#[test]
#[should_panic(expected = "resident already")]
fn a_block_arrives_once() {
    let mut policy = by_name("lru", 4).expect("a name of NAMES");
    let arrival = Arrival { block: BlockId(3), fingerprint: 3, parent: None };
    policy.insert(arrival);
    policy.insert(arrival);
}

#[test]
#[should_panic(expected = "no victim to give")]
fn a_policy_has_room_for_one_block_at_least() {
    let _ = by_name("arc", 0);
}
