//! Bytes of a store's files that mean nothing, read as manifests, heads and footers are. For every input: bounded work, and
//! nothing is named that does not lie where it was read.
//!
//! Checksums would stop every mutation, so the target mends them: what gets through is what a bug, or a newer release, wrote.
#![no_main]

use cascade_core::checksum::Crc32c;
use cascade_tier::Record;
use cascade_tier_lustre::format::{
    BLOCK_BYTES, CONTAINER_BYTES_MAX, ContainerId, FileName, Footer, Head, LINE_BYTES, Line, Location, VERSION,
    footer_bytes,
};
use libfuzzer_sys::fuzz_target;
use std::ops::RangeInclusive;

fn mend(bytes: &mut [u8]) {
    for line in bytes.chunks_exact_mut(LINE_BYTES) {
        line[6..8].copy_from_slice(&VERSION.to_le_bytes());
        line[8..16].copy_from_slice(b"CASCADE\0");
        let sum = Crc32c::EMPTY.update(&line[4..]).value();
        line[..4].copy_from_slice(&sum.to_le_bytes());
    }
}

fn check(record: &Record, within: RangeInclusive<u64>) {
    let location = Location::from_extent(record.extent).expect("a record lies somewhere");
    assert_eq!(location.length, record.length_bytes);
    assert!(*within.start() <= location.offset && location.offset + location.length <= *within.end());
}

fn read(bytes: &[u8]) {
    for line in bytes.chunks(LINE_BYTES) {
        let Ok(line) = Line::decode(line) else { continue };
        assert_eq!(Line::decode(&line.encode()), Ok(line), "a line is written as it was read");
        if let Line::Stored(record) | Line::Removed(record) = line {
            check(&record, 0..=CONTAINER_BYTES_MAX);
        }
    }
    let Ok(first) = Line::decode(bytes) else { return };
    let container = first.container().unwrap_or(ContainerId { writer: 0, sequence: 0 });
    if let Line::Head { offset, .. } = first
        && let Some(head) = Head::decode(bytes, container, offset)
    {
        let payload = head.offset + BLOCK_BYTES..=head.offset + head.record_bytes;
        head.pieces.iter().for_each(|record| check(record, payload.clone()));
    }
    if let Line::Footer { offset, pieces, .. } = first {
        let end = offset.saturating_add(footer_bytes(u64::from(pieces)));
        if let Some(footer) = Footer::decode(bytes, container, end) {
            footer.pieces(bytes).for_each(|record| check(&record, 0..=footer.offset));
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(name) = std::str::from_utf8(bytes)
        && let Some(parsed) = FileName::parse(name)
    {
        assert_eq!(parsed.to_string(), name, "a file has one name");
    }
    let mut bytes = bytes.to_vec();
    bytes.resize(BLOCK_BYTES as usize, 0);
    read(&bytes);
    mend(&mut bytes);
    read(&bytes);
});
