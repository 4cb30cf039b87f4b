//! A hash table of numbers in parts, so that growing it costs a part at a time.
//!
//! A book of millions keeps its entries in a row and finds them by number. One table of such numbers is copied as a whole when it
//! is full, which at a million takes some 100 ms of the one who inserts; in parts it is a part that is copied. Invariant: a
//! number is in the part that its hash names, so whoever asks with the hash that it was inserted by finds it.

use alloc::vec::Vec;
use core::mem::size_of;
use hashbrown::HashTable;
use hashbrown::hash_table::OccupiedEntry;

/// Parts, as a power of two.
const PARTS_LOG2: u32 = 8;

/// The numbers, by hash.
#[derive(Clone, Debug)]
pub(crate) struct Numbers {
    parts: Vec<HashTable<u32>>,
}

impl Default for Numbers {
    fn default() -> Self {
        Self { parts: (0..1 << PARTS_LOG2).map(|_| HashTable::new()).collect() }
    }
}

impl Numbers {
    /// The number with this hash of which `is_it` holds.
    pub(crate) fn find(&self, hash: u64, is_it: impl FnMut(&u32) -> bool) -> Option<u32> {
        self.parts[part(hash)].find(hash, is_it).copied()
    }

    /// The same, to be changed into another of the same hash.
    pub(crate) fn find_mut(&mut self, hash: u64, is_it: impl FnMut(&u32) -> bool) -> Option<&mut u32> {
        self.parts[part(hash)].find_mut(hash, is_it)
    }

    /// The same, to be taken out.
    pub(crate) fn find_entry(
        &mut self,
        hash: u64,
        is_it: impl FnMut(&u32) -> bool,
    ) -> Option<OccupiedEntry<'_, u32>> {
        self.parts[part(hash)].find_entry(hash, is_it).ok()
    }

    /// Enters a number that is not there. `hash_of` tells the hash of any that is.
    pub(crate) fn insert(&mut self, hash: u64, number: u32, hash_of: impl Fn(&u32) -> u64) {
        self.parts[part(hash)].insert_unique(hash, number, hash_of);
    }

    /// Makes room for so many more at once.
    pub(crate) fn reserve(&mut self, numbers: usize, hash_of: impl Fn(&u32) -> u64) {
        let each = numbers >> PARTS_LOG2;
        // Parts do not fill evenly: an eighth more is rarely not enough, and then a part grows by itself.
        self.parts.iter_mut().for_each(|part| part.reserve(each + each / 8 + 1, &hash_of));
    }

    /// How many there are.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.parts.iter().map(HashTable::len).sum()
    }

    /// Bytes of memory that it takes, without a byte of tag for each.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.parts.iter().map(HashTable::capacity).sum::<usize>() * size_of::<u32>()
    }
}

/// The part that a hash names. The table inside goes by the lowest and the highest bits.
fn part(hash: u64) -> usize {
    (hash >> 32) as usize & ((1 << PARTS_LOG2) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spreads as a hash does.
    fn hash(number: &u32) -> u64 {
        u64::from(*number).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    #[test]
    fn what_is_entered_is_found_until_it_is_taken_out() {
        let mut numbers = Numbers::default();
        numbers.reserve(1000, hash);
        for number in 0..5000 {
            numbers.insert(hash(&number), number, hash);
        }
        assert_eq!(numbers.len(), 5000);
        for number in (0..5000).step_by(2) {
            numbers.find_entry(hash(&number), |&n| n == number).expect("entered").remove();
        }
        for number in 0..5000 {
            let found = numbers.find(hash(&number), |&n| n == number);
            assert_eq!(found, (number % 2 == 1).then_some(number));
        }
        assert!(numbers.memory_bytes() >= 2500 * 4);
    }
}
