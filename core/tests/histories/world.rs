//! The memory of a segment, and the pieces of the histories: chains of four blocks in two sizes.

use cascade_core::key::BlockKey;
use cascade_core::piece::{PieceId, PieceMeta, seal};
use cascade_core::segment::{ARENAS_MAX, Geometry, Segment};
use cascade_core::sync::{AtomicU64, zeroed_words};
use cascade_core::view::{Region, WORD_BYTES};
use std::ptr::NonNull;

/// Clients of the segment.
pub(crate) const CLIENTS: usize = 3;
/// Different blocks.
pub(crate) const KEYS: usize = 12;
/// Blocks of a chain.
const CHAIN: usize = 4;

/// The regions of a segment, as ordinary memory.
pub(crate) struct Memory {
    meta: Vec<AtomicU64>,
    pages: Vec<AtomicU64>,
    arena: Vec<AtomicU64>,
}

impl Memory {
    /// A new segment: four chunks of 32 KiB, so that histories run full.
    pub(crate) fn new() -> Self {
        let geometry = Geometry::plan(&[128 << 10], 32 << 10, 4096, CLIENTS as u64, 7);
        let words = |bytes: u64| zeroed_words(bytes as usize / WORD_BYTES);
        let memory = Self {
            meta: words(geometry.meta_bytes()),
            pages: words(geometry.pages_bytes()),
            arena: words(geometry.arena_bytes(0)),
        };
        Segment::create(&geometry, region(&memory.meta), 42).unwrap();
        memory
    }

    /// A view of it, as one process has.
    pub(crate) fn segment(&self) -> Segment<'_> {
        let mut arenas = [None; ARENAS_MAX];
        arenas[0] = Some(region(&self.arena));
        Segment::open(region(&self.meta), region(&self.pages), arenas).unwrap()
    }
}

fn region(words: &[AtomicU64]) -> Region<'_> {
    // SAFETY: the words outlive the region, are atomic, and their bytes are reached through regions only.
    unsafe { Region::new(NonNull::from(words).cast(), size_of_val(words)) }
}

/// Reads the bytes of a slot that a claim or a grant of the caller keeps in place.
pub(crate) fn load(at: NonNull<u8>, len_bytes: u64) -> Vec<u8> {
    // SAFETY: the segment checked the range against its arena, and the histories run on one thread.
    (0..len_bytes as usize).map(|i| unsafe { at.add(i).read() }).collect()
}

/// Fills a slot that was granted to the caller.
pub(crate) fn store(at: NonNull<u8>, bytes: &[u8]) {
    for (i, byte) in bytes.iter().enumerate() {
        // SAFETY: as in `load`.
        unsafe { at.add(i).write(*byte) };
    }
}

/// The name of block `key`.
pub(crate) fn id(key: usize) -> PieceId {
    PieceId::sole(BlockKey::from_bytes([key as u8 + 1; 32]))
}

/// The block before `key` in its chain.
pub(crate) fn before(key: usize) -> Option<usize> {
    (!key.is_multiple_of(CHAIN)).then(|| key - 1)
}

/// The block of a name.
pub(crate) fn key_of(id: &PieceId) -> usize {
    usize::from(id.key.as_bytes()[0]) - 1
}

/// The bytes that a client puts under `key`; other clients may put other versions.
pub(crate) fn bytes_of(key: usize, version: u64) -> Vec<u8> {
    let len_bytes = if key.is_multiple_of(3) { 80 } else { 4096 + 16 };
    let words = (0..len_bytes / 8).map(|i| (key as u64) << 48 | version << 32 | i);
    words.flat_map(u64::to_le_bytes).collect()
}

/// What a commit says of them.
pub(crate) fn meta_of(key: usize, bytes: &[u8]) -> PieceMeta {
    let len_bytes = bytes.len() as u64;
    let checksum = seal(&id(key), len_bytes).update(bytes).value();
    PieceMeta { id: id(key), len_bytes, checksum, depth: (key % CHAIN) as u32 }
}
