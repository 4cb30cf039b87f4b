//! How pieces are laid into a record: small ones packed behind the head, large ones in whole blocks behind them, each kind in
//! the order in which it came, so that a chain is read as one large request.

use crate::format::{BLOCK_BYTES, PACKED_ALIGNMENT_BYTES, PIECES_MAX, footer_bytes, round_up};

/// Pieces from here on get blocks of their own, and go between the host's memory and the file without being copied.
pub(crate) const LARGE_BYTES: u64 = 32 << 10;

/// A record is not made longer than this by one more piece: several are under way at once.
pub(crate) const RECORD_BYTES_MAX: u64 = 16 << 20;

/// A record that takes pieces in.
#[derive(Debug)]
pub(crate) struct Layout {
    lengths: Vec<u64>,
    packed_bytes: u64,
    large_bytes: u64,
}

impl Layout {
    pub(crate) fn new() -> Layout {
        Layout { lengths: Vec::new(), packed_bytes: BLOCK_BYTES, large_bytes: 0 }
    }

    /// Takes a piece in, unless the record would get too long for `room` bytes with the footer of `pieces_before` pieces
    /// and its own.
    pub(crate) fn take(&mut self, length: u64, room: u64, pieces_before: u64) -> bool {
        let (mut packed_bytes, mut large_bytes) = (self.packed_bytes, self.large_bytes);
        if length >= LARGE_BYTES {
            large_bytes += round_up(length);
        } else {
            packed_bytes = packed_bytes.next_multiple_of(PACKED_ALIGNMENT_BYTES) + length;
        }
        let record_bytes = round_up(packed_bytes) + large_bytes;
        let pieces = self.pieces() as u64 + 1;
        let fits = record_bytes + footer_bytes(pieces_before + pieces) <= room;
        let is_too_long = pieces > 1 && record_bytes > RECORD_BYTES_MAX;
        if !fits || is_too_long || pieces > PIECES_MAX as u64 {
            return false;
        }
        self.lengths.push(length);
        (self.packed_bytes, self.large_bytes) = (packed_bytes, large_bytes);
        true
    }

    pub(crate) fn pieces(&self) -> usize {
        self.lengths.len()
    }

    /// The head and the packed pieces, whole blocks: what goes through memory of our own.
    pub(crate) fn staged_bytes(&self) -> u64 {
        round_up(self.packed_bytes)
    }

    pub(crate) fn record_bytes(&self) -> u64 {
        self.staged_bytes() + self.large_bytes
    }

    /// Where each piece lies, from the start of the record.
    pub(crate) fn offsets(&self) -> impl Iterator<Item = u64> {
        let mut packed = BLOCK_BYTES;
        let mut large = self.staged_bytes();
        self.lengths.iter().map(move |&length| {
            if length >= LARGE_BYTES {
                let offset = large;
                large += round_up(length);
                offset
            } else {
                let offset = packed.next_multiple_of(PACKED_ALIGNMENT_BYTES);
                packed = offset + length;
                offset
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: u64 = 1 << 40;

    fn laid(lengths: &[u64]) -> Layout {
        let mut layout = Layout::new();
        for &length in lengths {
            assert!(layout.take(length, ROOM, 0));
        }
        layout
    }

    #[test]
    fn small_pieces_are_packed_and_large_ones_begin_blocks() {
        let layout = laid(&[100, LARGE_BYTES + 1, 5000, LARGE_BYTES]);
        let offsets: Vec<u64> = layout.offsets().collect();
        assert_eq!(offsets, [4096, 12_288, 4224, 12_288 + 36_864]);
        assert_eq!((layout.staged_bytes(), layout.record_bytes()), (12_288, 12_288 + 36_864 + 32_768));
    }

    #[test]
    fn a_chain_of_large_pieces_lies_without_gaps() {
        let layout = laid(&[1 << 20; 4]);
        let offsets: Vec<u64> = layout.offsets().collect();
        assert!(offsets.windows(2).all(|pair| pair[1] - pair[0] == 1 << 20));
    }

    #[test]
    fn a_record_ends_where_its_lines_its_length_or_the_container_do() {
        let mut many = laid(&[64; PIECES_MAX]);
        assert!(!many.take(64, ROOM, 0));
        let mut long = laid(&[RECORD_BYTES_MAX / 2]);
        assert!(!long.take(RECORD_BYTES_MAX / 2, ROOM, 0));
        assert!(laid(&[64]).take(64, ROOM, 0));
        let mut huge = Layout::new();
        assert!(huge.take(4 * RECORD_BYTES_MAX, ROOM, 0), "a piece has to go somewhere");
        let exactly = BLOCK_BYTES + LARGE_BYTES + footer_bytes(1);
        assert!(Layout::new().take(LARGE_BYTES, exactly, 0));
        assert!(!Layout::new().take(LARGE_BYTES, exactly - 1, 0));
        assert!(!Layout::new().take(LARGE_BYTES, exactly, 32), "the footer of the others needs a block more");
    }
}
