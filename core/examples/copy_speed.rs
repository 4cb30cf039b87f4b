//! Measures the verified copy beside memcpy and a streaming copy of the same bytes.
//!
//! `cargo run --release -p cascade-core --example copy_speed [ROUNDS]`
//!
//! Every case runs all methods once per round, in an order that rotates, over memory far larger than the caches. The
//! reference is the plain copy with the best median; a ratio is the reference's time over the method's in the same
//! round, so above 1 is faster than a plain copy. Printed: median (first and third quartile) over the rounds.

use std::hint::black_box;
use std::ptr;
use std::time::Instant;

use cascade_core::checksum::Crc32c;
use cascade_core::copy::{Copier, Fragment, Kernel, checksum_with};

/// Source and target each; together beyond any cache.
const ARENA_BYTES: usize = 512 << 20;
/// What one method copies in one round, at least: short, so that few rounds are disturbed by others on the machine.
const ROUND_BYTES: usize = 4 << 20;

/// How one piece is cut.
#[derive(Clone, Copy)]
enum Shape {
    Whole,
    /// Fragments in the source, far apart, to a contiguous target: a put.
    Gather(usize),
    /// A contiguous source to fragments in the target, far apart: a get.
    Scatter(usize),
}

struct Case {
    name: &'static str,
    piece_bytes: usize,
    shape: Shape,
}

