//! A ring of fixed-size entries between one producer and one consumer in different processes.
//!
//! ```text
//! header: [tail: written by the producer] [head: written by the consumer, after it is done with an entry]
//! entries: capacity × entry words, position modulo capacity
//! ```
//!
//! Invariants: positions only grow; `head ≤ tail ≤ head + capacity`; an entry is not overwritten before the consumer is
//! *done* with it (not merely has read it), so a consumer that is killed and restarted takes up the entry again. A
//! producer that breaks the invariants is found by the consumer and cannot make it read outside the ring.

use crate::sync::{AtomicU64, Ordering};

/// The producer wrote a tail that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confused {
    /// Position of the consumer.
    pub head: u64,
    /// What the producer claims.
    pub tail: u64,
}

/// A ring over shared words; the same view serves both sides.
#[derive(Clone, Copy, Debug)]
pub struct Ring<'m> {
    tail: &'m AtomicU64,
    head: &'m AtomicU64,
    entries: &'m [AtomicU64],
    entry_words: usize,
}

impl<'m> Ring<'m> {
    /// Views a ring.
    ///
    /// # Panics
    /// If the entries are not a whole number, at least one.
    pub fn new(
        tail: &'m AtomicU64,
        head: &'m AtomicU64,
        entries: &'m [AtomicU64],
        entry_words: usize,
    ) -> Self {
        assert!(entry_words > 0);
        assert!(!entries.is_empty());
        assert!(entries.len().is_multiple_of(entry_words));
        Self { tail, head, entries, entry_words }
    }

    /// Entries that fit.
    pub fn capacity(&self) -> u64 {
        (self.entries.len() / self.entry_words) as u64
    }

    /// Posts an entry and returns its position, or `None` if the ring is full. One producer at a time.
    #[must_use]
    pub fn push<const N: usize>(&self, entry: &[u64; N]) -> Option<u64> {
        assert!(N == self.entry_words);
        // Relaxed: the producer alone stores to the tail.
        let tail = self.tail.load(Ordering::Relaxed);
        // Acquire: pairs with the Release in `done`; the consumer no longer reads the entry that we overwrite, nor
        // what that entry spoke of.
        if tail.wrapping_sub(self.head.load(Ordering::Acquire)) >= self.capacity() {
            return None;
        }
        for (word, value) in self.entry(tail).iter().zip(entry) {
            word.store(*value, Ordering::Relaxed);
        }
        // Release: pairs with the Acquire in `pending`; the entry is whole before it is counted, and so is what it
        // speaks of.
        self.tail.store(tail.wrapping_add(1), Ordering::Release);
        Some(tail)
    }

    /// Entries that wait, as seen by the consumer.
    pub fn pending(&self) -> Result<u64, Confused> {
        let head = self.head.load(Ordering::Relaxed);
        // Acquire: pairs with the Release in `push`.
        let tail = self.tail.load(Ordering::Acquire);
        let pending = tail.wrapping_sub(head);
        if pending > self.capacity() {
            return Err(Confused { head, tail });
        }
        Ok(pending)
    }

    /// The oldest waiting entry; call only if [`Ring::pending`] is not 0. The consumer says [`Ring::done`] after it.
    pub fn peek<const N: usize>(&self) -> [u64; N] {
        assert!(N == self.entry_words);
        let mut entry = [0; N];
        for (value, word) in entry.iter_mut().zip(self.entry(self.head.load(Ordering::Relaxed))) {
            *value = word.load(Ordering::Relaxed);
        }
        entry
    }

    /// The consumer is done with the oldest entry and all that it asked for.
    pub fn done(&self) {
        let head = self.head.load(Ordering::Relaxed);
        // Release: pairs with the Acquire in `push` and `processed`.
        self.head.store(head.wrapping_add(1), Ordering::Release);
    }

    /// Position up to which the consumer is done: entries before it have had their effect.
    pub fn processed(&self) -> u64 {
        // Acquire: pairs with the Release in `done`; the effects are visible.
        self.head.load(Ordering::Acquire)
    }

    /// Position of the next entry to be pushed.
    pub fn posted(&self) -> u64 {
        // Relaxed: a position to compare with, not a claim to the entries before it.
        self.tail.load(Ordering::Relaxed)
    }

    fn entry(&self, position: u64) -> &'m [AtomicU64] {
        let at = (position % self.capacity()) as usize * self.entry_words;
        &self.entries[at..at + self.entry_words]
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::zeroed_words;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    proptest! {
        #[test]
        fn a_ring_is_a_bounded_queue(steps in prop::collection::vec(any::<bool>(), 1..200)) {
            let words = zeroed_words(2 + 3 * 2);
            let ring = Ring::new(&words[0], &words[1], &words[2..], 2);
            let mut model = VecDeque::new();
            for (i, push) in steps.into_iter().enumerate() {
                let entry = [i as u64, !i as u64];
                if push {
                    prop_assert_eq!(ring.push(&entry).is_some(), model.len() < 3);
                    if model.len() < 3 { model.push_back(entry); }
                } else if let Some(expected) = model.pop_front() {
                    prop_assert_eq!(ring.peek::<2>(), expected);
                    ring.done();
                }
                prop_assert_eq!(ring.pending(), Ok(model.len() as u64));
            }
        }
    }

    #[test]
    fn a_producer_that_lies_about_its_tail_is_found() {
        let words = zeroed_words(2 + 4);
        let ring = Ring::new(&words[0], &words[1], &words[2..], 2);
        for tail in [3, u64::MAX, 1 << 40] {
            words[0].store(tail, Ordering::Relaxed);
            assert_eq!(ring.pending(), Err(Confused { head: 0, tail }));
        }
    }
}
