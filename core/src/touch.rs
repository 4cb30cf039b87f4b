//! Touches: what clients hit, told to the node without a call.
//!
//! A ring of notes that may be lost: the client overwrites the oldest when the node is slow. One note stands for one
//! matched chain: the slot of its deepest matched block and how many blocks matched; the node finds the rest by the
//! parents it knows. Invariants: a note is two words, the second carries a check of the first, so a note torn by an
//! overwrite is dropped, not believed.

use crate::slot::SlotRef;
use crate::sync::{AtomicU64, Ordering};

/// Words of a note.
pub const NOTE_WORDS: usize = 2;
/// How many notes may be begun after one that is not complete yet before the reader goes on without it: its writer may be
/// in the middle of it, or dead.
const LATE_NOTES: u64 = 16;

/// One matched chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touch {
    /// The slot of the deepest matched block.
    pub tail: SlotRef,
    /// Blocks matched, up to and including that one.
    pub blocks: u32,
}

/// The notes of one client.
#[derive(Clone, Copy, Debug)]
pub struct Touches<'m> {
    written: &'m AtomicU64,
    notes: &'m [AtomicU64],
}

impl<'m> Touches<'m> {
    /// Views the notes; `written` counts them, modulo 2⁶⁴.
    ///
    /// # Panics
    /// If there is not at least one whole note.
    pub fn new(written: &'m AtomicU64, notes: &'m [AtomicU64]) -> Self {
        assert!(!notes.is_empty());
        assert!(notes.len().is_multiple_of(NOTE_WORDS));
        Self { written, notes }
    }

    /// Notes a matched chain. Any thread of the client calls this.
    pub fn note(&self, touch: Touch) {
        let position = self.written.fetch_add(1, Ordering::Relaxed);
        let note = self.at(position);
        let word = touch.tail.pack();
        note[0].store(word, Ordering::Relaxed);
        // Release: pairs with the Acquire in `read`; a note whose second word is seen is not lost.
        note[1].store(u64::from(touch.blocks) | check(word, position) << 32, Ordering::Release);
    }

    /// Notes after position `seen`, oldest first, and the new position; lost and torn ones are left out. A note that was
    /// only just begun is waited for: the new position is before it.
    pub fn read(&self, seen: u64, mut each: impl FnMut(Touch)) -> u64 {
        self.read_while(seen, |touch| {
            each(touch);
            true
        })
    }

    /// [`Touches::read`] until `each` says that it has had enough; the rest is there next time, if it is not lost.
    pub fn read_while(&self, seen: u64, mut each: impl FnMut(Touch) -> bool) -> u64 {
        // Relaxed: it counts notes that were begun; each note vouches for itself.
        let written = self.written.load(Ordering::Relaxed);
        let capacity = (self.notes.len() / NOTE_WORDS) as u64;
        let first = if written.wrapping_sub(seen) > capacity { written.wrapping_sub(capacity) } else { seen };
        let mut position = first;
        while position != written {
            let note = self.at(position);
            let tail = note[1].load(Ordering::Acquire);
            let word = note[0].load(Ordering::Relaxed);
            let slot = SlotRef::unpack(word).filter(|_| tail >> 32 == check(word, position));
            if slot.is_none() && written.wrapping_sub(position) <= LATE_NOTES.min(capacity / 2) {
                return position;
            }
            position = position.wrapping_add(1);
            if let Some(slot) = slot
                && !each(Touch { tail: slot, blocks: tail as u32 })
            {
                break;
            }
        }
        position
    }

    fn at(&self, position: u64) -> &'m [AtomicU64] {
        let capacity = (self.notes.len() / NOTE_WORDS) as u64;
        &self.notes[(position % capacity) as usize * NOTE_WORDS..][..NOTE_WORDS]
    }
}

/// 32 bits over a note and its position.
const fn check(word: u64, position: u64) -> u64 {
    (word ^ position.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xd6e8_feb8_6659_fd93) >> 32
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::zeroed_words;
    use std::vec::Vec;

    fn touch(i: u32) -> Touch {
        Touch { tail: SlotRef { arena: 0, slot: i, generation: 1 }, blocks: i }
    }

    #[test]
    fn a_slow_reader_loses_the_oldest_notes_only() {
        let words = zeroed_words(1 + 4 * NOTE_WORDS);
        let touches = Touches::new(&words[0], &words[1..]);
        (0..3).for_each(|i| touches.note(touch(i)));
        let mut seen = Vec::new();
        let position = touches.read(0, |t| seen.push(t.blocks));
        assert_eq!(seen, [0, 1, 2]);
        (3..10).for_each(|i| touches.note(touch(i)));
        seen.clear();
        touches.read(position, |t| seen.push(t.blocks));
        assert_eq!(seen, [6, 7, 8, 9]);
    }

    #[test]
    fn a_note_that_was_only_just_begun_is_waited_for_but_not_for_ever() {
        let words = zeroed_words(1 + 8 * NOTE_WORDS);
        let touches = Touches::new(&words[0], &words[1..]);
        touches.note(touch(1));
        let (first, second) = (words[1].load(Ordering::Relaxed), words[2].load(Ordering::Relaxed));
        words[1].store(0, Ordering::Relaxed);
        words[2].store(0, Ordering::Relaxed);
        let read = |seen| {
            let mut heard = Vec::new();
            let position = touches.read(seen, |touch| heard.push(touch.blocks));
            (position, heard)
        };
        assert_eq!(read(0), (0, [].into()));
        touches.note(touch(2));
        assert_eq!(read(0), (0, [].into()), "in order");
        words[1].store(first, Ordering::Relaxed);
        words[2].store(second, Ordering::Relaxed);
        assert_eq!(read(0), (2, [1, 2].into()));
        words[2].store(0, Ordering::Relaxed);
        (3..6).for_each(|i| touches.note(touch(i)));
        assert_eq!(read(0), (5, [2, 3, 4, 5].into()), "its writer is dead");
    }

    #[test]
    fn a_torn_note_is_dropped() {
        let words = zeroed_words(1 + 4 * NOTE_WORDS);
        let touches = Touches::new(&words[0], &words[1..]);
        touches.note(touch(1));
        words[1].store(touch(2).tail.pack(), Ordering::Relaxed);
        let mut seen = Vec::new();
        touches.read(0, |t| seen.push(t));
        assert_eq!(seen, []);
    }
}
