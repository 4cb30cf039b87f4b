//! What lies in a store's directory, to the byte. Drawn in `core/docs/layout.md`, pinned by `tests/formats`.
//!
//! Invariants: everything but payload is lines of [`LINE_BYTES`] bytes, each with its own checksum, so that damage costs the
//! lines that it hit and no other. Nothing that is read is trusted: a line that does not decode is skipped, and a line that
//! does is still a claim, which a load verifies.

mod footer;
mod head;
mod line;
mod name;
mod place;

pub use footer::{Footer, footer_blocks, footer_bytes};
pub use head::{Head, PIECES_MAX};
pub use line::{BadLine, LINE_BYTES, Line, VERSION};
pub use name::{FileName, STORE_NAME};
pub use place::{ContainerId, Location, PACKED_ALIGNMENT_BYTES};

use crate::io::ALIGNMENT_BYTES;

/// The bytes of a block: what direct I/O moves at least.
pub const BLOCK_BYTES: u64 = ALIGNMENT_BYTES;

/// The largest container that there may be: where it ends, offsets are taken for damage.
pub const CONTAINER_BYTES_MAX: u64 = 1 << 40;

/// The end of the block that a byte ends in.
#[must_use]
pub const fn round_up(bytes: u64) -> u64 {
    bytes.next_multiple_of(BLOCK_BYTES)
}
