//! Looking at the bytes of a slot and comparing them with what its line says.

use cascade_core::copy;
use cascade_core::piece::{PieceMeta, seal};
use cascade_core::slot::SlotRef;

use super::store::Store;

impl Store {
    /// Whether the bytes in the slot are those that the line names. Reads all of them.
    pub fn verify(&self, slot: SlotRef, meta: &PieceMeta) -> bool {
        let Some(bytes) = self.segment.bytes(slot, meta.len_bytes) else { return false };
        // SAFETY: `Segment::bytes` has checked the range against its mapping, which lives as long as the node.
        let found = unsafe {
            copy::checksum(bytes.as_ptr(), meta.len_bytes as usize, seal(&meta.id, meta.len_bytes))
        };
        found.value() == meta.checksum
    }
}
