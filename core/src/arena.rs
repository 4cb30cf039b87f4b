//! Arenas and slabs: which slots of an arena are free. The node's own book; nothing of it is shared.
//!
//! An arena is a row of chunks. A backed chunk is cut into a slab of equal slots when a piece of that size comes, and
//! is whole again when all its slots are free: then it may be cut for another size. Slots of fuller slabs go first, so
//! that emptier ones drain and become whole. Invariants: a slot is handed out once until it is given back; a chunk is
//! recut only while all its slots are free; a slot that retires (no generation left) is never given back.

use crate::segment::Geometry;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use hashbrown::HashMap;

/// A chunk of an arena.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Chunk {
    /// No memory behind it yet.
    Unbacked,
    /// Memory behind it, no slots.
    Whole,
    /// Cut into slots of one size.
    Slab { slot_bytes: u64, slots: u32, free: Vec<u32> },
}

/// The slabs of one slot size that have free slots.
#[derive(Clone, Debug, Default)]
struct Class {
    free_slots: u64,
    // As (free slots, chunk), so that the fullest comes first.
    slabs: BTreeSet<(u32, u32)>,
}

/// The free slots of one arena.
#[derive(Clone, Debug)]
pub struct Arena {
    chunk_bytes: u64,
    slots_per_chunk: u32,
    chunks: Vec<Chunk>,
    whole: BTreeSet<u32>,
    classes: HashMap<u64, Class>,
    free_bytes: u64,
    backed_bytes: u64,
}

/// A slot taken from an arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The slot.
    pub slot: u32,
    /// The chunk that was cut for it just now; its word must be published before the slot is granted.
    pub cut: Option<u32>,
}

impl Arena {
    /// An arena without memory.
    pub fn new(geometry: &Geometry, arena: u8) -> Self {
        let chunks = geometry.chunks[usize::from(arena)] as usize;
        Self {
            chunk_bytes: geometry.chunk_bytes,
            slots_per_chunk: geometry.slots_per_chunk() as u32,
            chunks: alloc::vec![Chunk::Unbacked; chunks],
            whole: BTreeSet::new(),
            classes: HashMap::new(),
            free_bytes: 0,
            backed_bytes: 0,
        }
    }

    /// Chunks, backed or not.
    pub fn chunks(&self) -> u32 {
        self.chunks.len() as u32
    }

    /// Bytes with memory behind them.
    pub fn backed_bytes(&self) -> u64 {
        self.backed_bytes
    }

    /// Bytes that are free: whole chunks and free slots of slabs.
    pub fn free_bytes(&self) -> u64 {
        self.free_bytes
    }

    /// Bytes of whole chunks: free for pieces of any size.
    pub fn whole_bytes(&self) -> u64 {
        self.whole.len() as u64 * self.chunk_bytes
    }

    /// Free bytes that a piece of this slot size may use without eviction.
    pub fn free_slots(&self, slot_bytes: u64) -> u64 {
        let whole = self.whole.len() as u64 * (self.chunk_bytes / slot_bytes);
        whole + self.classes.get(&slot_bytes).map_or(0, |class| class.free_slots)
    }

    /// The chunk has memory behind it now.
    ///
    /// # Panics
    /// If it had before.
    pub fn back(&mut self, chunk: u32) {
        assert!(self.chunks[chunk as usize] == Chunk::Unbacked, "a chunk is backed once");
        self.chunks[chunk as usize] = Chunk::Whole;
        self.whole.insert(chunk);
        self.backed_bytes += self.chunk_bytes;
        self.free_bytes += self.chunk_bytes;
    }

    /// Whether the chunk has memory behind it.
    pub fn is_backed(&self, chunk: u32) -> bool {
        self.chunks[chunk as usize] != Chunk::Unbacked
    }

    /// Takes a whole chunk's memory away, to give it back to the machine; `false` if it is in use.
    #[must_use]
    pub fn unback(&mut self, chunk: u32) -> bool {
        if !self.whole.remove(&chunk) {
            return false;
        }
        self.chunks[chunk as usize] = Chunk::Unbacked;
        self.backed_bytes -= self.chunk_bytes;
        self.free_bytes -= self.chunk_bytes;
        true
    }

