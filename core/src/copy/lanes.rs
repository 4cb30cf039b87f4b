//! The kernel for processors that have a CRC32C instruction: three lanes, interleaved.
//!
//! The instruction takes eight bytes per cycle but needs three cycles to answer. So three neighbouring stretches are
//! summed at once, and their registers joined by carry-less multiplication with a power of x (Gopal and others, "Fast
//! CRC Computation for iSCSI Polynomial Using CRC32 Instruction", Intel, 2011). Bytes pass through registers in chunks
//! of 32: each is read exactly once, and what is summed is what is stored.
//!
//! The algorithm is here; an instruction set provides [`Isa`].

use core::ptr;

use super::mode::{Mode, Stores};
use super::span::{LINE_BYTES, Span};
use crate::checksum::power_of_x;

/// Short, so that memory is read nearly in order: lanes of 1 KiB defeat the hardware's prefetching and halve the speed.
const LANE_BYTES: usize = 128;

/// The instructions that the lanes need. Methods are inlined into a function that enables them.
///
/// Loads are written in assembly or are volatile, because the memory may change under them: the compiler must neither
/// repeat nor split them.
///
/// # Safety
///
/// For all methods: the processor has the instructions, and pointers are valid for the bytes named, at any alignment.
pub(super) trait Isa {
    /// Registers that hold 32 bytes.
    type Chunk: Copy;
    /// Reads the chunk at `source + AT`.
    unsafe fn load<const AT: usize>(source: *const u8) -> Self::Chunk;
    /// Stores a chunk at `target + AT` through the caches.
    unsafe fn store<const AT: usize>(target: *mut u8, chunk: Self::Chunk);
    /// Stores a chunk at `target + AT` past the caches; `target + AT` is a multiple of 32.
    unsafe fn stream<const AT: usize>(target: *mut u8, chunk: Self::Chunk);
    /// The chunk as words, first bytes first.
    unsafe fn words(chunk: Self::Chunk) -> [u64; 4];
    /// Reads 8 bytes.
    unsafe fn load_word(source: *const u8) -> u64;
    /// Shifts 8 bytes through the register.
    unsafe fn crc_word(register: u32, word: u64) -> u32;
    /// Shifts a byte through the register.
    unsafe fn crc_byte(register: u32, byte: u8) -> u32;
    /// The carry-less product.
    unsafe fn multiply(a: u32, b: u32) -> u64;
}

/// The whole pass; see [`Pass`](super::kernel::Pass).
///
/// # Safety
///
/// As for `Pass`, and inlined into a function that enables the instructions of `I`.
#[inline(always)]
pub(super) unsafe fn pass<I: Isa, M: Mode>(span: Span, mut register: u32) -> u32 {
    // A local copy lives in registers; the parameter itself is memory to the assembly below.
    let mut span = Span { ..span };
    // SAFETY: every take is within what is left, so each part is as valid as the caller said the whole is.
    unsafe {
        if matches!(M::STORES, Stores::Streaming) {
            let head = span.take(span.bytes_to_line());
            register = edge::<I, M>(head, register);
        }
        while span.len >= 3 * LANE_BYTES {
            register = block::<I, M>(span.take(3 * LANE_BYTES), register);
        }
        while span.len >= LINE_BYTES {
            register = line::<I, M>(span.take(LINE_BYTES), register);
        }
        edge::<I, M>(span, register)
    }
}

/// Three lanes.
///
/// # Safety
///
/// As for [`pass`]; the span holds three lanes, and its target begins a line if `M` streams.
#[inline(always)]
unsafe fn block<I: Isa, M: Mode>(span: Span, register: u32) -> u32 {
    const { assert!(LANE_BYTES.is_multiple_of(LINE_BYTES)) };
    let mut lanes = [0; 3];
    for at in (0..3 * LANE_BYTES).step_by(LINE_BYTES) {
        span.call_ahead(at);
    }
    for at in (0..LANE_BYTES).step_by(LINE_BYTES) {
        // SAFETY: `at + LINE_BYTES <= LANE_BYTES`, and the span holds three lanes.
        unsafe {
            let sources = [0, 1, 2].map(|lane| span.source.add(lane * LANE_BYTES + at));
            let targets = [0, 1, 2].map(|lane| span.target.wrapping_add(lane * LANE_BYTES + at));
            triple::<I, M, 0>(targets, sources, &mut lanes);
            triple::<I, M, 32>(targets, sources, &mut lanes);
        }
    }
    if !M::CHECKS {
        return register;
    }
    // The register enters here, not in the first lane: so the next block's lanes need not wait for this one's.
    // SAFETY: the instructions are there by contract.
    unsafe {
        let moved = I::multiply(register, const { ahead(3 * LANE_BYTES) })
            ^ I::multiply(lanes[0], const { ahead(2 * LANE_BYTES) })
            ^ I::multiply(lanes[1], const { ahead(LANE_BYTES) });
        I::crc_word(0, moved) ^ lanes[2]
    }
}

