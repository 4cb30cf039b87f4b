//! Ghosts: fingerprints of blocks that were evicted lately, oldest first.
//!
//! Invariants: `slots` maps exactly the fingerprints that are in the list; a fingerprint is there once. Grows with use, up
//! to what its owner trims it to; O(1) for every verb.

use super::Fingerprint;
use super::list::Lists;
use alloc::vec::Vec;
use hashbrown::HashMap;

const ONLY: usize = 0;

/// A list of ghosts.
pub(super) struct Ghosts {
    slots: HashMap<Fingerprint, u32>,
    order: Lists<1>,
    fingerprints: Vec<Fingerprint>,
    free: Vec<u32>,
}

impl Ghosts {
    pub(super) fn new() -> Self {
        Self { slots: HashMap::new(), order: Lists::new(), fingerprints: Vec::new(), free: Vec::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.order.len(ONLY)
    }

    /// Remembers a fingerprint as the youngest.
    pub(super) fn push(&mut self, fingerprint: Fingerprint) {
        self.take(fingerprint);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.fingerprints.push(0);
            (self.fingerprints.len() - 1) as u32
        });
        self.fingerprints[slot as usize] = fingerprint;
        self.order.push_young(ONLY, slot);
        self.slots.insert(fingerprint, slot);
    }

    /// Forgets a fingerprint and tells whether it was there.
    pub(super) fn take(&mut self, fingerprint: Fingerprint) -> bool {
        let Some(slot) = self.slots.remove(&fingerprint) else { return false };
        self.order.remove(slot);
        self.free.push(slot);
        true
    }

    /// Forgets the oldest until at most `len` are left.
    pub(super) fn trim(&mut self, len: usize) {
        while self.len() > len {
            let Some(slot) = self.order.oldest(ONLY) else { return };
            self.take(self.fingerprints[slot as usize]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_ghosts_are_forgotten_first() {
        let mut ghosts = Ghosts::new();
        for fingerprint in [10, 11, 12, 10] {
            ghosts.push(fingerprint);
        }
        assert_eq!(ghosts.len(), 3);
        ghosts.trim(1);
        assert!(!ghosts.take(11) && !ghosts.take(12));
        assert!(ghosts.take(10), "10 was pushed again, so it is the youngest");
        assert!(!ghosts.take(10));
    }

    #[test]
    fn slots_of_forgotten_ghosts_are_used_again() {
        let mut ghosts = Ghosts::new();
        for fingerprint in 0..1000 {
            ghosts.push(fingerprint);
            ghosts.trim(8);
        }
        assert_eq!(ghosts.len(), 8);
        assert!(ghosts.fingerprints.len() <= 9);
    }
}
