//! A segment: what a node shares with its clients, as one geometry over a few mapped regions.
//!
//! ```text
//! meta     [header 4 KiB][chunk words][index][slot lines][lineage]      clients map it read-only
//! pages    [client page] × clients_max                                  each client writes its own
//! arena-n  [chunk] × chunks; a chunk is cut into slots of one size      clients write what was granted to them
//! ```
//!
//! Everything is an offset, computed from the [`Geometry`] in the header; nothing is a pointer. The slots of a chunk
//! are numbered `chunk × slots_per_chunk ..`, whatever size they have, so a line keeps its number (and its generation)
//! when its chunk is recut. Invariants: the geometry never changes while the segment lives; a header that does not
//! describe regions of exactly these sizes is refused, never believed.

use crate::index::{BUCKET_WORDS, Index, buckets_for};
use crate::page::{PAGE_BYTES, PAGE_WORDS, Page};
use crate::slot::{LINE_WORDS, Line, SlotRef};
use crate::sync::{AtomicU64, Ordering};
use crate::view::{Region, WORD_BYTES};
use core::fmt;
use core::ptr::NonNull;

/// First word of every segment: "CASCSEG\0".
pub const MAGIC: u64 = u64::from_le_bytes(*b"CASCSEG\0");
/// Version of the layout in `core/docs/layout.md`. A segment of another version is refused.
pub const LAYOUT_VERSION: u64 = 4;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 4096;
/// Arenas of a segment at most.
pub const ARENAS_MAX: usize = 8;
/// The smallest unit of a slot, in bytes, and the largest that is sensible.
pub const GRANULE_BYTES: core::ops::RangeInclusive<u64> = 4096..=65536;

const W_MAGIC: usize = 0;
const W_VERSION: usize = 1;
const W_ID: usize = 2;
const W_STATE: usize = 3;
const W_EPOCH: usize = 4;
const W_ASLEEP: usize = 8;
const W_GEOMETRY: usize = 16;
const GEOMETRY_WORDS: usize = 6 + ARENAS_MAX;

/// The sizes that a segment is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of a chunk: the largest slot. A power of two.
    pub chunk_bytes: u64,
    /// Bytes of the smallest slot. A power of two.
    pub granule_bytes: u64,
    /// Buckets of the index.
    pub buckets: u64,
    /// Seed of the piece hashes.
    pub seed: u64,
    /// Client pages.
    pub clients_max: u64,
    /// Bytes that one client may pin before it gets copies only.
    pub pin_budget_bytes: u64,
    /// Chunks of each arena; 0 where there is none.
    pub chunks: [u64; ARENAS_MAX],
}

/// Why a segment cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayoutError {
    /// The first word is another.
    NotASegment,
    /// Another layout version, with the version found.
    Version(u64),
    /// The numbers in the header make no sense together.
    Geometry,
    /// The regions have other sizes than the header says.
    Size,
    /// The segment was closed by its owner.
    Closed,
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotASegment => f.write_str("not a Cascade segment"),
            Self::Version(found) => {
                write!(f, "segment layout version {found}, this program reads {LAYOUT_VERSION}")
            }
            Self::Geometry => f.write_str("the segment's header contradicts itself"),
            Self::Size => f.write_str("the segment's files have other sizes than its header says"),
            Self::Closed => f.write_str("the segment was closed by its node"),
        }
    }
}

impl core::error::Error for LayoutError {}

impl Geometry {
    /// A geometry for arenas of these sizes, each rounded down to whole chunks.
    ///
    /// # Panics
    /// If chunk or granule is no power of two, or there are more than [`ARENAS_MAX`] arenas.
    pub fn plan(
        arena_bytes: &[u64],
        chunk_bytes: u64,
        granule_bytes: u64,
        clients_max: u64,
        seed: u64,
    ) -> Self {
        assert!(chunk_bytes.is_power_of_two() && granule_bytes.is_power_of_two());
        assert!(arena_bytes.len() <= ARENAS_MAX);
        let mut chunks = [0; ARENAS_MAX];
        for (chunks, bytes) in chunks.iter_mut().zip(arena_bytes) {
            *chunks = bytes / chunk_bytes;
        }
        let mut geometry = Self {
            chunk_bytes,
            granule_bytes,
            buckets: 2,
            seed,
            clients_max,
            pin_budget_bytes: u64::MAX,
            chunks,
        };
        geometry.buckets = buckets_for(geometry.slots_total() as usize) as u64;
        geometry
    }

