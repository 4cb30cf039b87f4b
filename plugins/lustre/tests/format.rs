//! Lines, heads and footers: what is written is read, and what is damaged is not taken for anything.

use cascade_core::checksum::Crc32c;
use cascade_tier::{PieceId, Place, Record};
use cascade_tier_lustre::format::{
    BLOCK_BYTES, BadLine, ContainerId, Footer, Head, LINE_BYTES, Line, Location, PIECES_MAX, footer_bytes,
};

const CONTAINER: ContainerId = ContainerId { writer: 0xfeed, sequence: 3 };

fn record(number: u64) -> Record {
    let offset = 8192 + number * 4096;
    Record {
        piece: PieceId { key: [number as u8; 32], rank: 1, group: 2 },
        checksum: 0xdead_0000 + number as u32,
        length_bytes: 4000,
        place: Place { parent: [0xaa; 32], depth: number as u32 },
        stored_unix_s: 1_700_000_000,
        extent: Location::checked(CONTAINER, offset, 4000).unwrap().to_extent(),
    }
}

fn lines() -> Vec<Line> {
    let container = CONTAINER;
    vec![
        Line::Store { made_unix_s: 1 },
        Line::Opened { container, reserved_bytes: 1 << 28, opened_unix_s: 2 },
        Line::Stored(record(1)),
        Line::Removed(record(2)),
        Line::Sealed { container, bytes: 12_288 },
        Line::Condemned { container },
        Line::Gone { container },
        Line::Alive { unix_s: 3 },
        Line::Closed { unix_s: 4 },
        Line::Folds { writer: 5, bytes: 256 },
        Line::Head { container, offset: 4096, record_bytes: 8192, pieces: 31 },
        Line::Footer { container, offset: 8192, pieces: 9 },
        Line::Claim { writer: 6, renewals: 7 },
        Line::Continues { writer: 8 },
    ]
}

/// A sound line with other bytes in it.
fn patched(line: &Line, at: usize, value: &[u8]) -> [u8; LINE_BYTES] {
    let mut bytes = line.encode();
    bytes[at..at + value.len()].copy_from_slice(value);
    let sum = Crc32c::EMPTY.update(&bytes[4..]).value();
    bytes[..4].copy_from_slice(&sum.to_le_bytes());
    bytes
}

#[test]
fn every_line_is_read_as_it_was_written() {
    for line in lines() {
        assert_eq!(Line::decode(&line.encode()), Ok(line));
    }
}

#[test]
fn a_line_with_any_flipped_bit_is_no_line() {
    for line in lines() {
        let bytes = line.encode();
        for bit in 0..LINE_BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Line::decode(&flipped), Err(BadLine::Damaged), "bit {bit} of {line:?}");
        }
        for length in 0..LINE_BYTES {
            assert_eq!(Line::decode(&bytes[..length]), Err(BadLine::Damaged));
        }
    }
    assert_eq!(Line::decode(&[0; LINE_BYTES]), Err(BadLine::Damaged), "a hole in a file is no line");
}

#[test]
fn a_sound_line_of_another_version_is_told_apart_from_damage() {
    let other = patched(&Line::Alive { unix_s: 1 }, 6, &[2]);
    assert_eq!(Line::decode(&other), Err(BadLine::OtherVersion(2)));
}

#[test]
fn a_sound_line_that_says_what_cannot_be_is_not_taken() {
    let decoded = |at, value: &[u8]| Line::decode(&patched(&Line::Stored(record(1)), at, value));
    assert_eq!(decoded(4, &[99]), Err(BadLine::Unknown), "an unknown kind");
    assert_eq!(decoded(32, &[1]), Err(BadLine::Unknown), "an offset that no piece has");
    assert_eq!(decoded(40, &[0; 8]), Err(BadLine::Unknown), "no bytes at all");
    assert_eq!(decoded(40, &[0xff; 8]), Err(BadLine::Unknown), "an end beyond all containers");
}

/// Found by the fuzz target `store`.
#[test]
fn a_head_at_the_end_of_all_numbers_is_no_head() {
    let head = Line::Head { container: CONTAINER, offset: 4096, record_bytes: 8192, pieces: 1 };
    for (at, value) in [(32, u64::MAX), (32, u64::MAX - 4095), (40, u64::MAX), (40, 0), (40, 8193)] {
        let bytes = patched(&head, at, &value.to_le_bytes());
        assert_eq!(Line::decode(&bytes), Err(BadLine::Unknown), "{value:x} at {at}");
    }
}

fn head(pieces: u64) -> (Head, Vec<u8>) {
    let pieces = (0..pieces).map(record).collect();
    let head = Head { container: CONTAINER, offset: 4096, record_bytes: 1 << 20, pieces };
    let mut block = vec![0xee; BLOCK_BYTES as usize];
    head.encode_into(&mut block);
    (head, block)
}

#[test]
fn a_head_names_its_pieces_and_its_place() {
    for count in [0, 1, PIECES_MAX as u64] {
        let (head, block) = head(count);
        assert_eq!(Head::decode(&block, CONTAINER, 4096), Some(head));
        assert_eq!(Head::decode(&block, CONTAINER, 8192), None, "it stands elsewhere");
        let other = ContainerId { sequence: 4, ..CONTAINER };
        assert_eq!(Head::decode(&block, other, 4096), None, "it is another container's");
    }
}

#[test]
fn a_flipped_bit_in_a_head_costs_one_piece_or_the_head_and_adds_nothing() {
    let (head, block) = head(PIECES_MAX as u64);
    for bit in 0..block.len() * 8 {
        let mut flipped = block.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        match Head::decode(&flipped, CONTAINER, 4096) {
            None => assert!(bit < LINE_BYTES * 8, "bit {bit} costs all pieces"),
            Some(read) => {
                assert_eq!(read.pieces.len() + 1, head.pieces.len(), "bit {bit}");
                assert!(read.pieces.iter().all(|piece| head.pieces.contains(piece)));
            }
        }
    }
}

#[test]
fn a_piece_that_does_not_lie_in_the_record_is_left_out() {
    let mut inside = head(4).0;
    inside.record_bytes = 3 * BLOCK_BYTES;
    let mut block = vec![0; BLOCK_BYTES as usize];
    inside.encode_into(&mut block);
    let read = Head::decode(&block, CONTAINER, 4096).unwrap();
    assert_eq!(read.pieces, inside.pieces[..2], "the others begin at the end of the record or behind it");
}

#[test]
fn a_footer_names_all_pieces_whatever_their_number() {
    for count in [0_u64, 1, 31, 32, 33, 100] {
        let pieces: Vec<Record> = (0..count).map(record).collect();
        let offset = 1 << 20;
        let mut bytes = vec![0xee; footer_bytes(count) as usize];
        Footer::encode_into(CONTAINER, offset, &pieces, &mut bytes);
        let (lines, last) = bytes.split_at(bytes.len() - BLOCK_BYTES as usize);
        let end = offset + bytes.len() as u64;
        let footer = Footer::decode(last, CONTAINER, end).unwrap();
        assert_eq!((footer.offset, footer.lines_bytes()), (offset, lines.len() as u64));
        assert_eq!(footer.pieces(lines).collect::<Vec<_>>(), pieces);
        assert_eq!(Footer::decode(last, CONTAINER, end + BLOCK_BYTES), None, "the container goes on");
    }
}
