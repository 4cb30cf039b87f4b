//! The chain area of a client's page: keys and shares that lie there for the node to take up.
//!
//! Matching what is in memory needs no node; asking about lower tiers does, and a request has no room for a chain. So the
//! client lays keys down a batch at a time, each batch followed by a [`crate::request::Request::Keys`], and then the shares
//! that the question is about. Invariants: the area is the client's to write while the ring has passed every request that
//! speaks of it, and the node reads it only while it serves such a request, so it needs no ordering but the ring's; what the
//! node reads is a claim like everything in a page: any words are keys and shares, and their number is bounded.
//! Pinned by `core/tests/loom_chain.rs`.

use crate::key::BlockKey;
use crate::rule::Share;
use crate::sync::{AtomicU64, Ordering};

/// Words of a key.
pub const KEY_WORDS: usize = 4;
/// Blocks of a chain that one question may be about. What comes behind is not looked for.
pub const CHAIN_BLOCKS_MAX: usize = 1 << 16;
/// Pieces that one question may be about: blocks times shares.
pub const CHAIN_PIECES_MAX: usize = 1 << 20;

/// The area: first the keys, then the shares, one word each.
#[derive(Clone, Copy, Debug)]
pub struct ChainArea<'m> {
    keys: &'m [AtomicU64],
    shares: &'m [AtomicU64],
}

impl<'m> ChainArea<'m> {
    /// Views an area.
    ///
    /// # Panics
    /// If the keys are not whole.
    pub fn new(keys: &'m [AtomicU64], shares: &'m [AtomicU64]) -> Self {
        assert!(keys.len().is_multiple_of(KEY_WORDS));
        Self { keys, shares }
    }

    /// Lays keys down. Only the client calls this, and only when the ring has passed what spoke of the area before.
    ///
    /// # Panics
    /// If there are more than fit.
    pub fn lay_keys(&self, keys: &[BlockKey]) {
        assert!(keys.len() * KEY_WORDS <= self.keys.len());
        for (words, key) in self.keys.chunks_exact(KEY_WORDS).zip(keys) {
            for (word, value) in words.iter().zip(key.to_words()) {
                // Relaxed, as all of this: the push of the request that speaks of it is a Release.
                word.store(value, Ordering::Relaxed);
            }
        }
    }

    /// Lays shares down, under the same conditions.
    ///
    /// # Panics
    /// If there are more than fit.
    pub fn lay_shares(&self, shares: &[Share]) {
        assert!(shares.len() <= self.shares.len());
        for (word, share) in self.shares.iter().zip(shares) {
            word.store(share.to_word(), Ordering::Relaxed);
        }
    }

    /// The first `count` keys, fewer if there are not so many.
    pub fn keys(&self, count: usize) -> impl Iterator<Item = BlockKey> + 'm {
        self.keys
            .chunks_exact(KEY_WORDS)
            .take(count)
            .map(|words| BlockKey::from_words([0, 1, 2, 3].map(|i: usize| words[i].load(Ordering::Relaxed))))
    }

    /// The first `count` shares, fewer if there are not so many.
    pub fn shares(&self, count: usize) -> impl Iterator<Item = Share> + 'm {
        self.shares.iter().take(count).map(|word| Share::from_word(word.load(Ordering::Relaxed)))
    }
}

/// How much of a chain is usable, and where it lies: the answer to a question about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Located {
    /// Leading blocks that can be used, those that have to be brought first among them.
    pub blocks: usize,
    /// Leading blocks that can be used from memory at once; never more than `blocks`.
    pub memory_blocks: usize,
    /// The lower tiers that are needed for all of `blocks`: bit *n* is the *n*-th that the node lists.
    pub tiers: u64,
}

impl Located {
    /// The chain is usable as far as `blocks`, all from memory.
    pub const fn in_memory(blocks: usize) -> Self {
        Self { blocks, memory_blocks: blocks, tiers: 0 }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::rule::Rule;
    use crate::sync::zeroed_words;
    use proptest::prelude::*;
    use std::vec::Vec;

    proptest! {
        #[test]
        fn what_is_laid_down_is_taken_up(bytes in prop::collection::vec(any::<[u8; 32]>(), 0..8),
                                         shares in prop::collection::vec(any::<(u16, u16, u32)>(), 0..8)) {
            let (key_words, share_words) = (zeroed_words(8 * KEY_WORDS), zeroed_words(8));
            let area = ChainArea::new(&key_words, &share_words);
            let keys: Vec<_> = bytes.into_iter().map(BlockKey::from_bytes).collect();
            let shares: Vec<_> = shares
                .into_iter()
                .map(|(rank, group, blocks)| match blocks {
                    0 => Share::new(rank, group),
                    blocks => Share::new(rank, group).under(Rule::Window { blocks }),
                })
                .collect();
            area.lay_keys(&keys);
            area.lay_shares(&shares);
            prop_assert_eq!(area.keys(keys.len()).collect::<Vec<_>>(), keys);
            prop_assert_eq!(area.shares(shares.len()).collect::<Vec<_>>(), shares);
            prop_assert_eq!(area.keys(usize::MAX).count(), 8);
            prop_assert_eq!(area.shares(usize::MAX).count(), 8);
        }

        #[test]
        fn any_word_is_a_share_and_keeps_its_reach(word: u64) {
            let share = Share::from_word(word);
            prop_assert_eq!(share.to_word(), word);
        }
    }
}
