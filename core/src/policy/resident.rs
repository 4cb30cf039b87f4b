//! Resident blocks in age order: what all policies share.
//!
//! Invariants: a block is in exactly one of the `N` lists from `admit` to `remove`; its fingerprint is the one it came
//! with. The two tail-first rules (touch from the tail up, place beside the parent) and the rule for refused blocks
//! stand here and nowhere else.

use super::list::Lists;
use super::{Arrival, BlockId, Fingerprint};
use alloc::vec::Vec;

/// The blocks of one policy.
pub(super) struct Residents<const N: usize> {
    lists: Lists<N>,
    fingerprints: Vec<Fingerprint>,
}

impl<const N: usize> Residents<N> {
    pub(super) const fn new() -> Self {
        Self { lists: Lists::new(), fingerprints: Vec::new() }
    }

    pub(super) fn total(&self) -> usize {
        self.lists.total()
    }

    pub(super) fn len(&self, list: usize) -> usize {
        self.lists.len(list)
    }

    pub(super) fn oldest(&self, list: usize) -> Option<BlockId> {
        self.lists.oldest(list).map(BlockId)
    }

    /// The blocks of `list` from the oldest on.
    pub(super) fn oldest_first(&self, list: usize) -> impl Iterator<Item = BlockId> {
        self.lists.oldest_first(list).map(BlockId)
    }

    /// The blocks of `list` from the youngest on.
    pub(super) fn youngest_first(&self, list: usize) -> impl Iterator<Item = BlockId> {
        self.lists.youngest_first(list).map(BlockId)
    }

    pub(super) fn list_of(&self, block: BlockId) -> Option<usize> {
        self.lists.list_of(block.0)
    }

    /// The fingerprint of a block that is or was resident under this handle.
    pub(super) fn fingerprint(&self, block: BlockId) -> Fingerprint {
        self.fingerprints[block.0 as usize]
    }

    /// Admits a block to `list`: beside its parent when `by_parent` accepts that one and it is in `list`, else at the young end.
    pub(super) fn admit(&mut self, list: usize, arrival: Arrival, by_parent: impl FnOnce(BlockId) -> bool) {
        let Arrival { block, fingerprint, parent } = arrival;
        match parent.filter(|&parent| self.list_of(parent) == Some(list) && by_parent(parent)) {
            Some(parent) => self.lists.push_older_than(parent.0, block.0),
            None => self.lists.push_young(list, block.0),
        }
        if self.fingerprints.len() <= block.0 as usize {
            self.fingerprints.resize(block.0 as usize + 1, 0);
        }
        self.fingerprints[block.0 as usize] = fingerprint;
    }

    /// Moves a resident block to the young end of `list`.
    pub(super) fn renew(&mut self, list: usize, block: BlockId) {
        self.lists.remove(block.0);
        self.lists.push_young(list, block.0);
    }

    /// Takes a block out and tells which list held it.
    pub(super) fn remove(&mut self, block: BlockId) -> Option<usize> {
        self.lists.remove(block.0)
    }

    /// The oldest acceptable block of `list`. Refused ones are in use: they go to the young end, so their own order, and
    /// with it that of parent and child, stays. Each
    /// block is asked about once, and at most `patience` blocks are.
    pub(super) fn scan(
        &mut self,
        list: usize,
        patience: usize,
        evictable: &mut dyn FnMut(BlockId) -> bool,
    ) -> Option<BlockId> {
        for _ in 0..self.len(list).min(patience) {
            let block = self.oldest(list)?;
            if evictable(block) {
                return Some(block);
            }
            self.renew(list, block);
        }
        None
    }
}
