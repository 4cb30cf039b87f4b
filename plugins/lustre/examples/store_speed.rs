//! How fast pieces go into a store and come back: through the whole tier, from and to memory that lies as a node's does.
//!
//! `cargo run --release -p cascade-tier-lustre --example store_speed [FOLDER [MIB [PIECE_KIB [ENGINE]]]]` prints a line of JSON:
//! gigabytes a second for stores, and for loads in the order of the stores, cold where the engine goes past the page cache; and
//! seconds of processor time a gigabyte, of which `sum` is what it takes to sum as many bytes. Compare with `io_speed` in the same folder, run at the same time of day.

use cascade_core::checksum::Crc32c;
use cascade_core::copy::checksum_slice;
use cascade_core::piece::seal;
use cascade_tier::{
    Action, CloseMode, Extent, Library, Memory, MemoryRange, OpenTier, Operation, PieceId, Place,
};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use std::hint::black_box;
use std::path::PathBuf;
use std::time::Instant;

/// How many pieces are under way at most.
const SLOTS: usize = 64;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, otherwise: u64| {
        arguments.get(index).map_or(otherwise, |text| text.parse().expect("a number"))
    };
    let folder = arguments.first().map_or_else(std::env::temp_dir, PathBuf::from);
    let (bytes, piece_bytes) = (number(1, 1024) << 20, number(2, 2048) << 10);
    let engine = arguments.get(3).map_or("auto", String::as_str);
    let store = folder.join(format!("cascade-speed-{}", std::process::id()));
    let config = json!({"directory": store, "engine": engine});
    let library = Library::from_entry(cascade_tier_lustre::entry).expect("it is linked");
    let mut run = Run::new(library.open(&config.to_string()).expect("it opens"), piece_bytes);
    let count = (bytes / piece_bytes) as usize;
    let stored = run.store(count);
    let loaded = run.load(count);
    let stats: Value = serde_json::from_str(&run.tier.stats().expect("it counts")).expect("it is JSON");
    run.tier.close(CloseMode::Unlink).expect("it closes");
    std::fs::remove_dir(&store).expect("nothing is left in it");
    let report = json!({
        "sum": sum_speed(bytes),
        "engine": stats["engine"], "piece_bytes": piece_bytes, "bytes": bytes, "store": stored, "load": loaded,
        "metadata_operations": stats["store"]["metadata_operations"], "reads": stats["counts"]["reads"],
        "writes": stats["counts"]["writes"], "copied_bytes": stats["counts"]["copied_bytes"],
    });
    println!("{report}");
}

struct Run {
    tier: OpenTier,
    _buffer: Box<[u64]>,
    memory: u16,
    start: u64,
    piece_bytes: u64,
    /// The checksum of a piece that is named after its slot.
    checksums: Vec<u32>,
    /// Where each piece went, and the slot that it was named after.
    stored: Vec<(Extent, usize)>,
}

impl Run {
    fn new(mut tier: OpenTier, piece_bytes: u64) -> Run {
        let length = piece_bytes * SLOTS as u64 + 4096;
        let mut buffer = vec![0x0123_4567_89ab_cdef_u64; length as usize / 8].into_boxed_slice();
        let memory = Memory::new("host", length).at(buffer.as_mut_ptr().cast());
        // SAFETY: the buffer lives until the tier is closed, and nobody else touches it meanwhile.
        let memory = unsafe { tier.register_memory(&memory) }.expect("it is reached");
        let start = buffer.as_ptr().cast::<u8>().align_offset(4096) as u64;
        let piece = 0x0123_4567_89ab_cdef_u64.to_le_bytes().repeat(piece_bytes as usize / 8);
        let sum = |slot| checksum_slice(&piece, seal(&id(slot).into(), piece_bytes)).value();
        let checksums = (0..SLOTS).map(sum).collect();
        Run { tier, _buffer: buffer, memory, start, piece_bytes, checksums, stored: Vec::new() }
    }

    fn range(&self, slot: usize) -> MemoryRange {
        MemoryRange::new(self.memory, self.start + slot as u64 * self.piece_bytes, self.piece_bytes)
    }

    fn store(&mut self, count: usize) -> Value {
        self.stored = vec![(Extent::default(), 0); count];
        let action = |run: &Run, _, slot| Action::Store {
            source: run.range(slot),
            piece: id(slot),
            checksum: run.checksums[slot],
            place: Place::default(),
        };
        self.timed(count, action, |run, number, slot, extent| run.stored[number] = (extent, slot))
    }

    fn load(&mut self, count: usize) -> Value {
        let action = |run: &Run, number: usize, slot| {
            let (extent, named) = run.stored[number];
            Action::Load { extent, piece: id(named), checksum: run.checksums[named], target: run.range(slot) }
        };
        self.timed(count, action, |_, _, _, _| {})
    }

    /// Does it in batches, half of which are under way while the other half is taken up: as a node that is never idle.
    fn timed(
        &mut self,
        count: usize,
        action: impl Fn(&Run, usize, usize) -> Action,
        take: impl Fn(&mut Run, usize, usize, Extent),
    ) -> Value {
        let (start, cpu) = (Instant::now(), cpu_s());
        let (mut next, mut done) = (0, 0);
        let mut free: Vec<usize> = (0..SLOTS).rev().collect();
        let mut slots = vec![0; count];
        while done < count {
            if free.len() >= SLOTS / 2 {
                let mut operations = Vec::new();
                while next < count
                    && let Some(slot) = free.pop()
                {
                    slots[next] = slot;
                    operations.push(Operation::new(next as u64, action(self, next, slot)));
                    next += 1;
                }
                assert_eq!(self.tier.submit(&operations).expect("it takes them"), operations.len());
            }
            let mut completions = Vec::new();
            if self.tier.poll(&mut completions).expect("it answers") == 0 {
                let event = self.tier.event_fd().expect("it has one").expect("it has one");
                poll(&mut [PollFd::new(&event, PollFlags::IN)], None).expect("it is a descriptor");
            }
            for completion in completions {
                assert!(completion.status.is_ok(), "{completion:?}");
                let number = completion.request_id as usize;
                take(self, number, slots[number], completion.extent);
                free.push(slots[number]);
                done += 1;
            }
        }
        let gigabytes = count as f64 * self.piece_bytes as f64 / 1e9;
        let seconds = start.elapsed().as_secs_f64();
        json!({"gb_per_s": gigabytes / seconds, "cpu_s_per_gb": (cpu_s() - cpu) / gigabytes})
    }
}

fn id(slot: usize) -> PieceId {
    PieceId { key: [slot as u8; 32], rank: 0, group: 0 }
}

/// What verifying costs at least: a pass over memory.
fn sum_speed(bytes: u64) -> Value {
    let memory = vec![1_u8; 64 << 20];
    let cpu = cpu_s();
    let passes = bytes.div_ceil(memory.len() as u64);
    for _ in 0..passes {
        let _ = black_box(checksum_slice(black_box(&memory), Crc32c::EMPTY));
    }
    json!({"cpu_s_per_gb": (cpu_s() - cpu) / (passes as f64 * memory.len() as f64 / 1e9)})
}

fn cpu_s() -> f64 {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}