    /// A whole chunk, the last one first.
    pub fn last_whole(&self) -> Option<u32> {
        self.whole.last().copied()
    }

    /// Takes a free slot of this size, cutting a whole chunk if need be.
    #[must_use]
    pub fn take(&mut self, slot_bytes: u64) -> Option<Taken> {
        let fullest = self.classes.get(&slot_bytes).and_then(|class| class.slabs.first().copied());
        let (chunk, cut) = match fullest {
            Some((_, chunk)) => (chunk, None),
            None => {
                let chunk = self.whole.pop_first()?;
                self.cut(chunk, slot_bytes);
                (chunk, Some(chunk))
            }
        };
        let Chunk::Slab { free, .. } = &mut self.chunks[chunk as usize] else {
            unreachable!("the chunks of a class are slabs")
        };
        let before = free.len() as u32;
        let slot = free.pop().expect("the slabs of a class have free slots");
        self.moved(chunk, slot_bytes, before, before - 1);
        self.free_bytes -= slot_bytes;
        Some(Taken { slot, cut })
    }

    /// Gives a slot back. `true` if its chunk is whole again: then its word is to be cleared.
    ///
    /// # Panics
    /// If the slot is not of a slab, or was free.
    pub fn give(&mut self, slot: u32) -> bool {
        let chunk = slot / self.slots_per_chunk;
        let Chunk::Slab { slot_bytes, slots, free } = &mut self.chunks[chunk as usize] else {
            panic!("slot {slot} is of no slab")
        };
        let (slot_bytes, slots) = (*slot_bytes, *slots);
        assert!(slot % self.slots_per_chunk < slots);
        debug_assert!(!free.contains(&slot), "slot {slot} given back twice");
        let before = free.len() as u32;
        assert!(before < slots);
        free.push(slot);
        self.moved(chunk, slot_bytes, before, before + 1);
        self.free_bytes += slot_bytes;
        if before + 1 < slots {
            return false;
        }
        self.moved(chunk, slot_bytes, slots, 0);
        self.chunks[chunk as usize] = Chunk::Whole;
        self.whole.insert(chunk);
        self.free_bytes += self.chunk_bytes - u64::from(slots) * slot_bytes;
        true
    }

    /// Takes up a slab as an earlier owner left it: slots `taken`, in ascending order, are in use, the others free.
    pub fn adopt(&mut self, chunk: u32, slot_bytes: u64, taken: &[u32]) {
        self.back(chunk);
        if taken.is_empty() {
            return;
        }
        self.whole.remove(&chunk);
        self.cut(chunk, slot_bytes);
        let Chunk::Slab { free, .. } = &mut self.chunks[chunk as usize] else { unreachable!("just cut") };
        let before = free.len() as u32;
        debug_assert!(taken.is_sorted());
        // Both go through the slab's slots once, from the last: a chunk has thousands.
        let mut taken = taken.iter().rev().peekable();
        free.retain(|slot| taken.next_if_eq(&slot).is_none());
        let after = free.len() as u32;
        self.moved(chunk, slot_bytes, before, after);
        self.free_bytes -= u64::from(before - after) * slot_bytes;
    }

    /// Slots of a slab that are taken, by chunk: what must be evicted to make the chunk whole.
    pub fn slab(&self, chunk: u32) -> Option<(u64, u32)> {
        match &self.chunks[chunk as usize] {
            Chunk::Slab { slot_bytes, slots, free } => Some((*slot_bytes, slots - free.len() as u32)),
            _ => None,
        }
    }

    /// The slots of a slab that are in use.
    pub fn taken_slots(&self, chunk: u32) -> Vec<u32> {
        match &self.chunks[chunk as usize] {
            Chunk::Slab { slots, free, .. } => {
                let first = chunk * self.slots_per_chunk;
                (first..first + slots).filter(|slot| !free.contains(slot)).collect()
            }
            _ => Vec::new(),
        }
    }

