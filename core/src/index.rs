//! Key → slot, shared with clients: a table of one-line buckets, two choices each.
//!
//! A bucket is one cache line of eight entries; an entry is one word (tag, arena, slot), published by one store.
//! Entries never move and the table never grows; a piece whose two buckets are full finds no room, and the node evicts
//! one of the sixteen. Invariants: the node is the only writer; an entry is a hint, the slot line decides; a reader
//! never waits: what is being changed under it is a miss. Two choices after Azar et al., "Balanced Allocations", 1994.

use crate::sync::{AtomicU64, Ordering};

/// Entries of a bucket.
pub const BUCKET_WORDS: usize = 8;
/// Share of the entries that may be in use before full buckets become likely.
///
/// Entries come and go and never move, so chance fills buckets unevenly: at 75 % one put in 300 met two full ones and
/// cost a block its place (measured on a conversation trace), at 60 % none does.
pub const LOAD_RATIO_PERCENT: usize = 60;

/// Buckets for `pieces` entries at [`LOAD_RATIO_PERCENT`].
pub const fn buckets_for(pieces: usize) -> usize {
    let words = pieces.div_ceil(LOAD_RATIO_PERCENT).saturating_mul(100);
    let buckets = words.div_ceil(BUCKET_WORDS);
    if buckets < 2 { 2 } else { buckets }
}

/// Where a piece lies, as far as the index tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// The arena.
    pub arena: u8,
    /// The slot within the arena.
    pub slot: u32,
}

/// Both buckets of a piece are full; [`Index::neighbours`] tells of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// The table, over words of any memory.
#[derive(Clone, Copy, Debug)]
pub struct Index<'m> {
    words: &'m [AtomicU64],
    buckets: u64,
}

impl<'m> Index<'m> {
    /// Views a table.
    ///
    /// # Panics
    /// If the words are not a whole number of buckets, at least two and at most 2³².
    pub fn new(words: &'m [AtomicU64]) -> Self {
        assert!(words.len().is_multiple_of(BUCKET_WORDS));
        let buckets = words.len() / BUCKET_WORDS;
        assert!(buckets >= 2);
        assert!(buckets as u64 <= 1 << 32);
        Self { words, buckets: buckets as u64 }
    }

    /// The slots that may hold the piece with this hash; almost always none or one.
    #[inline]
    pub fn candidates(&self, hash: u64) -> impl Iterator<Item = Location> + use<'m> {
        let tag = tag(hash);
        let [first, second] = self.pair(hash);
        first.iter().chain(second).filter_map(move |word| {
            // Acquire: pairs with the Release in `insert`; the slot line that an entry leads to is published.
            let word = word.load(Ordering::Acquire);
            (word >> 40 == tag).then_some(location(word))
        })
    }

    /// Asks the processor for both buckets of a piece, ahead of [`Index::candidates`].
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        for bucket in self.pair(hash) {
            crate::view::prefetch(bucket);
        }
    }

    /// Adds an entry. Only the node calls this.
    pub fn insert(&self, hash: u64, at: Location) -> Result<(), Full> {
        let free = |bucket: &'m [AtomicU64]| bucket.iter().filter(|w| w.load(Ordering::Relaxed) == 0).count();
        let [first, second] = self.pair(hash);
        let bucket = if free(first) >= free(second) { first } else { second };
        let word = bucket.iter().find(|word| word.load(Ordering::Relaxed) == 0).ok_or(Full)?;
        // Release: pairs with the Acquire in `candidates`.
        word.store(tag(hash) << 40 | u64::from(at.arena) << 32 | u64::from(at.slot), Ordering::Release);
        Ok(())
    }

    /// The entries of both buckets of a piece: what must make room when they are full.
    pub fn neighbours(&self, hash: u64) -> impl Iterator<Item = Location> + use<'m> {
        let [first, second] = self.pair(hash);
        let words = first.iter().chain(second).map(|word| word.load(Ordering::Relaxed));
        words.filter(|&word| word != 0).map(location)
    }

    /// Takes an entry out; `false` if it is not there. Only the node calls this.
    pub fn remove(&self, hash: u64, at: Location) -> bool {
        let entry = tag(hash) << 40 | u64::from(at.arena) << 32 | u64::from(at.slot);
        let [first, second] = self.pair(hash);
        match first.iter().chain(second).find(|word| word.load(Ordering::Relaxed) == entry) {
            // Relaxed: a reader that still sees the entry asks the slot line, which says no.
            Some(word) => word.store(0, Ordering::Relaxed),
            None => return false,
        }
        true
    }

    /// All entries, for adoption and verification.
    pub fn entries(&self) -> impl Iterator<Item = (usize, Location)> + use<'m> {
        self.words.iter().enumerate().filter_map(|(i, word)| {
            let word = word.load(Ordering::Acquire);
            (word != 0).then_some((i, location(word)))
        })
    }

    /// Keeps the entries that `hash_of` has a hash for that leads to them; the others go. Only the node calls this.
    pub fn retain(&self, mut hash_of: impl FnMut(Location) -> Option<u64>) {
        for (i, word) in self.words.iter().enumerate() {
            let entry = word.load(Ordering::Relaxed);
            if entry == 0 {
                continue;
            }
            let leads_here = hash_of(location(entry)).is_some_and(|hash| {
                tag(hash) == entry >> 40 && self.buckets_of(hash).contains(&(i / BUCKET_WORDS))
            });
            if !leads_here {
                word.store(0, Ordering::Relaxed);
            }
        }
    }

    #[inline]
    fn pair(&self, hash: u64) -> [&'m [AtomicU64]; 2] {
        self.buckets_of(hash).map(|bucket| &self.words[bucket * BUCKET_WORDS..][..BUCKET_WORDS])
    }

    #[inline]
    fn buckets_of(&self, hash: u64) -> [usize; 2] {
        // Multiply-shift over disjoint halves of the hash (Lemire, "Fast Random Integer Generation", 2019).
        let first = ((hash & 0xffff_ffff) * self.buckets) >> 32;
        let mut second = ((hash >> 32) * self.buckets) >> 32;
        if first == second {
            second = (first + 1) % self.buckets;
        }
        [first as usize, second as usize]
    }
}

