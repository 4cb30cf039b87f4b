//! Copies below memory: what the store notes when a tier has, gets, brings or loses one.
//!
//! Invariants: the catalog names a copy below exactly while the book of stored copies has it; `clean_bytes` are those of the
//! pieces in memory that are below as well, `leaving_bytes` those of the pieces that a tier reads; a slot that a tier reads is
//! claimed until it is done, one that a tier writes is nobody else's until it is published. What is dropped while a tier
//! reads it is dropped at once; what the tier then has of it is removed.

use cascade_core::catalog::Inserted;
use cascade_core::key::BlockKey;
use cascade_core::piece::{PieceId, PieceMeta};
use cascade_core::policy::BlockId;
use cascade_core::residency::{Event, Residency, StoredId};
use cascade_core::slot::{self, SlotRef};
use cascade_core::stored::{Copy, ExtentWords};
use cascade_core::sync::Ordering;

use super::store::Store;

/// A piece that a tier reads from memory.
#[derive(Clone, Copy, Debug)]
pub struct Leaving {
    /// The slot that it lies in.
    pub slot: SlotRef,
    /// What it is.
    pub meta: PieceMeta,
    /// The block before its own; [`BlockKey::ROOT`] for the first, and where that is not known.
    pub parent: BlockKey,
}

/// A piece that a tier writes into memory.
#[derive(Clone, Copy, Debug)]
pub struct Arriving {
    /// Which one.
    pub id: PieceId,
    /// The slot that it is to lie in.
    pub slot: SlotRef,
    /// What is to come.
    pub copy: Copy,
}

/// How the copy to memory ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Arrived {
    /// It is in memory for all to read.
    Published,
    /// Somebody put the piece in the meantime.
    Overtaken,
    /// There was no place for it in the index.
    NoPlace,
}

impl Store {
    /// Pieces that lower tiers have.
    pub fn stored_pieces(&self) -> usize {
        self.stored.len()
    }

    /// A tier tells that it has a piece, from before or from others. The place told last counts.
    pub fn found(&mut self, id: &PieceId, copy: Copy) {
        match self.catalog.residency(id) {
            Residency::Absent => {
                let stored = self.enter_stored(id, copy);
                debug_assert_eq!(self.catalog.residency(id), Residency::Below { stored });
            }
            Residency::Memory { slot } => {
                self.enter_stored(id, copy);
                self.became_clean(self.len_bytes(slot));
            }
            // Our own copy is on its way, and will be told as the last.
            Residency::Demoting { .. } => return,
            Residency::Both { stored, .. }
            | Residency::Below { stored }
            | Residency::Promoting { stored } => {
                self.stored.replace(stored, copy);
            }
        }
        self.counters.found_pieces += 1;
    }

    /// A tier tells that the copy at this place is gone. The loss of another than the one that counts changes nothing.
    pub fn lost(&mut self, id: &PieceId, extent: &ExtentWords) {
        let residency = self.catalog.residency(id);
        if residency.stored().is_none_or(|stored| self.stored.get(stored).extent != *extent) {
            return;
        }
        self.counters.lost_pieces += 1;
        if let Residency::Promoting { .. } = residency {
            // What is on its way may still come; then it is in memory only.
            self.lost_on_the_way.insert(*id);
        } else {
            self.withdraw(id);
        }
    }

    /// The copy below counts no more: what it was. `None` if there is none, or if it is just being brought.
    pub fn withdraw(&mut self, id: &PieceId) -> Option<Copy> {
        let residency = self.catalog.residency(id);
        let stored = residency.stored()?;
        self.catalog.step(id, Event::Withdraw).ok()?;
        if let Residency::Both { slot, .. } = residency {
            self.ceased_clean(self.len_bytes(slot));
        }
        Some(self.stored.remove(stored))
    }

    /// A piece in memory is below as well, from now on.
    pub(super) fn became_clean(&mut self, len_bytes: u64) {
        self.clean_bytes += len_bytes;
        self.clean_pieces += 1;
    }

    /// A piece that was in memory and below is in one place only, from now on.
    pub(super) fn ceased_clean(&mut self, len_bytes: u64) {
        self.clean_bytes -= len_bytes;
        self.clean_pieces -= 1;
    }

