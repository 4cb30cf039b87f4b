//! Bytes that follow from a key: made for a put, compared after a get, at the speed of memory.
//!
//! Line after line of eight words: word `w` of line `l` is `base[w] + l × step[w]`, both drawn from the key. So no two lines
//! of a piece and no two pieces agree, and lines that moved, tore or came from another piece show, all of them. A plain
//! sum and not a random generator, because it runs in the vector units beside the copies that are measured.

use crate::random::mix;
use cascade_client::BlockKey;

const LINE_BYTES: usize = 64;
const WORDS: usize = LINE_BYTES / size_of::<u64>();

/// The bytes of one piece.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Content {
    base: [u64; WORDS],
    step: [u64; WORDS],
}

impl Content {
    /// The bytes of the piece with this key.
    pub(crate) fn of(key: &BlockKey) -> Self {
        let words = key.to_words();
        let drawn = |salt: u64| std::array::from_fn(|w| mix(words[w % 4] ^ salt ^ (w as u64) << 56));
        Self { base: drawn(0), step: drawn(1).map(|step: u64| step | 1) }
    }

    /// Writes the bytes into `target`.
    pub(crate) fn fill(&self, target: &mut [u8]) {
        let mut line = self.base;
        let mut lines = target.chunks_exact_mut(LINE_BYTES);
        for target in &mut lines {
            target.copy_from_slice(bytes(&line).as_flattened());
            self.advance(&mut line);
        }
        let rest = lines.into_remainder();
        rest.copy_from_slice(&bytes(&line).as_flattened()[..rest.len()]);
    }

    /// How many of `found` are other bytes than [`Content::fill`] writes. Looks at every one.
    pub(crate) fn wrong_bytes(&self, found: &[u8]) -> u64 {
        let mut line = self.base;
        let mut differences = [0; WORDS];
        let lines = found.chunks_exact(LINE_BYTES);
        let rest = lines.remainder();
        for found in lines {
            for (w, difference) in differences.iter_mut().enumerate() {
                let word = u64::from_le_bytes(found[w * 8..][..8].try_into().expect("eight bytes"));
                *difference |= word ^ line[w];
            }
            self.advance(&mut line);
        }
        if differences == [0; WORDS] && rest == &bytes(&line).as_flattened()[..rest.len()] {
            return 0;
        }
        // Counting them is slow, and never needed when all is well.
        let mut wanted = vec![0; found.len()];
        self.fill(&mut wanted);
        found.iter().zip(&wanted).filter(|(found, wanted)| found != wanted).count() as u64
    }

    #[inline(always)]
    fn advance(&self, line: &mut [u64; WORDS]) {
        for (word, step) in line.iter_mut().zip(self.step) {
            *word = word.wrapping_add(step);
        }
    }
}

#[inline(always)]
fn bytes(line: &[u64; WORDS]) -> [[u8; 8]; WORDS] {
    line.map(u64::to_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(number: u8, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        Content::of(&BlockKey::from_bytes([number; 32])).fill(&mut bytes);
        bytes
    }

    #[test]
    fn what_was_filled_is_right_at_any_length() {
        for len in [0, 1, 63, 64, 65, 4096, 5000] {
            assert_eq!(
                Content::of(&BlockKey::from_bytes([7; 32])).wrong_bytes(&piece(7, len)),
                0,
                "{len} bytes"
            );
        }
    }

    #[test]
    fn each_wrong_byte_is_counted_wherever_it_is() {
        let content = Content::of(&BlockKey::from_bytes([7; 32]));
        for at in [0, 64, 4095, 4999] {
            let mut bytes = piece(7, 5000);
            bytes[at] ^= 1;
            assert_eq!(content.wrong_bytes(&bytes), 1);
        }
    }

    #[test]
    fn another_piece_and_a_line_that_moved_are_wrong() {
        let content = Content::of(&BlockKey::from_bytes([7; 32]));
        assert!(content.wrong_bytes(&piece(8, 4096)) > 4000);
        let mut moved = piece(7, 4096);
        moved.copy_within(64..128, 1024);
        assert!(content.wrong_bytes(&moved) > 40);
    }
}
