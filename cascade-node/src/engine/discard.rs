//! Dropping pieces that are of no use: corrupt ones, and those of which a client says so.
//!
//! Invariants: when a call returns, the piece is in neither index nor catalog, whoever claims it: lookups miss, and a put of
//! its name is fresh. Its slot is Revoked, so claims keep their bytes and no later owner brings the piece back; it is free
//! once the last claim is gone, and the tier that reads it is done. A piece that is of no use is removed below as well; of one that is
//! corrupt in memory the copy below stays, which is verified when it is brought. What hangs below stays, and is one chain again with what takes the name: whoever missed the
//! piece computes it anew. If nobody does, it is not touched any more, and the policy evicts it.

use cascade_core::piece::{PieceId, PieceMeta};
use cascade_core::policy::Removal;
use cascade_core::residency::Residency;
use cascade_core::slot::{Event, SlotRef};

use super::store::Store;

impl Store {
    /// A reader found bytes that do not match their checksum: look again, and drop the piece if that is true. Reads only
    /// while there is a budget, and says how many bytes it read; a suspicion that is passed over will be raised again.
    pub fn suspect(&mut self, slot: SlotRef, budget_bytes: u64) -> u64 {
        self.counters.suspects += 1;
        let Some(meta) = self.resident_at(slot).filter(|_| budget_bytes > 0) else { return 0 };
        if !self.verify(slot, &meta) {
            let id = meta.id;
            tracing::warn!(key = %id.key, rank = id.rank, group = id.group, "dropping a corrupt piece");
            self.counters.corrupt_pieces += 1;
            self.drop_piece(slot, &meta);
        }
        meta.len_bytes
    }

    /// Drops a piece because a client says that it is of no use to anybody. `false` if it is not there any more.
    pub fn discard(&mut self, slot: SlotRef) -> bool {
        let Some(meta) = self.resident_at(slot) else { return false };
        self.counters.discarded_pieces += 1;
        self.drop_piece(slot, &meta);
        // What is of no use in memory is of none below.
        let below = self.withdraw(&meta.id);
        self.removals.extend(below.map(|copy| copy.extent));
        true
    }

    /// What the books and the line agree that this slot holds.
    fn resident_at(&self, slot: SlotRef) -> Option<PieceMeta> {
        let (generation, meta) = self.segment.line(slot.arena, slot.slot)?.read()?;
        (generation == slot.generation && self.catalog.slot(&meta.id) == Some(slot)).then_some(meta)
    }

    /// Drops a piece from memory and from below, whoever claims it: its bytes. `None`, and nothing happened, if a tier is just
    /// bringing it.
    pub(super) fn forget_everywhere(&mut self, id: &PieceId) -> Option<u64> {
        let residency = self.catalog.residency(id);
        if matches!(residency, Residency::Promoting { .. }) {
            return None;
        }
        let in_memory = residency.slot().map(|slot| (slot, self.line(slot.arena, slot.slot).meta()));
        if let Some((slot, meta)) = in_memory {
            self.drop_unsettled(slot, &meta);
        }
        let below = self.withdraw(id);
        self.removals.extend(below.map(|copy| copy.extent));
        Some(in_memory.map_or(0, |(_, meta)| meta.len_bytes).max(below.map_or(0, |copy| copy.len_bytes)))
    }

    fn drop_piece(&mut self, slot: SlotRef, meta: &PieceMeta) {
        self.drop_unsettled(slot, meta);
        self.settle();
    }

    fn drop_unsettled(&mut self, slot: SlotRef, meta: &PieceMeta) {
        let Some(block) = self.catalog.block(&meta.id.key) else { return };
        self.drop_on_the_way(&meta.id, slot);
        self.forget_piece(block, &meta.id, slot, Removal::Dropped);
        if self.line(slot.arena, slot.slot).step(Event::Revoke).is_ok() {
            self.lingering.push(slot);
        }
    }
}
