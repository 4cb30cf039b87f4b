//! What the `cascade` policy promises beyond the suite of all policies: that it learns, and that nothing makes it slow.

use cascade_core::policy::{Arrival, BlockId, Cascade, Policy, Removal, Request};
use std::collections::HashMap;

/// A cache over chains of symbols, driven as a node drives it; counts how often a block was offered.
struct Cache {
    policy: Cascade,
    handles: HashMap<Vec<u32>, BlockId>,
    keys: HashMap<BlockId, Vec<u32>>,
    free: Vec<u32>,
    children: HashMap<BlockId, usize>,
    offered: usize,
    evicted: usize,
}

impl Cache {
    fn new(capacity_blocks: usize) -> Self {
        let policy = Cascade::new(capacity_blocks);
        let (handles, keys, free, children) = Default::default();
        Self { policy, handles, keys, free, children, offered: 0, evicted: 0 }
    }

    /// Serves a request; returns its hits.
    fn serve(&mut self, chain: &[u32]) -> usize {
        let prefixes = (1..=chain.len()).map(|len| &chain[..len]);
        let matched: Vec<_> = prefixes.clone().map_while(|key| self.handles.get(key).copied()).collect();
        self.policy.touch(&Request { number: 0, matched: &matched, missing: &[], blocks: 0 });
        let mut parent = matched.last().copied();
        for key in prefixes.skip(matched.len()) {
            let block = BlockId(self.free.pop().unwrap_or(self.handles.len() as u32));
            let fingerprint = key.iter().fold(7, |hash: u64, &symbol| {
                (hash ^ u64::from(symbol)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
            });
            self.policy.insert(Arrival { block, fingerprint, parent });
            parent.inspect(|parent| *self.children.entry(*parent).or_default() += 1);
            self.handles.insert(key.to_vec(), block);
            self.keys.insert(block, key.to_vec());
            parent = Some(block);
        }
        while self.policy.excess() > 0 {
            let (children, offered) = (&self.children, &mut self.offered);
            let victim = self.policy.victim(&mut |block| {
                *offered += 1;
                children.get(&block).is_none_or(|&count| count == 0)
            });
            let Some(block) = victim else { continue };
            self.policy.remove(block, Removal::Evicted);
            self.evicted += 1;
            let key = self.keys.remove(&block).expect("a victim is resident");
            self.handles.remove(&key);
            self.free.push(block.0);
            if let Some(above) = self.handles.get(&key[..key.len() - 1]) {
                *self.children.get_mut(above).expect("it had a child") -= 1;
            }
        }
        matched.len()
    }
}

#[test]
fn one_shot_requests_do_not_displace_sessions_that_return() {
    // Every third request belongs to one of 20 sessions, which comes back after 60 requests; the others never do.
    let mut cache = Cache::new(300);
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
    let mut cache = Cache::new(100);
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
    let mut cache = Cache::new(2000);
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
    let mut cache = Cache::new(500);
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
