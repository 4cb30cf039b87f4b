//! The end of a sealed container: the lines of all its pieces once more, and a last block that says where they begin. So a
//! store whose manifests are lost is read without its payload.

use super::{BLOCK_BYTES, ContainerId, LINE_BYTES, Line, Location, round_up};
use cascade_tier::Record;

const LINES_PER_BLOCK: u64 = BLOCK_BYTES / LINE_BYTES as u64;

/// How long the footer of so many pieces is.
#[must_use]
pub const fn footer_bytes(pieces: u64) -> u64 {
    footer_blocks(pieces) * BLOCK_BYTES
}

/// How many blocks the footer of so many pieces has: those of the lines, and the last.
#[must_use]
pub const fn footer_blocks(pieces: u64) -> u64 {
    pieces.div_ceil(LINES_PER_BLOCK) + 1
}

/// Where the lines of a footer lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footer {
    /// The container that it ends.
    pub container: ContainerId,
    /// Where its lines begin, and the records end.
    pub offset: u64,
    /// How many lines there are.
    pub pieces: u32,
}

impl Footer {
    /// Writes the footer of these pieces, which must be as long as [`footer_bytes`] says.
    ///
    /// # Panics
    /// If it is not.
    pub fn encode_into(container: ContainerId, offset: u64, pieces: &[Record], bytes: &mut [u8]) {
        assert_eq!(bytes.len() as u64, footer_bytes(pieces.len() as u64));
        bytes.fill(0);
        let (lines, last) = bytes.split_at_mut(bytes.len() - BLOCK_BYTES as usize);
        for (record, place) in pieces.iter().zip(lines.chunks_exact_mut(LINE_BYTES)) {
            place.copy_from_slice(&Line::Stored(*record).encode());
        }
        let footer = Line::Footer { container, offset, pieces: pieces.len() as u32 };
        last[..LINE_BYTES].copy_from_slice(&footer.encode());
    }

    /// Reads the last block of a container of so many bytes; `None` if it is not that of a footer.
    #[must_use]
    pub fn decode(block: &[u8], container: ContainerId, container_bytes: u64) -> Option<Footer> {
        let Ok(Line::Footer { container: of, offset, pieces }) = Line::decode(block) else { return None };
        let end = offset.checked_add(footer_bytes(u64::from(pieces)))?;
        (of == container && end == container_bytes).then_some(Footer { container, offset, pieces })
    }

    /// How long its lines are, whole blocks.
    #[must_use]
    pub const fn lines_bytes(&self) -> u64 {
        round_up(self.pieces as u64 * LINE_BYTES as u64)
    }

    /// The pieces that the lines name and that lie before them. Damaged lines are left out.
    pub fn pieces(&self, lines: &[u8]) -> impl Iterator<Item = Record> {
        let lines = lines.chunks_exact(LINE_BYTES).take(self.pieces as usize);
        lines.filter_map(|line| match Line::decode(line) {
            Ok(Line::Stored(record)) => {
                let location = Location::from_extent(record.extent)?;
                let is_here =
                    location.container == self.container && location.offset + location.length <= self.offset;
                is_here.then_some(record)
            }
            _ => None,
        })
    }
}
