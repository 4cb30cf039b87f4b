//! Count-min sketch of how often a fingerprint was seen lately.
//!
//! Four rows of 4-bit counters, four counters of each row in one word, a word a block; an estimate is the least of its four
//! counters, so it errs upward only. After ten samples a block of capacity every counter is halved: old fame fades.
//! Cormode and Muthukrishnan 2005; the aging is TinyLFU's (Einziger, Friedman and Manes 2017).
//!
//! Invariant: a counter is at most 15.

use super::Fingerprint;
use alloc::vec;
use alloc::vec::Vec;

const ROWS: u32 = 4;
const COUNTER_MAX: u64 = 15;
const SAMPLES_PER_BLOCK: usize = 10;
/// Keeps what a right shift pushed over a counter's border out of its neighbour.
const HALVED: u64 = 0x7777_7777_7777_7777;

/// The sketch.
pub(super) struct Sketch {
    words: Vec<u64>,
    samples: usize,
    samples_max: usize,
}

impl Sketch {
    /// A sketch that tells `blocks` fingerprints apart fairly.
    pub(super) fn new(blocks: usize) -> Self {
        let words = blocks.next_power_of_two().max(8);
        Self {
            words: vec![0; words],
            samples: 0,
            samples_max: blocks.saturating_mul(SAMPLES_PER_BLOCK).max(1),
        }
    }

    /// Follows a capacity. Counters are kept as long as the size serves, from a quarter filled to full; else all start anew.
    pub(super) fn fit(&mut self, blocks: usize) {
        let words = words_for(blocks);
        if words > self.words.len() || words * 4 <= self.words.len() {
            *self = Self::new(blocks);
        } else {
            self.samples_max = samples_for(blocks);
        }
    }

    /// Counts one sight of `fingerprint`.
    pub(super) fn increment(&mut self, fingerprint: Fingerprint) {
        for row in 0..ROWS {
            let (word, shift) = self.counter(row, fingerprint);
            if self.words[word] >> shift & COUNTER_MAX < COUNTER_MAX {
                self.words[word] += 1 << shift;
            }
        }
        self.samples += 1;
        if self.samples >= self.samples_max {
            self.halve();
        }
    }

    /// How often `fingerprint` was seen: 0 ..= 15, never less than the truth of the present period (up to 15).
    pub(super) fn estimate(&self, fingerprint: Fingerprint) -> u64 {
        (0..ROWS)
            .map(|row| {
                let (word, shift) = self.counter(row, fingerprint);
                self.words[word] >> shift & COUNTER_MAX
            })
            .min()
            .unwrap_or(0)
    }

    fn halve(&mut self) {
        for word in &mut self.words {
            *word = *word >> 1 & HALVED;
        }
        self.samples /= 2;
    }

    /// Where `row` counts `fingerprint`: word and bit. A row owns sixteen bits of each word, four counters.
    fn counter(&self, row: u32, fingerprint: Fingerprint) -> (usize, u32) {
        let hash = mix(fingerprint.wrapping_add(u64::from(row + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let word = (hash >> 32) as usize & (self.words.len() - 1);
        (word, row * 16 + (hash as u32 & 3) * 4)
    }
}

fn words_for(blocks: usize) -> usize {
    blocks.next_power_of_two().max(8)
}

fn samples_for(blocks: usize) -> usize {
    blocks.saturating_mul(SAMPLES_PER_BLOCK)
}

/// SplitMix64's finaliser: rows must disagree about which fingerprints collide.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_is_never_below_the_truth() {
        let mut sketch = Sketch::new(64);
        for fingerprint in 0..60_u64 {
            for _ in 0..fingerprint % 10 {
                sketch.increment(fingerprint);
            }
        }
        for fingerprint in 0..60 {
            assert!(sketch.estimate(fingerprint) >= fingerprint % 10);
        }
    }

    #[test]
    fn rare_fingerprints_are_told_from_common_ones() {
        let mut sketch = Sketch::new(1024);
        for fingerprint in 0..1024 {
            sketch.increment(fingerprint);
        }
        (0..8).for_each(|_| sketch.increment(7));
        let overrated = (0..1024).filter(|&f| sketch.estimate(f) > 1).count();
        assert!(sketch.estimate(7) >= 9);
        assert!(overrated < 100, "{overrated} of 1024 collide in all four rows");
    }

    #[test]
    fn counters_saturate_without_touching_their_neighbours() {
        let mut sketch = Sketch::new(1 << 20);
        (0..100).for_each(|_| sketch.increment(3));
        assert_eq!(sketch.estimate(3), COUNTER_MAX);
        assert_eq!(sketch.words.iter().map(|w| w.count_ones()).sum::<u32>(), 4 * ROWS);
    }

    #[test]
    fn aging_halves_every_counter() {
        let mut sketch = Sketch::new(1);
        (0..9).for_each(|_| sketch.increment(5));
        assert_eq!(sketch.estimate(5), 9);
        sketch.increment(5);
        assert_eq!(sketch.estimate(5), 5);
    }

    #[test]
    fn a_capacity_that_changes_a_little_keeps_what_was_counted() {
        let mut sketch = Sketch::new(1000);
        sketch.increment(5);
        for blocks in [900, 1024, 257] {
            sketch.fit(blocks);
            assert_eq!(sketch.estimate(5), 1, "{blocks} blocks");
        }
        for blocks in [1025, 256] {
            let mut sketch = Sketch::new(1000);
            sketch.increment(5);
            sketch.fit(blocks);
            assert_eq!(sketch.words.len(), blocks.next_power_of_two());
            assert_eq!(sketch.estimate(5), 0, "{blocks} blocks");
        }
    }
}
