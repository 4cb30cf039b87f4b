//! Victims that cost nothing: blocks whose pieces a lower tier has as well, or that nobody would write there.
//!
//! While a tier takes writes, such blocks go before those that would be lost, coldest first. The policy's order is looked at
//! ahead, so many blocks of its cold end and no more; where none of these can be spared the policy's own victim goes, and the
//! look is not repeated at once. Invariants: a spare is a leaf that nobody claims, as any victim is; what is said here of a block
//! is found out again when it is its turn.

use std::collections::HashSet;

use cascade_core::policy::BlockId;

use super::store::Store;

/// Blocks of the cold end that are looked at.
const LOOK_BLOCKS: usize = 1024;
/// Victims that go unlooked after a look in vain.
const REST_VICTIMS: u32 = 256;
/// Bits of a word of the marks.
const WORD_BITS: usize = 64;

/// Which victims cost least.
#[derive(Debug, Default)]
pub(super) struct Spares {
    /// Whether a lower tier is there at all, so that an eviction without a copy below is a loss.
    pub(super) cost: bool,
    /// Whether it takes writes now: then what it has goes first.
    pub(super) go_first: bool,
    /// Whether only blocks that were used again are written.
    pub(super) reused_only: bool,
    /// What was looked at and may be spared, the coldest last.
    ahead: Vec<BlockId>,
    rest: u32,
    looked_at: Vec<BlockId>,
    /// A bit for each handle: its block was used again after it came.
    reused: Vec<u64>,
}

impl Spares {
    /// A block came into memory.
    pub(super) fn came(&mut self, block: BlockId) {
        if let Some(word) = self.reused.get_mut(block.0 as usize / WORD_BITS) {
            *word &= !bit(block);
        }
    }

    /// A block was used.
    pub(super) fn reused(&mut self, block: BlockId) {
        let at = block.0 as usize / WORD_BITS;
        if self.reused.len() <= at {
            self.reused.resize(at + 1, 0);
        }
        self.reused[at] |= bit(block);
    }

    /// Whether a block is worth a write below.
    pub(super) fn admits(&self, block: BlockId) -> bool {
        let word = self.reused.get(block.0 as usize / WORD_BITS).copied().unwrap_or(0);
        !self.reused_only || word & bit(block) != 0
    }

    /// There are more spares than there were: look again.
    pub(super) fn found_again(&mut self) {
        self.rest = 0;
    }
}

fn bit(block: BlockId) -> u64 {
    1 << (block.0 as usize % WORD_BITS)
}

impl Store {
    /// The coldest leaf, of those that were looked at, that can go without a loss and is not in `passed`.
    pub(super) fn next_spare_leaf(&mut self, passed: &HashSet<BlockId>) -> Option<BlockId> {
        if !self.spares.go_first {
            return None;
        }
        if self.spares.rest > 0 {
            self.spares.rest -= 1;
            return None;
        }
        if let Some(spare) = self.next_looked_at(passed) {
            return Some(spare);
        }
        self.look_ahead();
        let spare = self.next_looked_at(passed);
        if spare.is_none() {
            self.spares.rest = REST_VICTIMS;
        }
        spare
    }

    fn look_ahead(&mut self) {
        let mut looked_at = std::mem::take(&mut self.spares.looked_at);
        self.policy.coldest(LOOK_BLOCKS, &mut looked_at);
        let mut ahead = std::mem::take(&mut self.spares.ahead);
        ahead.clear();
        ahead.extend(looked_at.iter().rev().filter(|&&block| self.is_spare(block)));
        (self.spares.ahead, self.spares.looked_at) = (ahead, looked_at);
    }

    fn next_looked_at(&mut self, passed: &HashSet<BlockId>) -> Option<BlockId> {
        while let Some(block) = self.spares.ahead.pop() {
            let is_leaf = self.policy.contains(block) && self.catalog.is_leaf(block);
            if is_leaf && !passed.contains(&block) && self.is_spare(block) {
                return Some(block);
            }
        }
        None
    }

    /// Whether nothing is lost with a block.
    pub(super) fn is_spare(&self, block: BlockId) -> bool {
        self.catalog.is_clean(block) || (!self.spares.admits(block) && self.catalog.may_leave(block))
    }
}