    /// Arenas with at least one chunk.
    pub fn arenas(&self) -> impl Iterator<Item = u8> + '_ {
        (0..ARENAS_MAX as u8).filter(|&arena| self.chunks[usize::from(arena)] > 0)
    }

    /// Slots that a chunk may be cut into at most.
    pub const fn slots_per_chunk(&self) -> u64 {
        self.chunk_bytes / self.granule_bytes
    }

    /// Slots of all arenas at most; so many lines there are.
    pub fn slots_total(&self) -> u64 {
        self.chunks.iter().sum::<u64>() * self.slots_per_chunk()
    }

    /// Bytes of one arena.
    pub fn arena_bytes(&self, arena: u8) -> u64 {
        self.chunks[usize::from(arena)] * self.chunk_bytes
    }

    /// Bytes of the metadata region.
    pub fn meta_bytes(&self) -> u64 {
        self.lineage_offset() + self.slots_total() * WORD_BYTES as u64
    }

    /// Bytes of the region of client pages.
    pub fn pages_bytes(&self) -> u64 {
        self.clients_max * PAGE_BYTES as u64
    }

    /// Bytes of the slot that a piece of this length gets: at most an eighth more than it needs, or `None` if it is
    /// larger than a chunk. Length 0 takes the smallest slot.
    pub fn slot_bytes(&self, len_bytes: u64) -> Option<u64> {
        if len_bytes > self.chunk_bytes {
            return None;
        }
        let len = len_bytes.max(1);
        let step = (1u64 << len.ilog2() >> 3).max(self.granule_bytes);
        Some(len.next_multiple_of(step).min(self.chunk_bytes))
    }

    const fn chunks_offset(&self) -> u64 {
        HEADER_BYTES as u64
    }

    fn index_offset(&self) -> u64 {
        let bytes = self.chunks.iter().sum::<u64>() * WORD_BYTES as u64;
        (self.chunks_offset() + bytes).next_multiple_of(4096)
    }

    fn lines_offset(&self) -> u64 {
        (self.index_offset() + self.buckets * (BUCKET_WORDS * WORD_BYTES) as u64).next_multiple_of(4096)
    }

    fn lineage_offset(&self) -> u64 {
        self.lines_offset() + self.slots_total() * (LINE_WORDS * WORD_BYTES) as u64
    }

    fn encode(&self) -> [u64; GEOMETRY_WORDS + 1] {
        let mut words = [0; GEOMETRY_WORDS + 1];
        words[..6].copy_from_slice(&[
            self.chunk_bytes,
            self.granule_bytes,
            self.buckets,
            self.seed,
            self.clients_max,
            self.pin_budget_bytes,
        ]);
        words[6..GEOMETRY_WORDS].copy_from_slice(&self.chunks);
        words[GEOMETRY_WORDS] = digest(&words[..GEOMETRY_WORDS]);
        words
    }

    fn decode(words: &[u64; GEOMETRY_WORDS + 1]) -> Option<Self> {
        if words[GEOMETRY_WORDS] != digest(&words[..GEOMETRY_WORDS]) {
            return None;
        }
        let mut chunks = [0; ARENAS_MAX];
        chunks.copy_from_slice(&words[6..GEOMETRY_WORDS]);
        let geometry = Self {
            chunk_bytes: words[0],
            granule_bytes: words[1],
            buckets: words[2],
            seed: words[3],
            clients_max: words[4],
            pin_budget_bytes: words[5],
            chunks,
        };
        let sound = geometry.chunk_bytes.is_power_of_two()
            && geometry.chunk_bytes <= 1 << 40
            && geometry.granule_bytes.is_power_of_two()
            && GRANULE_BYTES.contains(&geometry.granule_bytes)
            && geometry.granule_bytes <= geometry.chunk_bytes
            && (2..=1 << 32).contains(&geometry.buckets)
            && (1..=1 << 15).contains(&geometry.clients_max)
            && chunks.iter().all(|&c| c <= 1 << 20)
            && chunks.iter().all(|&c| c * geometry.slots_per_chunk() <= 1 << 32);
        sound.then_some(geometry)
    }
}

