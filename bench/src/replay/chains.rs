//! From the ids of a trace to the keys of a chain.
//!
//! An id stands in for the tokens of its block, and each key is made from its parent's, so prefixes that are equal in
//! the trace have equal keys and no others.

use cascade_client::BlockKey;
use cascade_core::key::{Namespace, block_key};

/// The namespace of one replay.
pub(crate) struct Chains {
    root: BlockKey,
}

impl Chains {
    /// Chains of their own for every `run`: what an earlier one left in the node is no hit of this one.
    pub(crate) fn of(run: u64) -> Self {
        let namespace =
            Namespace { model: "cascade-bench".into(), revision: run.to_string(), ..Namespace::default() };
        Self { root: namespace.root() }
    }

    /// The keys of a request's blocks, root first.
    pub(crate) fn keys(&self, hash_ids: &[u64]) -> Vec<BlockKey> {
        let keys = hash_ids.iter().scan(self.root, |parent, &id| {
            *parent = block_key(parent, &[id as u32, (id >> 32) as u32]);
            Some(*parent)
        });
        keys.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_prefixes_have_equal_keys_and_no_others() {
        let chains = Chains::of(1);
        let (a, b) = (chains.keys(&[1, 2, 3]), chains.keys(&[1, 2, 4, 3]));
        assert_eq!(a[..2], b[..2]);
        assert!(!b[2..].contains(&a[2]));
        assert_ne!(a, Chains::of(2).keys(&[1, 2, 3]));
    }
}
