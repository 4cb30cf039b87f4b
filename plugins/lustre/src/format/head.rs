//! The block that begins a record and names the pieces in it.
//! Invariant: each piece that it names lies within the record, behind the block.

use super::{BLOCK_BYTES, ContainerId, LINE_BYTES, Line, Location};
use cascade_tier::Record;

/// How many pieces a record has at most: as many lines as fit behind the first.
pub const PIECES_MAX: usize = BLOCK_BYTES as usize / LINE_BYTES - 1;

/// The head of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The container that it is part of.
    pub container: ContainerId,
    /// Where in it.
    pub offset: u64,
    /// How long the record is, the block included; the next one may begin there.
    pub record_bytes: u64,
    /// The pieces, in the order in which they lie.
    pub pieces: Vec<Record>,
}

impl Head {
    /// Writes the block.
    ///
    /// # Panics
    /// If it has more pieces than a record may have, or the block is no block.
    pub fn encode_into(&self, block: &mut [u8]) {
        assert_eq!(block.len() as u64, BLOCK_BYTES);
        assert!(self.pieces.len() <= PIECES_MAX, "a record has {PIECES_MAX} pieces at most");
        block.fill(0);
        let Head { container, offset, record_bytes, .. } = *self;
        let first = Line::Head { container, offset, record_bytes, pieces: self.pieces.len() as u16 };
        let lines = std::iter::once(first).chain(self.pieces.iter().copied().map(Line::Stored));
        for (line, place) in lines.zip(block.chunks_exact_mut(LINE_BYTES)) {
            place.copy_from_slice(&line.encode());
        }
    }

    /// Reads the block at an offset of a container; `None` if no record begins there. A piece whose line is damaged, or that
    /// does not lie in the record, is left out.
    #[must_use]
    pub fn decode(block: &[u8], container: ContainerId, offset: u64) -> Option<Head> {
        let Ok(Line::Head { container: of, offset: at, record_bytes, pieces }) = Line::decode(block) else {
            return None;
        };
        if of != container || at != offset || record_bytes < BLOCK_BYTES {
            return None;
        }
        let end = offset.checked_add(record_bytes)?;
        let payload = offset + BLOCK_BYTES..end;
        let lines = block.chunks_exact(LINE_BYTES).skip(1).take(usize::from(pieces));
        let in_record = |location: Location| {
            location.container == container
                && payload.contains(&location.offset)
                && location.offset + location.length <= end
        };
        let pieces = lines.filter_map(|line| match Line::decode(line) {
            Ok(Line::Stored(record)) if Location::from_extent(record.extent).is_some_and(in_record) => {
                Some(record)
            }
            _ => None,
        });
        Some(Head { container, offset, record_bytes, pieces: pieces.collect() })
    }
}
