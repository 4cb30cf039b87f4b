//! A cache over chains of symbols, which drives a policy as a node does.
//!
//! A key is the path to its block; the tree, not the policy, says what is a leaf.

use cascade_core::policy::{Arrival, BlockId, Policy, Removal, Request, by_name};
use std::collections::HashMap;

/// Counts how often a block was offered, and how often one left.
pub(crate) struct Cache {
    pub(crate) policy: Box<dyn Policy>,
    pub(crate) handles: HashMap<Vec<u32>, BlockId>,
    keys: HashMap<BlockId, Vec<u32>>,
    free: Vec<u32>,
    children: HashMap<BlockId, usize>,
    pub(crate) offered: usize,
    pub(crate) evicted: usize,
}

impl Cache {
    pub(crate) fn new(name: &str, capacity_blocks: usize) -> Self {
        let policy = by_name(name, capacity_blocks).expect("a name of NAMES");
        let (handles, keys, free, children) = Default::default();
        Self { policy, handles, keys, free, children, offered: 0, evicted: 0 }
    }

    /// Serves a request; returns its hits.
    pub(crate) fn serve(&mut self, chain: &[u32]) -> usize {
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
            self.evict();
        }
        matched.len()
    }

    /// Evicts the policy's next leaf.
    pub(crate) fn evict(&mut self) -> BlockId {
        let (children, offered) = (&self.children, &mut self.offered);
        let mut is_leaf = |block| {
            *offered += 1;
            children.get(&block).is_none_or(|&count| count == 0)
        };
        // Where refused blocks go behind, another call finds a leaf.
        let block = (0..).find_map(|_| self.policy.victim(&mut is_leaf)).expect("a tree has a leaf");
        self.policy.remove(block, Removal::Evicted);
        self.evicted += 1;
        let key = self.keys.remove(&block).expect("a victim is resident");
        self.handles.remove(&key);
        self.free.push(block.0);
        if let Some(above) = self.handles.get(&key[..key.len() - 1]) {
            *self.children.get_mut(above).expect("it had a child") -= 1;
        }
        block
    }
}
