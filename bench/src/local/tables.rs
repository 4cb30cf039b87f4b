//! Lookups among 10⁴ to 10⁷ pieces, and what the books on 10⁷ take.
//!
//! No machine at hand has an arena for 10⁷ pieces, so the index and the slot lines are built in this process, over an
//! anonymous mapping, by core's own code, and looked up as a client does it: bucket, line, key. The arena is address space that
//! nobody touches. The next key depends on what the last lookup found, so lookups do not overlap; beside each runs a
//! chain of random reads, one in the index and one among the lines, each address dependent on the last value.

use super::pairs::{Ratio, compare};
use super::scene::piece;
use crate::random::mix;
use cascade_core::catalog::Catalog;
use cascade_core::index::{BUCKET_WORDS, Location};
use cascade_core::key::BlockKey;
use cascade_core::piece::{PieceId, PieceMeta};
use cascade_core::segment::{ARENAS_MAX, Geometry, Segment};
use cascade_core::slot::{Event, LINE_WORDS, SlotRef};
use cascade_core::view::Region;
use memmap2::{MmapMut, MmapOptions};
use serde_json::{Map, Value, json};
use std::error::Error;
use std::hint::black_box;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const PIECE_BYTES: u64 = 4096;
const CHUNK_BYTES: u64 = 64 << 20;
/// Lookups of one round: some milliseconds.
const ROUND_LOOKUPS: u64 = 20_000;
/// Blocks of a chain, as far as the catalog is concerned.
const CHAIN_BLOCKS: u64 = 64;
const LARGEST: u64 = 10_000_000;

/// Measures all of them; a quick run leaves out the largest, which takes gigabytes, and enters nulls for it.
///
/// # Errors
/// The memory cannot be had.
pub(crate) fn measure(
    rounds: usize,
    quick: bool,
    figures: &mut Map<String, Value>,
) -> Result<(), Box<dyn Error>> {
    for power in if quick { 4..=6 } else { 4..=7 } {
        let table = Table::new(10_u64.pow(power))?;
        let hits = table.compare(rounds, 0)?;
        let misses = table.compare(rounds, table.pieces)?;
        // Here a cost beside its reference, so that smaller is better.
        let cost = |ratio: &Ratio| (1.0 / ratio.median, [1.0 / ratio.spread[1], 1.0 / ratio.spread[0]]);
        let (ratio, spread) = cost(&hits);
        figures.insert(format!("lookup_1e{power}_ratio"), json!(ratio));
        figures.insert(format!("lookup_1e{power}_ratio_spread"), json!(spread));
        let each_ns = |seconds: f64| seconds / ROUND_LOOKUPS as f64 * 1e9;
        figures.insert(format!("lookup_hit_1e{power}_ns"), json!(each_ns(hits.subject_s)));
        figures.insert(format!("lookup_miss_1e{power}_ns"), json!(each_ns(misses.subject_s)));
        figures.insert(format!("two_reads_1e{power}_ns"), json!(each_ns(hits.reference_s)));
    }
    figures.insert("segment_1e7_bytes".into(), json!(geometry(LARGEST).meta_bytes()));
    if quick {
        for name in ["lookup_1e7_ratio", "lookup_1e7_ratio_spread", "catalog_1e7_bytes"] {
            figures.insert(name.into(), Value::Null);
        }
    } else {
        figures.insert("catalog_1e7_bytes".into(), json!(catalog_bytes(LARGEST)));
    }
    Ok(())
}

fn geometry(pieces: u64) -> Geometry {
    let arena_bytes = (pieces * PIECE_BYTES).next_multiple_of(CHUNK_BYTES);
    Geometry::plan(&[arena_bytes], CHUNK_BYTES, PIECE_BYTES, 1, 0x5eed)
}

/// Bytes of a catalog that holds so many blocks in chains.
fn catalog_bytes(blocks: u64) -> usize {
    let mut catalog = Catalog::new();
    for i in 0..blocks {
        let parent = if i % CHAIN_BLOCKS == 0 { BlockKey::ROOT } else { piece(i - 1).key };
        let slot = SlotRef { arena: 0, slot: i as u32, generation: 1 };
        let _ = black_box(catalog.insert(&piece(i), &parent, slot));
    }
    catalog.memory_bytes()
}

