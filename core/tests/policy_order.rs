//! The order that a policy tells ahead, beside what then happens.

mod policy_cache;

use cascade_core::policy::{Arrival, BlockId, NAMES, Policy, Removal, Request, by_name};
use policy_cache::Cache;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Chains of sessions that go on, that share heads, and that come once: what fills all lists of all policies.
fn traffic(seed: u64) -> impl Iterator<Item = Vec<u32>> {
    let mut random = seed;
    let mut draw = move |below: u32| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((random >> 33) % u64::from(below)) as u32
    };
    let mut turns = [0_u32; 60];
    (0_u32..).map(move |n| {
        let session = draw(60);
        let head = session % 5;
        let own = if draw(3) == 0 {
            // Once only.
            (0..2 + draw(12)).map(|depth| 1_000_000 + n * 16 + depth).collect::<Vec<_>>()
        } else {
            let turn = &mut turns[session as usize];
            *turn = if draw(6) == 0 { 1 } else { *turn + 1 };
            let depth = (*turn * 3).min(40);
            (0..depth).map(|depth| 1000 + session * 1000 + depth).chain([2_000_000 + n]).collect()
        };
        (0..4).map(|depth| head * 10 + depth).chain(own).collect()
    })
}

fn listed(limit: usize, list: impl Fn(usize, &mut Vec<BlockId>)) -> Vec<BlockId> {
    let mut out = vec![BlockId(7); 3];
    list(limit, &mut out);
    out
}

fn coldest(policy: &dyn Policy, limit: usize) -> Vec<BlockId> {
    listed(limit, |limit, out| policy.coldest(limit, out))
}

fn hottest(policy: &dyn Policy, limit: usize) -> Vec<BlockId> {
    listed(limit, |limit, out| policy.hottest(limit, out))
}

/// A cache of 300 blocks after some of the traffic.
fn warm_cache(name: &str, seed: u64) -> Cache {
    let mut cache = Cache::new(name, 300);
    for chain in traffic(seed).take(200 + 37 * seed as usize) {
        cache.serve(&chain);
    }
    cache
}

/// How many of the next `count` victims were foretold, and how many at their very place.
fn foretold(
    cache: &mut Cache,
    count: usize,
    mut victim: impl FnMut(&mut Cache) -> BlockId,
) -> (usize, usize) {
    let told = coldest(&*cache.policy, count);
    assert_eq!(told.len(), count);
    let left: Vec<_> = (0..count).map(|_| victim(cache)).collect();
    let in_place = left.iter().zip(&told).filter(|(left, told)| left == told).count();
    (left.iter().filter(|left| told.contains(left)).count(), in_place)
}

#[test]
fn what_is_coldest_leaves_next() {
    // Measured: 1, 1, 0.93, 0.998, 1. What is missing was refused, as it had children, and passed over.
    for (name, least) in [("lru", 1.0), ("arc", 0.98), ("s3fifo", 0.9), ("wtinylfu", 0.98), ("cascade", 0.99)]
    {
        let (mut told, mut asked) = (0, 0);
        for (seed, share) in (0..24).zip([20, 4, 2].into_iter().cycle()) {
            let mut cache = warm_cache(name, seed);
            let count = cache.policy.len() / share;
            let (any, in_place) = foretold(&mut cache, count, Cache::evict);
            assert!(name != "lru" || in_place == count, "seed {seed}: {in_place} of {count}");
            (told, asked) = (told + any, asked + count);
        }
        assert!(told as f64 >= least * asked as f64, "{name}: {told} of {asked}");
    }
}

#[test]
fn where_nothing_is_refused_the_lists_are_foretold() {
    let any = |cache: &mut Cache| {
        let block = cache.policy.victim(&mut |_| true).expect("nothing is refused");
        cache.policy.remove(block, Removal::Evicted);
        block
    };
    for (name, seed) in ["lru", "arc", "s3fifo", "wtinylfu"]
        .into_iter()
        .flat_map(|name| (0..12).map(move |seed| (name, seed)))
    {
        let mut cache = warm_cache(name, seed);
        // The last tenth may be S3-FIFO's small queue, whose hit blocks leave between the others.
        let count = cache.policy.len() * 9 / 10;
        let (_, in_place) = foretold(&mut cache, count, any);
        assert_eq!(in_place, count, "{name}, seed {seed}");
    }
}

#[test]
fn children_are_coldest_before_their_parents_and_hottest_after_them() {
    for (name, seed) in NAMES.into_iter().flat_map(|name| (0..8).map(move |seed| (name, seed))) {
        let cache = warm_cache(name, seed);
        for (order, sign) in [(coldest(&*cache.policy, 300), 1), (hottest(&*cache.policy, 300), -1)] {
            let place: BTreeMap<_, i64> = order.into_iter().zip(0..).collect();
            let above = |key: &[u32]| cache.handles.get(&key[..key.len() - 1]);
            let edges: Vec<_> =
                cache.handles.iter().filter_map(|(key, below)| Some((above(key)?, below))).collect();
            let kept =
                edges.iter().filter(|(above, below)| (place[*above] - place[*below]) * sign > 0).count();
            let least = if ["lru", "cascade"].contains(&name) { edges.len() } else { edges.len() * 9 / 10 };
            assert!(kept >= least, "{name}, seed {seed}, {sign}: {kept} of {}", edges.len());
        }
    }
}

/// Whether both orders hold what is resident, each once.
fn lists_all(policy: &dyn Policy) -> bool {
    [coldest(policy, usize::MAX), hottest(policy, usize::MAX)].iter().all(|order| {
        let distinct: BTreeSet<_> = order.iter().copied().collect();
        order.len() == policy.len()
            && distinct.len() == order.len()
            && distinct.iter().all(|&block| policy.contains(block))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..Default::default() })]

    #[test]
    fn every_resident_block_is_listed_once_and_a_shorter_list_is_its_beginning(seed in 0..40_u64, limit in 0..400_usize) {
        for name in NAMES {
            let cache = warm_cache(name, seed);
            prop_assert!(lists_all(&*cache.policy), "{}", name);
            let (cold, hot) = (coldest(&*cache.policy, usize::MAX), hottest(&*cache.policy, usize::MAX));
            prop_assert_eq!(&coldest(&*cache.policy, limit)[..], &cold[..limit.min(cold.len())]);
            prop_assert_eq!(&hottest(&*cache.policy, limit)[..], &hot[..limit.min(hot.len())]);
        }
    }

    /// Parents that never were, leave before their children, or are another block by now.
    #[test]
    fn chains_that_are_none_are_listed_all_the_same(
        steps in vec((0..24_u32, 0..24_u32, 0..4_u8), 0..200),
        capacity in 1..30_usize,
    ) {
        for name in NAMES {
            let mut policy = by_name(name, capacity).expect("a name of NAMES");
            for &(block, other, verb) in &steps {
                let (block, other) = (BlockId(block), BlockId(other));
                match verb {
                    0 => policy.touch(&Request { number: 0, matched: &[other, block], missing: &[], blocks: 2 }),
                    1 => policy.remove(block, Removal::Dropped),
                    _ if policy.contains(block) => {
                        if let Some(victim) = policy.victim(&mut |block| block != other) {
                            policy.remove(victim, Removal::Evicted);
                        }
                    }
                    _ => policy.insert(Arrival {
                        block,
                        fingerprint: u64::from(other.0),
                        parent: Some(other).filter(|&other| other != block),
                    }),
                }
                prop_assert!(lists_all(&*policy), "{}: {:?}", name, block);
            }
        }
    }
}
