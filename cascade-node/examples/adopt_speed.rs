//! Measures how long a node takes to rebuild its books from a segment that a dead owner left.
//!
//! `cargo run --release -p cascade-node --example adopt_speed [PIECES] [CHAIN] [ROUNDS]`
//!
//! The segment lies in the process's own memory and holds PIECES pieces of the smallest slot in chains of CHAIN blocks on
//! the average, put in random turns: in order, maps and tables would be walked in order, too. Opening the files
//! and greeting the clients are not in the figure; both do not grow with the pieces. Printed: each round, and
//! for how much of it the thread had a processor.

use std::ptr::NonNull;
use std::time::{Duration, Instant};

use cascade_core::key::{BlockKey, block_key};
use cascade_core::piece::{PieceId, PieceMeta};
use cascade_core::policy;
use cascade_core::request::Verdict;
use cascade_core::segment::{ARENAS_MAX, Geometry, Segment};
use cascade_core::view::Region;
use cascade_node::engine::Store;
use rustix::time::{ClockId, clock_gettime};

const CHUNK_BYTES: u64 = 64 << 20;
const SLOT_BYTES: u64 = 4096;
const CLIENT: u16 = 1;

/// Zeroed memory that outlives every view of it, as a mapping does. What is never written takes no room.
fn region(bytes: u64) -> Region<'static> {
    let words: &'static mut [u64] = Box::leak(vec![0; bytes as usize / 8].into_boxed_slice());
    // SAFETY: leaked memory is never freed, and is reached through the region only.
    unsafe { Region::new(NonNull::from(words).cast(), bytes as usize) }
}

fn segment(pieces: u64) -> Segment<'static> {
    let chunks = (pieces * SLOT_BYTES).div_ceil(CHUNK_BYTES) + 1;
    let geometry = Geometry::plan(&[chunks * CHUNK_BYTES], CHUNK_BYTES, SLOT_BYTES, 4, 99);
    let meta = region(geometry.meta_bytes().next_multiple_of(8));
    Segment::create(&geometry, meta, 7).expect("a header fits");
    let mut arenas = [None; ARENAS_MAX];
    arenas[0] = Some(region(geometry.arena_bytes(0)));
    Segment::open(meta, region(geometry.pages_bytes()), arenas).expect("it was created just now")
}

fn store(segment: Segment<'static>) -> Store {
    let mut store = Store::new(segment, policy::by_name("arc", 8).expect("arc is a policy"));
    store.admit(CLIENT);
    store
}

/// Puts chains a block at a time, whichever comes next, as many sessions at once do.
fn fill(segment: Segment<'static>, pieces: u64, chain: u64) {
    let mut store = store(segment);
    let unbacked: Vec<_> = store.unbacked().collect();
    unbacked.into_iter().for_each(|(arena, chunk)| store.back(arena, chunk));
    let mut tails = vec![(BlockKey::ROOT, 0); pieces.div_ceil(chain) as usize];
    let mut random = 1u64;
    for _ in 0..pieces {
        // Knuth's MMIX generator; the upper bits are the random ones.
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let session = (random >> 33) as usize % tails.len();
        let (tail, depth) = tails[session];
        let key = block_key(&tail, &[session as u32]);
        let slot = store.grant(CLIENT, SLOT_BYTES).expect("there is room for all");
        let meta = PieceMeta { id: PieceId::sole(key), len_bytes: SLOT_BYTES, checksum: 0, depth };
        assert_eq!(store.publish(CLIENT, slot, &meta, &tail), Verdict::Fresh);
        tails[session] = (key, depth + 1);
    }
}

/// How long this thread has had a processor.
fn thread_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse().expect("a number"));
    let pieces: u64 = arguments.next().unwrap_or(1_000_000);
    let chain = arguments.next().unwrap_or(64);
    let rounds = arguments.next().unwrap_or(5);
    let segment = segment(pieces);
    fill(segment, pieces, chain);
    println!("{pieces} pieces in chains of about {chain} blocks");
    for round in 0..rounds {
        let (start, worked) = (Instant::now(), thread_time());
        let mut store = store(segment);
        let adopted = store.adopt();
        let (elapsed, worked) = (start.elapsed(), thread_time() - worked);
        assert_eq!((adopted.pieces as u64, adopted.damaged), (pieces, 0));
        println!("round {round}: {:.1} ms, {:.1} of them at work", millis(elapsed), millis(worked));
    }
}
