//! What a host asks of a tier, and what the tier answers.
//! Invariants: every accepted operation gets exactly one completion; its memory belongs to the tier until then, also when
//! it was cancelled or has expired. Completions come in any order.

use crate::Status;
use cascade_core::key::BlockKey;
use cascade_core::piece;

/// Names a memory within one open tier: exported, registered or imported. The tier gives the number.
pub type MemoryId = u16;

/// The deadline of an operation that may take as long as it takes.
pub const NO_DEADLINE: u64 = u64::MAX;

/// A range of a memory. Never a pointer, so memory that no CPU can dereference fits.
#[doc(alias = "iovec")]
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct MemoryRange {
    /// Which memory.
    pub memory: MemoryId,
    /// First byte, from the start of the memory.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
}

impl MemoryRange {
    /// The range `offset..offset + length` of `memory`.
    #[must_use]
    pub const fn new(memory: MemoryId, offset: u64, length: u64) -> MemoryRange {
        MemoryRange { memory, offset, length }
    }

    /// The end of the range, or `None` where it is empty or does not lie within `memory_length` bytes.
    #[must_use]
    pub const fn end_within(self, memory_length: u64) -> Option<u64> {
        match self.offset.checked_add(self.length) {
            Some(end) if end <= memory_length && self.length > 0 => Some(end),
            _ => None,
        }
    }
}

/// Which piece: the core's [`PieceId`](piece::PieceId) in a layout that is fixed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PieceId {
    /// The block key.
    pub key: [u8; 32],
    /// The rank of the engine that wrote it.
    pub rank: u16,
    /// The KV group.
    pub group: u16,
}

impl From<piece::PieceId> for PieceId {
    fn from(id: piece::PieceId) -> PieceId {
        PieceId { key: *id.key.as_bytes(), rank: id.rank, group: id.group }
    }
}

impl From<PieceId> for piece::PieceId {
    fn from(id: PieceId) -> piece::PieceId {
        piece::PieceId { key: BlockKey::from_bytes(id.key), rank: id.rank, group: id.group }
    }
}

/// Where a block stands in its chain.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Place {
    /// The key of the block before it; the core's [`BlockKey::ROOT`] for the first.
    pub parent: [u8; 32],
    /// Blocks between it and the root.
    pub depth: u32,
}

/// Where a tier put a piece. Opaque to the host, which keeps it and hands it back; it means something to every handle on
/// the same storage, also in another process and after a restart.
#[doc(alias = "descriptor")]
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Extent {
    /// Four words that only the tier reads.
    pub words: [u64; 4],
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Back the range with memory, so that touching it cannot fail. Content that is there stays. The completion's `bytes`
    /// says how much is backed from the start of the range, also when it failed.
    Allocate {
        /// The range, a multiple of the tier's `alignment_bytes` at both ends.
        range: MemoryRange,
    },
    /// Give the memory of the range back; it then reads as zeros and may fail to be written. The completion's `bytes` says
    /// how much of it got rid of its pages: what still lands in those that did is nobody's business any more.
    Release {
        /// The range, a multiple of the tier's `alignment_bytes` at both ends.
        range: MemoryRange,
    },
    /// Copy bytes between two memories, or within one. Both lengths are equal.
    Copy {
        /// Read from here.
        source: MemoryRange,
        /// Written here.
        target: MemoryRange,
    },
    /// Write a piece to the tier's storage. The completion carries its extent.
    #[doc(alias = "offload")]
    Store {
        /// The piece's bytes; the range is exactly as long as the piece.
        source: MemoryRange,
        /// Which piece it is.
        piece: PieceId,
        /// The piece's checksum: CRC32C over the core's [`seal`](piece::seal) and the bytes. Kept beside the bytes.
        checksum: u32,
        /// Where its block stands in its chain. Kept beside the bytes; [`News`](crate::News) tells it.
        place: Place,
    },
    /// Read a piece. Completes with `CORRUPT` unless piece, length and checksum are those that were stored; the target is
    /// unspecified after anything but `OK`.
    #[doc(alias = "onboard")]
    Load {
        /// Where it lies.
        extent: Extent,
        /// Which piece is expected there.
        piece: PieceId,
        /// Its checksum.
        checksum: u32,
        /// Where the bytes go; exactly as long as the piece.
        target: MemoryRange,
    },
    /// Drop a piece from the storage.
    Remove {
        /// Where it lies.
        extent: Extent,
    },
    /// Make durable what was stored: `OK` says that every piece whose `Store` completed before this was submitted is there
    /// after the host is killed and after its machine loses power, as far as the storage keeps what it was told to sync.
    #[doc(alias = "flush")]
    Sync,
    /// An operation of a later host. A tier completes it with `UNSUPPORTED`.
    Unknown(u32),
}

impl Action {
    /// Whether it reads or writes this memory.
    #[must_use]
    pub fn uses(&self, memory: MemoryId) -> bool {
        match self {
            Action::Copy { source, target } => source.memory == memory || target.memory == memory,
            Action::Allocate { range } | Action::Release { range } => range.memory == memory,
            Action::Store { source, .. } => source.memory == memory,
            Action::Load { target, .. } => target.memory == memory,
            Action::Remove { .. } | Action::Sync | Action::Unknown(_) => false,
        }
    }
}

/// One request to a tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The host's name for it, unique among the requests that are under way on a handle.
    pub request_id: u64,
    /// When the answer stops to be of use: nanoseconds of the monotonic clock, as [`monotonic_ns`](crate::monotonic_ns)
    /// tells it, or [`NO_DEADLINE`].
    pub deadline_ns: u64,
    /// What is to be done.
    pub action: Action,
}

impl Operation {
    /// An operation that may take as long as it takes.
    #[must_use]
    pub const fn new(request_id: u64, action: Action) -> Operation {
        Operation { request_id, deadline_ns: NO_DEADLINE, action }
    }

    /// The same operation with a deadline.
    #[must_use]
    pub const fn by(self, deadline_ns: u64) -> Operation {
        Operation { deadline_ns, ..self }
    }
}

/// The one answer to an accepted operation. With it the memory is the host's again.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Which request.
    pub request_id: u64,
    /// How it ended.
    pub status: Status,
    /// How many bytes were copied, stored, loaded, released or are backed.
    pub bytes: u64,
    /// Where a stored piece lies; zeros otherwise.
    pub extent: Extent,
}

impl Completion {
    /// An answer that carries no extent.
    #[must_use]
    pub const fn new(request_id: u64, status: Status, bytes: u64) -> Completion {
        Completion { request_id, status, bytes, extent: Extent { words: [0; 4] } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_wraps_or_overshoots_or_is_empty_lies_nowhere() {
        assert_eq!(MemoryRange::new(0, 8, 8).end_within(16), Some(16));
        assert_eq!(MemoryRange::new(0, 8, 9).end_within(16), None);
        assert_eq!(MemoryRange::new(0, 8, 0).end_within(16), None);
        assert_eq!(MemoryRange::new(0, 8, u64::MAX).end_within(u64::MAX), None);
    }
}
