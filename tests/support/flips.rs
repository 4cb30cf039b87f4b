//! Bits flipped behind everybody's back, through a mapping of one's own of a segment's file.

use std::fs::OpenOptions;
use std::path::Path;
use std::ptr::NonNull;

use cascade_core::sync::{AtomicU64, Ordering};
use cascade_core::view::{Region, WORD_BYTES};
use memmap2::{MmapOptions, MmapRaw};

use crate::seed::Seed;

/// A mapped file.
#[derive(Debug)]
pub struct Flipper {
    map: MmapRaw,
}

impl Flipper {
    /// Maps a file of a segment.
    ///
    /// # Panics
    /// If it is not there.
    pub fn open(path: &Path) -> Self {
        let file = OpenOptions::new().read(true).write(true).open(path).expect("the file is there");
        Self { map: MmapOptions::new().map_raw(&file).expect("the file can be mapped") }
    }

    /// Its words.
    pub fn words(&self) -> &[AtomicU64] {
        let base = NonNull::new(self.map.as_mut_ptr()).expect("a mapping is never at null");
        // SAFETY: the mapping lives as long as `self`, from which the words are borrowed; others see atomic words too.
        let region: Region<'_> = unsafe { Region::new(base, self.map.len()) };
        region.words(0, self.map.len() / WORD_BYTES).expect("all words of the mapping")
    }

    /// Flips one bit somewhere from word `first` on, in a word that is not 0 as far as a few tries find one: a flip in
    /// memory that nobody uses tells nothing.
    pub fn flip(&self, seed: &mut Seed, first: usize) {
        let words = &self.words()[first..];
        let mut pick = || &words[seed.below(words.len() as u64) as usize];
        let tries: [&AtomicU64; 16] = std::array::from_fn(|_| pick());
        let used = tries.iter().find(|word| word.load(Ordering::Relaxed) != 0);
        let word = used.copied().unwrap_or(tries[0]);
        word.fetch_xor(1 << seed.below(64), Ordering::Relaxed);
    }
}
