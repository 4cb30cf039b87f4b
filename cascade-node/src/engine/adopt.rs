//! Taking a segment up as a dead owner left it.
//!
//! The shared words are the truth; the books are rebuilt from them. Whatever instant the owner died at: a Ready slot
//! stays, a Draining one was still whole and is Ready again, a granted one stays with its client while that lives, and
//! the index is made to name exactly what is Ready. A Loading slot is out of use until it has new pages: the transfer
//! that its tier began may still be landing in the old ones. Nothing here trusts a word further than its bounds.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use cascade_core::catalog::Inserted;
use cascade_core::index::Location;
use cascade_core::key::BlockKey;
use cascade_core::piece::PieceMeta;
use cascade_core::slot::{Event, SlotRef, Snapshot, State};
use cascade_core::sync::Ordering;

use super::store::Store;

/// A map by fingerprint, which is a digest already.
type ByFingerprint<T> = HashMap<u64, T, BuildHasherDefault<Digested>>;

/// Hashes what needs no hashing.
#[derive(Default)]
struct Digested(u64);

impl Hasher for Digested {
    fn write_u64(&mut self, digest: u64) {
        self.0 = digest;
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only fingerprints are hashed");
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// Pieces that stay.
    pub pieces: usize,
    /// Slots that clients may still fill.
    pub granted: usize,
    /// Slots into which a tier was writing; see [`Store::next_loading`].
    pub loading: usize,
    /// Index entries that named no Ready slot.
    pub stale_entries: usize,
    /// Slots left out because their words make no sense.
    pub damaged: usize,
}

impl Store {
    /// Rebuilds the books of a fresh store from the segment.
    pub fn adopt(&mut self) -> Adopted {
        let mut found = Adopted::default();
        let mut ready: Vec<(SlotRef, PieceMeta)> = Vec::new();
        let geometry = *self.segment.geometry();
        for arena in geometry.arenas() {
            for chunk in 0..geometry.chunks[usize::from(arena)] as u32 {
                self.adopt_chunk(arena, chunk, &mut ready, &mut found);
            }
        }
        let (stale_entries, unplaced) = self.mend_index(&ready);
        found.stale_entries = stale_entries;
        self.take_up(ready, &unplaced, &mut found);
        self.settle();
        self.fit_policy();
        found
    }

    fn adopt_chunk(
        &mut self,
        arena: u8,
        chunk: u32,
        ready: &mut Vec<(SlotRef, PieceMeta)>,
        found: &mut Adopted,
    ) {
        let geometry = *self.segment.geometry();
        let Some(word) = self.segment.chunk_word(arena, chunk) else { return };
        let slot_bytes = word.load(Ordering::Relaxed);
        if slot_bytes == 0 {
            return;
        }
        if geometry.slot_bytes(slot_bytes) != Some(slot_bytes) {
            // Not a size that a slab has: nothing in the chunk can be located, so it starts anew.
            found.damaged += 1;
            self.scrap_chunk(arena, chunk);
            return;
        }
        let first = chunk * geometry.slots_per_chunk() as u32;
        let mut taken = Vec::new();
        for slot in first..first + (geometry.chunk_bytes / slot_bytes) as u32 {
            let line = self.line(arena, slot);
            let Some(snapshot) = line.snapshot() else {
                found.damaged += 1;
                taken.push(slot);
                continue;
            };
            let slot = SlotRef { arena, slot, generation: snapshot.generation };
            if snapshot.state != State::Free {
                taken.push(slot.slot);
            }
            self.adopt_slot(slot, snapshot, ready, found);
        }
        if let Some((_, book)) = self.arenas.iter_mut().find(|(id, _)| *id == arena) {
            book.adopt(chunk, slot_bytes, &taken);
        }
        if taken.is_empty() {
            word.store(0, Ordering::Release);
        }
    }

    fn adopt_slot(
        &mut self,
        slot: SlotRef,
        snapshot: Snapshot,
        ready: &mut Vec<(SlotRef, PieceMeta)>,
        found: &mut Adopted,
    ) {
        let line = self.line(slot.arena, slot.slot);
        match snapshot.state {
            State::Free | State::Retired => {}
            State::Granted => {
                found.granted += 1;
                self.granted.entry(snapshot.client).or_default().insert(slot);
            }
            State::Revoked => self.lingering.push(slot),
            State::Loading => {
                found.loading += 1;
                self.loading.push(slot);
            }
            State::Draining | State::Ready => {
                if snapshot.state == State::Draining {
                    let _ = line.step(Event::Restore);
                }
                ready.push((slot, line.meta()));
            }
        }
    }