#[derive(Clone, Copy)]
enum Method {
    Memcpy,
    Unverified(&'static Kernel),
    Verified(&'static Kernel),
    InPlace(&'static Kernel),
}

fn main() {
    let rounds = std::env::args().nth(1).map_or(201, |rounds| rounds.parse().expect("ROUNDS is a number"));
    let source: Vec<u8> = (0..ARENA_BYTES).map(|i| ((i * 131) >> 3) as u8).collect();
    let mut target = vec![1; ARENA_BYTES];
    let cases = [
        Case { name: "4 KiB", piece_bytes: 4 << 10, shape: Shape::Whole },
        Case { name: "16 KiB", piece_bytes: 16 << 10, shape: Shape::Whole },
        Case { name: "64 KiB", piece_bytes: 64 << 10, shape: Shape::Whole },
        Case { name: "256 KiB", piece_bytes: 256 << 10, shape: Shape::Whole },
        Case { name: "2 MiB", piece_bytes: 2 << 20, shape: Shape::Whole },
        Case { name: "10 MiB", piece_bytes: 10 << 20, shape: Shape::Whole },
        Case { name: "put, 48 x 4 KiB", piece_bytes: 48 * 4096, shape: Shape::Gather(48) },
        Case { name: "get, 48 x 4 KiB", piece_bytes: 48 * 4096, shape: Shape::Scatter(48) },
        Case { name: "put, 160 x 8520 B", piece_bytes: 160 * 8520, shape: Shape::Gather(160) },
        Case { name: "get, 160 x 8520 B", piece_bytes: 160 * 8520, shape: Shape::Scatter(160) },
    ];
    println!("best kernel: {}; {rounds} rounds of {} MiB", Kernel::best().name(), ROUND_BYTES >> 20);
    for case in &cases {
        report(case, rounds, &source, &mut target);
    }
}

fn report(case: &Case, rounds: usize, source: &[u8], target: &mut [u8]) {
    let mut methods = vec![Method::Memcpy];
    methods.extend(Kernel::available().map(Method::Unverified));
    let references = methods.len();
    methods.extend(Kernel::available().map(Method::Verified));
    methods.extend(Kernel::available().map(Method::InPlace));

    let mut seconds = vec![Vec::new(); methods.len()];
    let mut offset = 0;
    for round in 0..rounds + 1 {
        for turn in 0..methods.len() {
            let which = (turn + round) % methods.len();
            let elapsed = run(case, methods[which], source, target, &mut offset);
            // The first round warms the clock and the page tables.
            if round > 0 {
                seconds[which].push(elapsed);
            }
        }
    }
    let reference =
        (0..references).min_by(|&a, &b| median(&seconds[a]).total_cmp(&median(&seconds[b]))).expect("memcpy");
    let bytes = case.pieces_per_round() * case.piece_bytes;
    println!("\n{}", case.name);
    for (method, times) in methods.iter().zip(&seconds) {
        let mut ratios: Vec<f64> =
            seconds[reference].iter().zip(times).map(|(base, time)| base / time).collect();
        ratios.sort_by(f64::total_cmp);
        println!(
            "  {:<22} {:6.2} GB/s  ratio {:.3} ({:.3} .. {:.3})",
            method.label(),
            bytes as f64 / median(times) / 1e9,
            ratios[ratios.len() / 2],
            ratios[ratios.len() / 4],
            ratios[ratios.len() * 3 / 4],
        );
    }
}

/// Copies a round's worth of pieces at offsets that walk through the arenas; returns the seconds it took.
fn run(case: &Case, method: Method, source: &[u8], target: &mut [u8], offset: &mut usize) -> f64 {
    let fragments = match case.shape {
        Shape::Whole => 1,
        Shape::Gather(fragments) | Shape::Scatter(fragments) => fragments,
    };
    let fragment_bytes = case.piece_bytes / fragments;
    // Fragment `i` of every piece lies in the `i`-th of equal regions, as layers do.
    let region_bytes = ARENA_BYTES / fragments / 64 * 64;
    let pieces_per_arena = region_bytes / fragment_bytes;
    let start = Instant::now();
    for _ in 0..case.pieces_per_round() {
        let piece = *offset % pieces_per_arena;
        *offset += 1;
        let fragments = (0..fragments).map(|fragment| {
            let contiguous = piece * case.piece_bytes + fragment * fragment_bytes;
            let apart = fragment * region_bytes + piece * fragment_bytes;
            let (to, from) = match case.shape {
                Shape::Whole | Shape::Gather(_) => (contiguous, apart),
                Shape::Scatter(_) => (apart, contiguous),
            };
            let (target, source) =
                (&mut target[to..to + fragment_bytes], &source[from..from + fragment_bytes]);
            Fragment { target: target.as_mut_ptr(), source: source.as_ptr(), len: fragment_bytes }
        });
        // SAFETY: each fragment was cut from the two arenas, which do not overlap and which nobody else touches.
        unsafe { method.copy(case.piece_bytes, fragments) };
    }
    start.elapsed().as_secs_f64()
}

impl Case {
    fn pieces_per_round(&self) -> usize {
        ROUND_BYTES.div_ceil(self.piece_bytes)
    }
}

impl Method {
    /// Moves or sums the fragments of one piece.
    ///
    /// # Safety
    ///
    /// The fragments are valid for reads and writes and do not overlap.
    unsafe fn copy(self, piece_bytes: usize, fragments: impl Iterator<Item = Fragment>) {
        // SAFETY: as the caller vouches; in all four.
        unsafe {
            match self {
                Self::Memcpy => {
                    for Fragment { target, source, len } in fragments {
                        ptr::copy_nonoverlapping(source, target, len);
                    }
                }
                Self::Unverified(kernel) => {
                    let mut copier = Copier::unverified(kernel);
                    for Fragment { target, source, len } in fragments {
                        copier.copy(target, source, len);
                    }
                }
                Self::Verified(kernel) => {
                    let mut copier = Copier::with_kernel(kernel, piece_bytes, Crc32c::EMPTY);
                    copier.copy_fragments(fragments);
                    let _ = black_box(copier.finish());
                }
                Self::InPlace(kernel) => {
                    let sum = |sum, part: Fragment| checksum_with(kernel, part.source, part.len, sum);
                    let _ = black_box(fragments.fold(Crc32c::EMPTY, sum));
                }
            }
        }
    }

    fn label(self) -> String {
        match self {
            Self::Memcpy => "memcpy".into(),
            Self::Unverified(kernel) => format!("streaming {}", kernel.name()),
            Self::Verified(kernel) => format!("verified {}", kernel.name()),
            Self::InPlace(kernel) => format!("in place {}", kernel.name()),
        }
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