/// Index and lines of a segment that is full.
struct Table {
    segment: Segment<'static>,
    words: &'static [AtomicU64],
    pieces: u64,
    // Behind what views it, so that it goes last.
    _maps: [MmapMut; 3],
}

impl Table {
    fn new(pieces: u64) -> Result<Self, Box<dyn Error>> {
        let geometry = geometry(pieces);
        let map = |bytes: u64| MmapOptions::new().len(bytes as usize).no_reserve_swap().map_anon();
        let mut maps =
            [map(geometry.meta_bytes())?, map(geometry.pages_bytes())?, map(geometry.arena_bytes(0))?];
        let [meta, pages, arena] = maps.each_mut().map(|map| {
            let base = NonNull::new(map.as_mut_ptr()).expect("a mapping is never at null");
            // SAFETY: the mappings live in the table as long as what views them, and are reached through these regions only.
            unsafe { Region::new(base, map.len()) }
        });
        Segment::create(&geometry, meta, 1)?;
        let mut arenas = [None; ARENAS_MAX];
        arenas[0] = Some(arena);
        let segment = Segment::open(meta, pages, arenas)?;
        for i in 0..pieces {
            let (id, at) = (piece(i), Location { arena: 0, slot: i as u32 });
            let line = segment.line(0, at.slot).expect("the arena has a slot for each");
            let refused = |refused| format!("a new line does not take a piece: {refused:?}");
            line.step(Event::Grant { client: 0 }).map_err(refused)?;
            line.describe(&PieceMeta { id, len_bytes: PIECE_BYTES, checksum: 0, depth: 0 });
            line.step(Event::Publish).map_err(refused)?;
            // A piece whose buckets are full is left out, as a node would evict another for it.
            let _ = segment.index().insert(id.hash(geometry.seed), at);
        }
        let words = meta.words(0, geometry.meta_bytes() as usize / size_of::<u64>()).expect("its own size");
        Ok(Self { segment, words, pieces, _maps: maps })
    }

    /// Lookups of the pieces from `first` on, beside dependent reads.
    fn compare(&self, rounds: usize, first: u64) -> Result<Ratio, Box<dyn Error>> {
        let (mut reader, mut finder) = (1, 2);
        let reads = || {
            let start = Instant::now();
            for _ in 0..ROUND_LOOKUPS {
                reader = self.read_two(reader);
            }
            black_box(reader);
            Ok(start.elapsed().as_secs_f64())
        };
        let finds = || {
            let start = Instant::now();
            for _ in 0..ROUND_LOOKUPS {
                let found = self.find(&piece(first + finder % self.pieces));
                finder = mix(finder ^ found);
            }
            black_box(finder);
            Ok(start.elapsed().as_secs_f64())
        };
        compare(rounds, vec![Box::new(reads)], Box::new(finds))
    }

    /// A number that depends on the entry and on the line: a lookup whose line is only branched on would overlap with the
    /// next one.
    fn find(&self, id: &PieceId) -> u64 {
        let hash = id.hash(self.segment.geometry().seed);
        let found = self.segment.index().candidates(hash).find_map(|at| {
            let generation = self.segment.line(at.arena, at.slot)?.ready_with(id)?;
            Some(u64::from(at.slot) << 32 | u64::from(generation))
        });
        found.unwrap_or(1)
    }

    /// Reads a word of a random line among those of the index, then one among the rest; a number that depends on both.
    fn read_two(&self, number: u64) -> u64 {
        let buckets = self.segment.geometry().buckets as usize * BUCKET_WORDS;
        let (index, lines) = self.words.split_at(buckets);
        let read = |words: &[AtomicU64], number: u64| {
            let line = (number % (words.len() / LINE_WORDS) as u64) as usize;
            mix(number ^ words[line * LINE_WORDS].load(Ordering::Relaxed))
        };
        read(lines, read(index, number))
    }
}