fn digest(words: &[u64]) -> u64 {
    words
        .iter()
        .fold(MAGIC, |digest, word| (digest ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29))
}

/// The shared part of a segment, as node and clients see it.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'m> {
    geometry: Geometry,
    header: &'m [AtomicU64],
    chunk_words: &'m [AtomicU64],
    index: Index<'m>,
    lines: &'m [AtomicU64],
    lineage: &'m [AtomicU64],
    pages: &'m [AtomicU64],
    arenas: [Option<Region<'m>>; ARENAS_MAX],
}

impl<'m> Segment<'m> {
    /// Writes the header of a new segment into zeroed memory; [`Segment::open`] then views it. Only the node calls this.
    pub fn create(geometry: &Geometry, meta: Region<'m>, id: u64) -> Result<(), LayoutError> {
        let header = meta.words(0, HEADER_BYTES / WORD_BYTES).ok_or(LayoutError::Size)?;
        for (word, value) in header[W_GEOMETRY..].iter().zip(geometry.encode()) {
            word.store(value, Ordering::Relaxed);
        }
        header[W_VERSION].store(LAYOUT_VERSION, Ordering::Relaxed);
        header[W_ID].store(id, Ordering::Relaxed);
        header[W_STATE].store(1, Ordering::Relaxed);
        // Release: a header that shows its magic is whole.
        header[W_MAGIC].store(MAGIC, Ordering::Release);
        Ok(())
    }

    /// Reads the geometry from the header alone, to know what to map.
    pub fn geometry_of(meta: Region<'m>) -> Result<Geometry, LayoutError> {
        let header = meta.words(0, HEADER_BYTES / WORD_BYTES).ok_or(LayoutError::Size)?;
        if header[W_MAGIC].load(Ordering::Acquire) != MAGIC {
            return Err(LayoutError::NotASegment);
        }
        let version = header[W_VERSION].load(Ordering::Relaxed);
        if version != LAYOUT_VERSION {
            return Err(LayoutError::Version(version));
        }
        if header[W_STATE].load(Ordering::Relaxed) != 1 {
            return Err(LayoutError::Closed);
        }
        let mut words = [0; GEOMETRY_WORDS + 1];
        for (value, word) in words.iter_mut().zip(&header[W_GEOMETRY..]) {
            *value = word.load(Ordering::Relaxed);
        }
        Geometry::decode(&words).ok_or(LayoutError::Geometry)
    }

    /// Views a segment whose regions were mapped, after checking every size against the header.
    pub fn open(
        meta: Region<'m>,
        pages: Region<'m>,
        arenas: [Option<Region<'m>>; ARENAS_MAX],
    ) -> Result<Self, LayoutError> {
        let geometry = Self::geometry_of(meta)?;
        let words =
            |offset: u64, count: u64| meta.words(offset as usize, count as usize).ok_or(LayoutError::Size);
        for arena in 0..ARENAS_MAX as u8 {
            let mapped = arenas[usize::from(arena)].map_or(0, |region| region.len_bytes() as u64);
            if mapped < geometry.arena_bytes(arena) {
                return Err(LayoutError::Size);
            }
        }
        let pages = pages.words(0, geometry.pages_bytes() as usize / WORD_BYTES).ok_or(LayoutError::Size)?;
        Ok(Self {
            geometry,
            header: words(0, (HEADER_BYTES / WORD_BYTES) as u64)?,
            chunk_words: words(geometry.chunks_offset(), geometry.chunks.iter().sum())?,
            index: Index::new(words(geometry.index_offset(), geometry.buckets * BUCKET_WORDS as u64)?),
            lines: words(geometry.lines_offset(), geometry.slots_total() * LINE_WORDS as u64)?,
            lineage: words(geometry.lineage_offset(), geometry.slots_total())?,
            pages,
            arenas,
        })
    }

    /// The sizes.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The number that tells this segment from all others.
    pub fn id(&self) -> u64 {
        self.header[W_ID].load(Ordering::Relaxed)
    }

    /// Counts the nodes that have owned the segment; a client that sees it change attaches anew.
    pub fn epoch(&self) -> &'m AtomicU64 {
        &self.header[W_EPOCH]
    }