    /// How many pieces only memory has, those that a tier reads aside.
    pub fn dirty_pieces_total(&self) -> usize {
        (self.catalog.pieces_total() - self.clean_pieces).saturating_sub(self.read_by_tier.len())
    }

    /// Where a block stands in its chain: its parent ([`BlockKey::ROOT`] for the first) and its depth. `None` where nobody knows.
    pub(super) fn place_of(&self, block: BlockId) -> Option<(BlockKey, u32)> {
        let (_, residency) = self.catalog.copies(block).next()?;
        if let Some(stored) = residency.stored() {
            let copy = self.stored.get(stored);
            return Some((copy.parent, copy.depth));
        }
        let slot = residency.slot()?;
        let depth = self.line(slot.arena, slot.slot).meta().depth;
        let fingerprint = self.segment.lineage(slot.arena, slot.slot)?.load(Ordering::Relaxed);
        let first = (fingerprint == 0).then_some(BlockKey::ROOT);
        Some((self.catalog.parent_key(block).or(first)?, depth))
    }

    /// The pieces of a block that only memory has, and that no tier is reading.
    pub fn dirty_pieces(&self, block: BlockId) -> impl Iterator<Item = PieceId> + '_ {
        let is_dirty = |residency: &Residency| matches!(residency, Residency::Memory { .. });
        self.catalog.copies(block).filter(move |(_, residency)| is_dirty(residency)).map(|(id, _)| id)
    }

    /// A tier begins to read a piece: it stays in memory, claimed, until [`Store::end_demotion`]. `None` if it is not there, or
    /// is below already.
    pub fn begin_demotion(&mut self, id: &PieceId) -> Option<Leaving> {
        let slot = self.catalog.slot(id)?;
        let block = self.catalog.block(&id.key)?;
        // Of what was adopted without its parent that one is not known.
        let parent = self.catalog.parent_key(block).unwrap_or(BlockKey::ROOT);
        self.catalog.step(id, Event::Demote).ok()?;
        let meta = self.line(slot.arena, slot.slot).meta();
        self.leaving_bytes += meta.len_bytes;
        self.read_by_tier.insert(slot);
        Some(Leaving { slot, meta, parent })
    }

    /// The tier is done with a piece: it has it at this place, or has it not. Returns the place if the copy is of no use to
    /// anybody, because the piece was dropped meanwhile: it is to be removed.
    pub fn end_demotion(&mut self, leaving: &Leaving, stored_at: Option<ExtentWords>) -> Option<ExtentWords> {
        self.read_by_tier.remove(&leaving.slot);
        if self.dropped_on_the_way.remove(&leaving.slot) {
            return stored_at;
        }
        let Leaving { meta, parent, .. } = *leaving;
        self.leaving_bytes -= meta.len_bytes;
        let Some(extent) = stored_at else {
            self.counters.failed_demotions += 1;
            let stayed = self.catalog.step(&meta.id, Event::NotDemoted);
            debug_assert!(stayed.is_ok(), "{stayed:?}");
            return None;
        };
        let copy = Copy {
            extent,
            parent,
            len_bytes: meta.len_bytes,
            checksum: meta.checksum,
            depth: meta.depth,
            stored_unix_s: super::unix_s(),
        };
        let block = self.catalog.known(&meta.id.key).expect("what is being demoted is in the book");
        let stored = self.stored.insert(block, copy);
        let demoted = self.catalog.step(&meta.id, Event::Demoted { stored });
        debug_assert!(demoted.is_ok(), "{demoted:?}");
        self.became_clean(meta.len_bytes);
        self.counters.demoted_pieces += 1;
        self.counters.demoted_bytes += meta.len_bytes;
        self.spares.found_again();
        None
    }

    /// The piece in this slot is dropped whether a tier reads it or not.
    pub(super) fn drop_on_the_way(&mut self, id: &PieceId, slot: SlotRef) {
        if self.catalog.step(id, Event::NotDemoted).is_ok() {
            self.leaving_bytes -= self.len_bytes(slot);
            self.dropped_on_the_way.insert(slot);
        }
    }

    /// A free slot for a tier to write a piece into that only lower tiers have; it is the transfer's until
    /// [`Store::end_promotion`] or [`Store::fail_promotion`]. `None` if no slot of its size is free, or if the piece is elsewhere.
    pub fn begin_promotion(&mut self, id: &PieceId, near: Option<u8>) -> Option<Arriving> {
        let Residency::Below { stored } = self.catalog.residency(id) else { return None };
        let copy = self.stored.get(stored);
        let slot_bytes = self.segment.geometry().slot_bytes(copy.len_bytes)?;
        let slot = self.take(near, slot_bytes, slot::Event::Load)?;
        let promoting = self.catalog.step(id, Event::Promote);
        debug_assert!(promoting.is_ok(), "{promoting:?}");
        self.arriving_bytes += slot_bytes;
        Some(Arriving { id: *id, slot, copy })
    }

    /// The bytes are there, verified: the piece is published, unless a put came first.
    pub fn end_promotion(&mut self, arriving: &Arriving) -> Arrived {
        let Arriving { id, slot, copy } = arriving;
        if !matches!(self.catalog.residency(id), Residency::Promoting { .. }) {
            self.give_back_loaded(*slot);
            self.settle_loss(id);
            return Arrived::Overtaken;
        }
        let meta =
            PieceMeta { id: *id, len_bytes: copy.len_bytes, checksum: copy.checksum, depth: copy.depth };
        let line = self.line(slot.arena, slot.slot);
        line.describe(&meta);
        let fingerprint = if copy.parent == BlockKey::ROOT { 0 } else { copy.parent.fingerprint() };
        if let Some(lineage) = self.segment.lineage(slot.arena, slot.slot) {
            lineage.store(fingerprint, Ordering::Relaxed);
        }
        if !self.enter(id, *slot) || line.step(slot::Event::Publish).is_err() {
            self.leave(id, *slot);
            self.fail_promotion(arriving);
            return Arrived::NoPlace;
        }
        self.arriving_bytes -= self.slot_bytes(*slot);
        self.counters.resident_bytes += meta.len_bytes;
        self.counters.promoted_pieces += 1;
        self.counters.promoted_bytes += meta.len_bytes;
        let inserted = self.record(&meta, &copy.parent, *slot);
        debug_assert!(!matches!(inserted, Inserted::AlreadyPresent(_)), "{inserted:?}");
        self.settle_loss(id);
        Arrived::Published
    }

    /// The bytes did not come, or not as they should be. The copy below stays until it is withdrawn.
    pub fn fail_promotion(&mut self, arriving: &Arriving) {
        let _ = self.catalog.step(&arriving.id, Event::NotPromoted);
        self.give_back_loaded(arriving.slot);
        self.settle_loss(&arriving.id);
    }

    /// As [`Store::fail_promotion`], where the tier may go on writing for ever: the slot stays out of use.
    pub fn abandon_promotion(&mut self, arriving: &Arriving) {
        let _ = self.catalog.step(&arriving.id, Event::NotPromoted);
        self.counters.damaged_slots += 1;
        self.settle_loss(&arriving.id);
    }

    fn enter_stored(&mut self, id: &PieceId, copy: Copy) -> StoredId {
        // The book wants the block, and the catalog the number: so the number first.
        let stored = self.stored.insert(BlockId(u32::MAX), copy);
        let block =
            self.catalog.found(id, stored).expect("whoever calls this has looked where the piece lies");
        self.stored.place(stored, block);
        stored
    }

    fn give_back_loaded(&mut self, slot: SlotRef) {
        self.arriving_bytes -= self.slot_bytes(slot);
        if self.line(slot.arena, slot.slot).step(slot::Event::Revoke).is_ok() {
            self.lingering.push(slot);
        }
    }

    /// A loss that was told while the piece was on its way counts now.
    fn settle_loss(&mut self, id: &PieceId) {
        if self.lost_on_the_way.remove(id) {
            self.withdraw(id);
        }
    }

    fn len_bytes(&self, slot: SlotRef) -> u64 {
        self.line(slot.arena, slot.slot).meta().len_bytes
    }
}
