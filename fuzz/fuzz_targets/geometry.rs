//! A segment's header and metadata, as whoever maps it reads them. For every input: refused, or a segment all of whose
//! slots, lines and bytes lie within its regions.
//!
//! The geometry itself comes from the input and is written with a digest that is right, so that its meaning is checked and
//! not only its digest; the rest of the input overwrites words of header and metadata.
#![no_main]

use std::ptr::NonNull;

use cascade_core::page::PAGE_BYTES;
use cascade_core::segment::{ARENAS_MAX, Geometry, Segment};
use cascade_core::slot::SlotRef;
use cascade_core::sync::{AtomicU64, Ordering, zeroed_words};
use cascade_core::view::Region;
use libfuzzer_sys::fuzz_target;

const META_WORDS: usize = 1 << 15;
const ARENA_BYTES: usize = 1 << 20;

fn region(words: &[AtomicU64]) -> Region<'_> {
    // SAFETY: the words outlive the region and are atomic.
    unsafe { Region::new(NonNull::from(words).cast(), size_of_val(words)) }
}

/// Numbers from the front of the input; small ones, for a few of them make a segment that fits.
fn number(bytes: &mut &[u8]) -> u64 {
    let Some((head, rest)) = bytes.split_at_checked(3) else { return 1 };
    *bytes = rest;
    let value = u64::from(head[1]) | u64::from(head[2]) << 8;
    match head[0] % 4 {
        0 => value,
        1 => 1 << (value % 64),
        2 => value << (head[0] / 4),
        _ => u64::MAX - value,
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes;
    let mut next = || number(&mut bytes);
    let geometry = Geometry {
        chunk_bytes: next(),
        granule_bytes: next(),
        buckets: next(),
        seed: next(),
        clients_max: next(),
        pin_budget_bytes: next(),
        chunks: [next(), next(), 0, 0, 0, 0, 0, 0],
    };
    let meta = zeroed_words(META_WORDS);
    let pages = zeroed_words(PAGE_BYTES / 8);
    let arena = zeroed_words(ARENA_BYTES / 8);
    Segment::create(&geometry, region(&meta), 1).expect("a header fits");
    for patch in bytes.chunks_exact(10) {
        let at = usize::from(u16::from_le_bytes([patch[0], patch[1]])) % META_WORDS;
        meta[at]
            .fetch_xor(u64::from_le_bytes(patch[2..].try_into().expect("eight bytes")), Ordering::Relaxed);
    }
    let mut arenas = [None; ARENAS_MAX];
    arenas[0] = Some(region(&arena));
    arenas[1] = Some(region(&arena));
    let Ok(segment) = Segment::open(region(&meta), region(&pages), arenas) else { return };

    let geometry = *segment.geometry();
    let end = arena.as_ptr_range().end.addr();
    for at in segment.index().entries().map(|(_, at)| at).take(64) {
        if let Some((generation, meta)) = segment.line(at.arena, at.slot).and_then(|line| line.read()) {
            let slot = SlotRef { arena: at.arena, slot: at.slot, generation };
            if let Some(found) = segment.bytes(slot, meta.len_bytes) {
                assert!(found.as_ptr().addr() + meta.len_bytes as usize <= end);
            }
        }
    }
    let last = geometry.chunks[0].saturating_mul(geometry.slots_per_chunk());
    for slot in [0, 1, last.saturating_sub(1), last, u64::from(u32::MAX)] {
        let slot = SlotRef { arena: 0, slot: slot as u32, generation: 1 };
        let _ = segment.lineage(slot.arena, slot.slot);
        if let Some((offset, slot_bytes)) = segment.extent(slot.arena, slot.slot) {
            assert!(offset + slot_bytes <= geometry.arena_bytes(slot.arena));
            assert!(segment.bytes(slot, slot_bytes).is_some());
            assert!(segment.bytes(slot, slot_bytes + 1).is_none());
        }
    }
    assert!(segment.page(u16::MAX).is_none());
});