    /// Not 0 while the node sleeps and wants its doorbell rung.
    pub fn node_asleep(&self) -> &'m AtomicU64 {
        &self.header[W_ASLEEP]
    }

    /// Whether the node has not closed the segment.
    pub fn is_open(&self) -> bool {
        self.header[W_STATE].load(Ordering::Acquire) == 1
    }

    /// Marks the segment as closed: nobody opens it any more. Only the node calls this.
    pub fn close(&self) {
        self.header[W_STATE].store(2, Ordering::Release);
    }

    /// The index.
    pub fn index(&self) -> &Index<'m> {
        &self.index
    }

    /// A client's page, or `None` if there is no such client.
    pub fn page(&self, client: u16) -> Option<Page<'m>> {
        let at = usize::from(client) * (PAGE_BYTES / WORD_BYTES);
        self.pages.get(at..at + PAGE_WORDS).map(Page::new)
    }

    /// The line of a slot, or `None` if there is no such slot.
    #[inline]
    pub fn line(&self, arena: u8, slot: u32) -> Option<Line<'m>> {
        let at = self.number(arena, slot)? * LINE_WORDS;
        Some(Line::new(&self.lines[at..at + LINE_WORDS]))
    }

    /// The fingerprint of the parent of the block in a slot; 0 for the first of a chain.
    pub fn lineage(&self, arena: u8, slot: u32) -> Option<&'m AtomicU64> {
        Some(&self.lineage[self.number(arena, slot)?])
    }

    /// The word of a chunk: bytes of its slots, 0 while it is not cut.
    pub fn chunk_word(&self, arena: u8, chunk: u32) -> Option<&'m AtomicU64> {
        // An arena number may come from a client's request: it is a claim.
        let chunks = *self.geometry.chunks.get(usize::from(arena))?;
        let before: u64 = self.geometry.chunks[..usize::from(arena)].iter().sum();
        (u64::from(chunk) < chunks).then(|| &self.chunk_words[(before + u64::from(chunk)) as usize])
    }

    /// Where the bytes of a slot lie in its arena and how many fit, or `None` if its chunk is not cut that way.
    /// Meaningful while the slot is pinned or granted: then its chunk is not recut.
    #[inline]
    pub fn extent(&self, arena: u8, slot: u32) -> Option<(u64, u64)> {
        let per_chunk = self.geometry.slots_per_chunk();
        let (chunk, index) = (u64::from(slot) / per_chunk, u64::from(slot) % per_chunk);
        let slot_bytes = self.chunk_word(arena, chunk as u32)?.load(Ordering::Acquire);
        let offset = index.checked_mul(slot_bytes)?;
        if slot_bytes == 0 || offset.checked_add(slot_bytes)? > self.geometry.chunk_bytes {
            return None;
        }
        Some((chunk * self.geometry.chunk_bytes + offset, slot_bytes))
    }

    /// The memory of the first `len_bytes` bytes of a slot, or `None` if they do not fit it.
    #[inline]
    pub fn bytes(&self, at: SlotRef, len_bytes: u64) -> Option<NonNull<u8>> {
        let (offset, slot_bytes) = self.extent(at.arena, at.slot)?;
        if len_bytes > slot_bytes {
            return None;
        }
        (*self.arenas.get(usize::from(at.arena))?)?.bytes(offset as usize, len_bytes as usize)
    }

    fn number(&self, arena: u8, slot: u32) -> Option<usize> {
        let per_chunk = self.geometry.slots_per_chunk();
        let before: u64 = self.geometry.chunks.get(..usize::from(arena))?.iter().sum();
        let slots = self.geometry.chunks.get(usize::from(arena))? * per_chunk;
        (u64::from(slot) < slots).then(|| (before * per_chunk) as usize + slot as usize)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::zeroed_words;
    use std::vec::Vec;

    fn region(words: &[AtomicU64]) -> Region<'_> {
        let base = NonNull::from(words).cast::<u8>();
        // SAFETY: the words outlive the region and are atomic.
        unsafe { Region::new(base, size_of_val(words)) }
    }

    fn small() -> Geometry {
        Geometry::plan(&[4 << 20, 2 << 20], 1 << 20, 4096, 2, 7)
    }

    fn memory(geometry: &Geometry) -> [Vec<AtomicU64>; 4] {
        [geometry.meta_bytes(), geometry.pages_bytes(), geometry.arena_bytes(0), geometry.arena_bytes(1)]
            .map(|bytes| zeroed_words(bytes as usize / WORD_BYTES))
    }

    fn open(memory: &[Vec<AtomicU64>; 4]) -> Result<Segment<'_>, LayoutError> {
        let mut arenas = [None; ARENAS_MAX];
        arenas[0] = Some(region(&memory[2]));
        arenas[1] = Some(region(&memory[3]));
        Segment::open(region(&memory[0]), region(&memory[1]), arenas)
    }

    #[test]
    fn a_created_segment_opens_with_its_geometry() {
        let geometry = small();
        let memory = memory(&geometry);
        assert_eq!(open(&memory).unwrap_err(), LayoutError::NotASegment);
        Segment::create(&geometry, region(&memory[0]), 42).unwrap();
        let segment = open(&memory).unwrap();
        assert_eq!(*segment.geometry(), geometry);
        assert_eq!(segment.id(), 42);
        assert!(segment.page(1).is_some());
        assert!(segment.page(2).is_none());
        assert!(segment.line(0, 1023).is_some());
        assert!(segment.line(0, 1024).is_none());
        assert!(segment.line(1, 511).is_some());
        assert!(segment.line(2, 0).is_none());
        assert!(segment.line(200, 0).is_none());
        segment.close();
        assert_eq!(open(&memory).unwrap_err(), LayoutError::Closed);
    }

    #[test]
    fn every_flipped_bit_of_the_geometry_is_refused() {
        let geometry = small();
        let memory = memory(&geometry);
        Segment::create(&geometry, region(&memory[0]), 42).unwrap();
        for word in [W_MAGIC, W_VERSION].into_iter().chain(W_GEOMETRY..W_GEOMETRY + GEOMETRY_WORDS + 1) {
            for bit in 0..64 {
                let before = memory[0][word].load(Ordering::Relaxed);
                memory[0][word].store(before ^ 1 << bit, Ordering::Relaxed);
                assert!(open(&memory).is_err(), "word {word} bit {bit}");
                memory[0][word].store(before, Ordering::Relaxed);
            }
        }
        assert!(open(&memory).is_ok());
    }

    #[test]
    fn a_slot_lies_within_its_chunk() {
        let geometry = small();
        let memory = memory(&geometry);
        Segment::create(&geometry, region(&memory[0]), 42).unwrap();
        let segment = open(&memory).unwrap();
        assert_eq!(segment.extent(0, 0), None);
        segment.chunk_word(0, 1).unwrap().store(300 << 10, Ordering::Relaxed);
        assert_eq!(segment.extent(0, 256), Some((1 << 20, 300 << 10)));
        assert_eq!(segment.extent(0, 258), Some(((1 << 20) + (600 << 10), 300 << 10)));
        assert_eq!(segment.extent(0, 259), None);
        let slot = SlotRef { arena: 0, slot: 256, generation: 1 };
        assert!(segment.bytes(slot, 300 << 10).is_some());
        assert!(segment.bytes(slot, (300 << 10) + 1).is_none());
        segment.chunk_word(0, 1).unwrap().store(u64::MAX, Ordering::Relaxed);
        assert_eq!(segment.extent(0, 258), None);
        for arena in [2, ARENAS_MAX as u8, u8::MAX] {
            assert_eq!(segment.extent(arena, 0), None);
            assert!(segment.bytes(SlotRef { arena, ..slot }, 1).is_none());
        }
    }

    #[test]
    fn a_slot_wastes_at_most_an_eighth() {
        let geometry = Geometry::plan(&[1 << 30], 64 << 20, 4096, 2, 7);
        for len in [1, 4096, 4097, 100_000, 2 << 20, 10 << 20, (10 << 20) + 1, 64 << 20] {
            let slot = geometry.slot_bytes(len).unwrap();
            assert!(slot >= len && slot <= (len + len / 8).max(len.next_multiple_of(4096)), "{len} {slot}");
        }
        assert_eq!(geometry.slot_bytes(10 << 20), Some(10 << 20));
        assert_eq!(geometry.slot_bytes(0), Some(4096));
        assert_eq!(geometry.slot_bytes((64 << 20) + 1), None);
    }
}