    fn cut(&mut self, chunk: u32, slot_bytes: u64) {
        let slots = (self.chunk_bytes / slot_bytes) as u32;
        let first = chunk * self.slots_per_chunk;
        let free = (first..first + slots).rev().collect();
        self.chunks[chunk as usize] = Chunk::Slab { slot_bytes, slots, free };
        self.moved(chunk, slot_bytes, 0, slots);
        self.free_bytes -= self.chunk_bytes - u64::from(slots) * slot_bytes;
    }

    fn moved(&mut self, chunk: u32, slot_bytes: u64, before: u32, after: u32) {
        let class = self.classes.entry(slot_bytes).or_default();
        class.slabs.remove(&(before, chunk));
        if after > 0 {
            class.slabs.insert((after, chunk));
        }
        class.free_slots = class.free_slots - u64::from(before) + u64::from(after);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CHUNK: u64 = 1 << 20;

    fn arena(chunks: u64) -> Arena {
        let geometry = Geometry::plan(&[chunks * CHUNK], CHUNK, 4096, 1, 0);
        let mut arena = Arena::new(&geometry, 0);
        (0..chunks as u32).for_each(|chunk| arena.back(chunk));
        arena
    }

    #[test]
    fn a_chunk_is_recut_only_when_all_its_slots_are_free() {
        let mut arena = arena(1);
        let a = arena.take(256 << 10).unwrap();
        assert_eq!(a.cut, Some(0));
        let b = arena.take(256 << 10).unwrap();
        assert_eq!(b.cut, None);
        assert_eq!(arena.take(1 << 20), None);
        assert!(!arena.give(a.slot));
        assert_eq!(arena.take(1 << 20), None);
        assert!(arena.give(b.slot));
        assert_eq!(arena.take(1 << 20).unwrap().cut, Some(0));
    }

    #[test]
    fn an_adopted_slab_hands_out_only_what_was_free() {
        let geometry = Geometry::plan(&[2 * CHUNK], CHUNK, 4096, 1, 0);
        let mut arena = Arena::new(&geometry, 0);
        arena.adopt(1, 512 << 10, &[256]);
        assert_eq!(arena.take(512 << 10).unwrap().slot, 257);
        assert_eq!(arena.take(512 << 10), None);
        assert_eq!(arena.taken_slots(1), [256, 257]);
    }

    proptest! {
        #[test]
        fn slots_in_use_never_overlap(steps in prop::collection::vec((any::<bool>(), 0usize..4, any::<prop::sample::Index>()), 1..300)) {
            let sizes = [4096u64, 40 << 10, 300 << 10, 1 << 20];
            let mut arena = arena(4);
            let mut held: Vec<(u32, u64)> = Vec::new();
            for (take, size, pick) in steps {
                if take {
                    if let Some(taken) = arena.take(sizes[size]) {
                        held.push((taken.slot, sizes[size]));
                    } else {
                        prop_assert_eq!(arena.free_slots(sizes[size]), 0);
                    }
                } else if !held.is_empty() {
                    let (slot, _) = held.swap_remove(pick.index(held.len()));
                    arena.give(slot);
                }
                let mut ranges: Vec<(u64, u64)> = held.iter().map(|&(slot, bytes)| {
                    let (chunk, index) = (u64::from(slot) / 256, u64::from(slot) % 256);
                    (chunk * CHUNK + index * bytes, bytes)
                }).collect();
                ranges.sort_unstable();
                for pair in ranges.windows(2) {
                    prop_assert!(pair[0].0 + pair[0].1 <= pair[1].0);
                }
            }
            for (slot, _) in held.drain(..) {
                arena.give(slot);
            }
            prop_assert_eq!(arena.free_bytes(), arena.backed_bytes());
            prop_assert_eq!(arena.whole_bytes(), arena.backed_bytes());
            prop_assert_eq!(arena.free_slots(1 << 20), 4);
        }
    }
}
