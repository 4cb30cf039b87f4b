//! What a tier's storage came to hold, or lost, without this host's doing.
//!
//! Invariants: news are told once, in the order in which a host has to take them up; what is told as lost was told as found
//! or was stored through this handle. A record names a piece, it does not prove it: a load verifies.

use crate::{Extent, PieceId, Place};

/// What kind of news it is. A newtype and not an enum: an unknown number of a later tier must stay a value, and is skipped.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NewsKind(pub u32);

impl NewsKind {
    /// The storage holds the piece at the extent: from before this handle was opened, or by another host.
    pub const FOUND: NewsKind = NewsKind(1);
    /// The piece at the extent is gone, or will be at any moment: collected, purged, damaged. Loading it is in vain.
    pub const LOST: NewsKind = NewsKind(2);
    /// All that was there when the handle was opened has been told. The record is blank.
    pub const LISTED: NewsKind = NewsKind(3);
}

/// Everything about a stored piece but its bytes, and where it lies.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Record {
    /// Which piece it is.
    pub piece: PieceId,
    /// CRC32C over the core's [`seal`](cascade_core::piece::seal) and the bytes.
    pub checksum: u32,
    /// How many bytes it has.
    pub length_bytes: u64,
    /// Where its block stands in its chain.
    pub place: Place,
    /// When it was stored, in seconds since 1970.
    pub stored_unix_s: u32,
    /// Where it lies.
    pub extent: Extent,
}

/// One piece of news.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// What happened.
    pub kind: NewsKind,
    /// To which piece.
    pub record: Record,
}