/// The factor that moves a register `bytes` ahead when its product goes through `crc_word`.
///
/// The instruction itself moves by 32, and a product of reflected factors stands one bit low: 33 in all.
const fn ahead(bytes: usize) -> u32 {
    power_of_x(8 * bytes as u32 - 33)
}

/// The chunk at `AT` of each lane.
///
/// # Safety
///
/// As for [`block`].
#[inline(always)]
unsafe fn triple<I: Isa, M: Mode, const AT: usize>(
    targets: [*mut u8; 3],
    sources: [*const u8; 3],
    lanes: &mut [u32; 3],
) {
    // SAFETY: valid by contract.
    unsafe {
        let chunks = sources.map(|source| I::load::<AT>(source));
        for (target, chunk) in targets.into_iter().zip(chunks) {
            store::<I, M, AT>(target, chunk);
        }
        if M::CHECKS {
            let [first, second, third] = chunks.map(|chunk| I::words(chunk));
            for ((first, second), third) in first.into_iter().zip(second).zip(third) {
                lanes[0] = I::crc_word(lanes[0], first);
                lanes[1] = I::crc_word(lanes[1], second);
                lanes[2] = I::crc_word(lanes[2], third);
            }
        }
    }
}

/// One line, in one lane: slower to sum, but streamed whole.
///
/// # Safety
///
/// As for [`pass`]; the span is a line, and its target begins one if `M` streams.
#[inline(always)]
unsafe fn line<I: Isa, M: Mode>(span: Span, mut register: u32) -> u32 {
    // SAFETY: the two chunks are the line.
    unsafe {
        let halves = [I::load::<0>(span.source), I::load::<32>(span.source)];
        store::<I, M, 0>(span.target, halves[0]);
        store::<I, M, 32>(span.target, halves[1]);
        if M::CHECKS {
            for word in halves.into_iter().flat_map(|half| I::words(half)) {
                register = I::crc_word(register, word);
            }
        }
    }
    register
}

/// Stores the chunk at `AT` as `M` says.
///
/// # Safety
///
/// As for [`block`].
#[inline(always)]
unsafe fn store<I: Isa, M: Mode, const AT: usize>(target: *mut u8, chunk: I::Chunk) {
    // SAFETY: valid by contract.
    unsafe {
        match M::STORES {
            Stores::Nowhere => {}
            Stores::Cached => I::store::<AT>(target, chunk),
            Stores::Streaming => I::stream::<AT>(target, chunk),
        }
    }
}

/// What does not fill a line: words, then bytes, through the caches, since part of a line cannot be streamed.
///
/// # Safety
///
/// As for [`pass`].
#[inline(always)]
pub(super) unsafe fn edge<I: Isa, M: Mode>(mut span: Span, mut register: u32) -> u32 {
    while span.len >= size_of::<u64>() {
        // SAFETY: within what is left; `M` stores where the target is written, and the write may be unaligned.
        unsafe {
            let part = span.take(size_of::<u64>());
            let word = I::load_word(part.source);
            if M::STORES != Stores::Nowhere {
                ptr::write_unaligned(part.target.cast::<u64>(), word);
            }
            if M::CHECKS {
                register = I::crc_word(register, word);
            }
        }
    }
    while span.len > 0 {
        // SAFETY: within what is left. Volatile, so that the byte is read once; `M` stores where it is written.
        unsafe {
            let part = span.take(1);
            let byte = ptr::read_volatile(part.source);
            if M::STORES != Stores::Nowhere {
                ptr::write(part.target, byte);
            }
            if M::CHECKS {
                register = I::crc_byte(register, byte);
            }
        }
    }
    register
}