/// 24 bits that are never 0: a mix of both halves, so that it differs within a bucket.
const fn tag(hash: u64) -> u64 {
    let tag = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    if tag == 0 { 1 } else { tag }
}

const fn location(word: u64) -> Location {
    Location { arena: (word >> 32) as u8, slot: word as u32 }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::zeroed_words;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    const fn at(slot: u32) -> Location {
        Location { arena: 1, slot }
    }

    #[test]
    fn a_table_at_its_load_finds_room_for_everything() {
        let pieces = 20_000;
        let words = zeroed_words(buckets_for(pieces) * BUCKET_WORDS);
        let index = Index::new(&words);
        let hash = |i: u32| u64::from(i + 1).wrapping_mul(0xd6e8_feb8_6659_fd93).rotate_left(31);
        for i in 0..pieces as u32 {
            index.insert(hash(i), at(i)).unwrap();
        }
        for i in 0..pieces as u32 {
            assert!(index.candidates(hash(i)).any(|found| found == at(i)));
        }
        assert_eq!(index.entries().count(), pieces);
    }

    proptest! {
        #[test]
        fn the_index_agrees_with_a_map(steps in prop::collection::vec((any::<bool>(), 0u64..40), 1..200)) {
            let words = zeroed_words(4 * BUCKET_WORDS);
            let index = Index::new(&words);
            let mut model = BTreeMap::new();
            for (insert, key) in steps {
                let hash = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ key << 50;
                if insert && !model.contains_key(&key) {
                    match index.insert(hash, at(key as u32)) {
                        Ok(()) => { model.insert(key, at(key as u32)); }
                        Err(Full) => {
                            let full: Vec<_> = index.neighbours(hash).collect();
                            prop_assert_eq!(full.len(), 2 * BUCKET_WORDS);
                            prop_assert!(full.iter().all(|entry| model.values().any(|at| at == entry)));
                        }
                    }
                } else {
                    prop_assert_eq!(index.remove(hash, at(key as u32)), model.remove(&key).is_some());
                }
                for (key, location) in &model {
                    let hash = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ key << 50;
                    prop_assert!(index.candidates(hash).collect::<Vec<_>>().contains(location));
                }
                prop_assert_eq!(index.entries().count(), model.len());
            }
        }
    }
}
