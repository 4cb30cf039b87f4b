//! What the `cascade` policy promises beyond the suite of all policies: that it learns, and that nothing makes it slow.

mod policy_cache;

use cascade_core::policy::{Arrival, BlockId, Cascade, Policy, Removal, Request};
use policy_cache::Cache;

#[test]
fn one_shot_requests_do_not_displace_sessions_that_return() {
    // Every third request belongs to one of 20 sessions, which comes back after 60 requests; the others never do.
    let mut cache = Cache::new("cascade", 300);
    let (mut hits, mut asked) = (0, 0);
    for n in 0..6000_u32 {
        if n % 3 == 0 {
            let chain: Vec<_> = (0..8).map(|depth| (n / 3 % 20) * 100 + depth).collect();
            let found = cache.serve(&chain);
            if n >= 3000 {
                (hits, asked) = (hits + found, asked + chain.len());
            }
        } else {
            cache.serve(&(0..8).map(|depth| 1_000_000 + n * 8 + depth).collect::<Vec<_>>());
        }
    }
    // LRU would need 480 blocks for any hit.
    assert!(hits * 10 >= asked * 8, "{hits} of {asked}");
}

#[test]
fn the_last_turn_of_a_session_does_not_take_its_shared_head_along() {
    let mut cache = Cache::new("cascade", 100);
    let head: Vec<u32> = (0..10).collect();
    for session in 0..400_u32 {
        let own = (0..20).map(|depth| 1000 + session * 20 + depth);
        let found = cache.serve(&head.iter().copied().chain(own).collect::<Vec<_>>());
        assert!(session == 0 || found == head.len(), "session {session} found {found}");
    }
}

#[test]
fn victims_are_found_at_once_also_where_chains_branch_at_every_block() {
    // Combs: each request leaves the one before at another depth, so segments are cut short everywhere.
    let mut cache = Cache::new("cascade", 2000);
    for n in 0..4000_u32 {
        let depth = n.wrapping_mul(2_654_435_761) >> 28;
        let stem = (0..depth).map(|at| (n / 7 % 50) * 100 + at);
        cache.serve(&stem.chain((0..8).map(|at| 10_000 + n * 8 + at)).collect::<Vec<_>>());
    }
    assert!(cache.evicted > 10_000);
    assert!(cache.offered <= cache.evicted + cache.evicted / 100, "{} for {}", cache.offered, cache.evicted);
}

#[test]
fn a_parent_that_leaves_before_its_children_and_a_reused_handle_do_no_harm() {
    let mut policy = Cascade::new(8);
    let insert = |policy: &mut Cascade, block: u32, parent: Option<u32>| {
        let parent = parent.map(BlockId);
        policy.insert(Arrival { block: BlockId(block), fingerprint: u64::from(block), parent });
    };
    for block in 0..6 {
        insert(&mut policy, block, u32::checked_sub(block, 1));
    }
    policy.remove(BlockId(2), Removal::Dropped);
    policy.remove(BlockId(0), Removal::Dropped);
    insert(&mut policy, 2, Some(5));
    insert(&mut policy, 0, None);
    policy.touch(&Request { number: 0, matched: &[BlockId(3), BlockId(4)], missing: &[], blocks: 2 });
    let mut left: Vec<u32> = Vec::new();
    while let Some(block) = policy.victim(&mut |_| true) {
        policy.remove(block, Removal::Evicted);
        left.push(block.0);
    }
    let at = |block: u32| left.iter().position(|&other| other == block);
    assert!(policy.is_empty() && left.len() == 6, "{left:?}");
    assert!(at(2) < at(5) && at(5) < at(4) && at(4) < at(3) && at(3) < at(1), "{left:?}");
}

#[test]
fn ghosts_follow_a_capacity_that_shrinks_and_grows_again() {
    let mut cache = Cache::new("cascade", 500);
    for n in 0..3000_u32 {
        cache.policy.set_capacity([500, 3, 40][n as usize / 100 % 3]);
        cache.serve(&(0..6).map(|depth| (n % 90) * 10 + depth).collect::<Vec<_>>());
        assert!(cache.policy.len() <= cache.policy.capacity());
    }
}

#[test]
fn a_chain_that_is_under_way_is_not_cut_by_a_caller_that_makes_room_ahead() {
    let mut policy = Cascade::new(200);
    let mut free: Vec<u32> = (0..200).collect();
    for chain in 0..300_u64 {
        let mut parent = None;
        for depth in 0..15 {
            while policy.len() > 90 {
                let victim = policy.victim(&mut |_| true).expect("nothing is refused");
                policy.remove(victim, Removal::Evicted);
                free.push(victim.0);
            }
            assert!(
                parent.is_none_or(|parent| policy.contains(parent)),
                "chain {chain} lost its block {depth}"
            );
            let block = BlockId(free.pop().expect("a free handle"));
            policy.insert(Arrival {
                block,
                fingerprint: (chain * 15 + depth).wrapping_mul(0x9e37_79b9),
                parent,
            });
            parent = Some(block);
        }
    }
}
