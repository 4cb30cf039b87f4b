//! Ghosts: which segment remembers evicted blocks that begin with a print.
//!
//! A segment leaves from its tail, so the topmost evicted block is the first that a returning request misses: one key finds
//! them all. Invariant: a print names at most one segment. A table of segment numbers; the prints lie in the segments.

use super::forest::Segment;
use hashbrown::HashTable;

/// The table.
pub(super) struct Ghosts {
    table: HashTable<u32>,
}

impl Ghosts {
    pub(super) const fn new() -> Self {
        Self { table: HashTable::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// The segment that a print names.
    pub(super) fn find(&self, segments: &[Segment], print: u32) -> Option<u32> {
        self.table.find(hash(print), |&id| segments[id as usize].ghost_print == print).copied()
    }

    /// A print, which names none, names this segment from now on.
    pub(super) fn insert(&mut self, segments: &mut [Segment], print: u32, id: u32) {
        segments[id as usize].ghost_print = print;
        self.table.insert_unique(hash(print), id, |&id| hash(segments[id as usize].ghost_print));
    }

    /// The print of a segment names it no more.
    pub(super) fn remove(&mut self, segments: &[Segment], id: u32) {
        if let Ok(entry) =
            self.table.find_entry(hash(segments[id as usize].ghost_print), |&other| other == id)
        {
            entry.remove();
        }
    }
}

/// Fibonacci hashing: prints come from keys, which are uniform, or from a caller's small numbers.
fn hash(print: u32) -> u64 {
    u64::from(print).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
