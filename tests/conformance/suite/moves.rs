//! Moving bytes to and from any tier: by copies where it has memory of its own, else by stores and loads. What holds for every
//! request is tested with these.

use super::Session;
use super::storage::{PLACE, checksum};
use cascade_tier::capability::operation;
use cascade_tier::{Action, MemoryRange, Operation, PieceId, Status};

/// The piece that stands for a place in a tier without memory.
fn piece_at(place: u64) -> PieceId {
    let mut key = [0x70; 32];
    key[..8].copy_from_slice(&place.to_le_bytes());
    PieceId { key, rank: 0, group: 0 }
}

impl Session {
    /// Brings bytes of the host to a place in the tier: into its memory at that offset, or as a piece.
    pub(crate) fn outward(&self, source: MemoryRange, place: u64) -> Action {
        if self.can(operation::COPY) {
            return Action::Copy { source, target: self.exported_or_nothing(place, source.length) };
        }
        let checksum = self.peek(source).map_or(0, |bytes| checksum(piece_at(place), bytes));
        Action::Store { source, piece: piece_at(place), checksum, place: PLACE }
    }

    /// Brings what lies at a place to the host; `sent` is what was brought there.
    pub(crate) fn inward(&self, place: u64, target: MemoryRange, sent: &[u8]) -> Action {
        if self.can(operation::COPY) {
            return Action::Copy { source: self.exported_or_nothing(place, target.length), target };
        }
        let checksum = checksum(piece_at(place), sent);
        let extent = self.kept.get(&place).copied().unwrap_or_default();
        Action::Load { extent, piece: piece_at(place), checksum, target }
    }

    /// Brings bytes to a place, and waits.
    pub(crate) fn put(&mut self, source: MemoryRange, place: u64) {
        let action = self.outward(source, place);
        let completion = self.perform(action);
        assert_eq!((completion.status, completion.bytes), (Status::OK, source.length));
        self.kept.insert(place, completion.extent);
    }

    /// The bytes that lie at a place, which are as long as what was `sent` there.
    pub(crate) fn get_back(&mut self, place: u64, sent: &[u8]) -> Vec<u8> {
        let target = self.host(sent.len() as u64);
        let action = self.inward(place, target, sent);
        let completion = self.perform(action);
        assert_eq!((completion.status, completion.bytes), (Status::OK, target.length));
        self.bytes(target).to_vec()
    }

    /// Operations that bring 512 bytes each to places of their own, and the bytes of all.
    pub(crate) fn moves(&mut self, count: u64) -> (Vec<Operation>, Vec<u8>) {
        let (all, bytes) = self.host_with_bytes(count * 512);
        let mut operations = Vec::new();
        for place in (0..count).map(|number| number * 512) {
            let action = self.outward(MemoryRange::new(all.memory, place, 512), place);
            operations.push(self.operation(action));
        }
        (operations, bytes)
    }

    /// A range of the tier's memory, or one that cannot be, where it is asked for what it does not have.
    fn exported_or_nothing(&self, offset: u64, length: u64) -> MemoryRange {
        let memory = self.tier.exports().unwrap()[0];
        MemoryRange::new(memory.id, offset, length)
    }
}