    /// A Loading slot that a dead owner left. It stays out of use until [`Store::give_up_load`].
    pub fn next_loading(&mut self) -> Option<SlotRef> {
        self.loading.pop()
    }

    /// Takes a slot from [`Store::next_loading`] into use again, now that nothing lands in its pages any more.
    pub fn give_up_load(&mut self, slot: SlotRef) {
        if self.line(slot.arena, slot.slot).step(Event::Revoke).is_ok() {
            self.lingering.push(slot);
            self.settle();
        }
    }

    /// Makes the index name exactly the Ready slots. Returns how many entries named another, and the slots for which a full
    /// bucket had no room.
    fn mend_index(&mut self, ready: &[(SlotRef, PieceMeta)]) -> (usize, HashSet<SlotRef>) {
        let (index, geometry) = (*self.segment.index(), *self.segment.geometry());
        // By arena and slot, as entries come in no order that a cache likes; 0 where there is nothing to be named. Only
        // what was found above: a line that says Ready in a chunk that was scrapped is nobody's.
        let slots = |&chunks: &u64| vec![0; (chunks * geometry.slots_per_chunk()) as usize];
        let mut hashes: Vec<Vec<u64>> = geometry.chunks.iter().map(slots).collect();
        for (slot, meta) in ready {
            hashes[usize::from(slot.arena)][slot.slot as usize] = meta.id.hash(geometry.seed);
        }
        let before = index.entries().count();
        let hash_of = |at: Location| {
            hashes.get(usize::from(at.arena))?.get(at.slot as usize).copied().filter(|&h| h != 0)
        };
        index.retain(hash_of);
        let mut right = 0;
        for (_, at) in index.entries() {
            right += 1;
            hashes[usize::from(at.arena)][at.slot as usize] = 0;
        }
        let mut unplaced = HashSet::new();
        for (slot, _) in ready {
            let hash = hashes[usize::from(slot.arena)][slot.slot as usize];
            let at = Location { arena: slot.arena, slot: slot.slot };
            if hash != 0 && index.insert(hash, at).is_err() {
                unplaced.insert(*slot);
            }
        }
        (before - right, unplaced)
    }

    /// Enters the Ready slots into the books, parents before children.
    fn take_up(
        &mut self,
        mut ready: Vec<(SlotRef, PieceMeta)>,
        unplaced: &HashSet<SlotRef>,
        found: &mut Adopted,
    ) {
        ready.sort_unstable_by_key(|(slot, meta)| (meta.depth, slot.pack()));
        self.catalog.reserve(ready.len());
        let keys: ByFingerprint<BlockKey> =
            ready.iter().map(|(_, meta)| (meta.id.key.fingerprint(), meta.id.key)).collect();
        for (slot, meta) in ready {
            let lineage = self.segment.lineage(slot.arena, slot.slot);
            let fingerprint = lineage.map_or(0, |word| word.load(Ordering::Relaxed));
            let parent = keys.get(&fingerprint).copied();
            let is_sound = self.segment.bytes(slot, meta.len_bytes).is_some() && !unplaced.contains(&slot);
            let above = parent.unwrap_or(BlockKey::ROOT);
            if !is_sound || matches!(self.record(&meta, &above, slot), Inserted::AlreadyPresent(_)) {
                // A damaged line, or a second copy: no reader may find it, and its slot is free again.
                found.damaged += 1;
                self.leave(&meta.id, slot);
                if self.line(slot.arena, slot.slot).step(Event::Revoke).is_ok() {
                    self.lingering.push(slot);
                }
                continue;
            }
            found.pieces += 1;
            self.counters.resident_bytes += meta.len_bytes;
            if parent.is_none() && fingerprint != 0 {
                self.orphans.entry(fingerprint).or_default().push(meta.id.key);
            }
        }
    }

    /// Gives up on a chunk whose word makes no sense: its slots stay out until the segment ends.
    fn scrap_chunk(&mut self, arena: u8, chunk: u32) {
        let geometry = *self.segment.geometry();
        if let Some((_, book)) = self.arenas.iter_mut().find(|(id, _)| *id == arena) {
            book.adopt(chunk, geometry.chunk_bytes, &[chunk * geometry.slots_per_chunk() as u32]);
        }
    }
}
