//! The kernel for processors that have a CRC32C instruction: three lanes, interleaved.
//!
//! The instruction takes eight bytes per cycle but needs three to answer. So three neighbouring stretches are summed
//! at once, and their registers joined by carry-less multiplication with a power of x (Gopal and others, "Fast CRC
//! Computation for iSCSI Polynomial Using CRC32 Instruction", Intel, 2011). Loads and stores are pairs of general
//! registers: each byte is read exactly once, and what is summed is what is stored.
//!
//! The algorithm is here; an instruction set provides [`Isa`].

use core::ptr;

use super::mode::{Mode, Stores};
use super::span::{LINE_BYTES, Span};
use crate::checksum::power_of_x;

/// Lane length for bulk.
const LONG_BYTES: usize = 1024;
/// Lane length for what bulk leaves over and for fragments of a few KiB.
const SHORT_BYTES: usize = 128;

/// The instructions that the lanes need. Methods are inlined into a function that enables them.
///
/// Loads are written in assembly or are volatile, because the memory may change under them: the compiler must neither
/// repeat nor split them.
///
/// # Safety
///
/// For all methods: the processor has the instructions, and pointers are valid for the bytes named, at any alignment.
pub(super) trait Isa {
    /// Reads 16 bytes at `source + AT`.
    unsafe fn load_pair<const AT: usize>(source: *const u8) -> [u64; 2];
    /// Stores 16 bytes at `target + AT` through the caches.
    unsafe fn store_pair<const AT: usize>(target: *mut u8, pair: [u64; 2]);
    /// Stores 16 bytes at `target + AT` past the caches.
    unsafe fn stream_pair<const AT: usize>(target: *mut u8, pair: [u64; 2]);
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
pub(super) unsafe fn pass<I: Isa, M: Mode>(mut span: Span, mut register: u32) -> u32 {
    // SAFETY: every take is within what is left, so each part is as valid as the caller said the whole is.
    unsafe {
        if matches!(M::STORES, Stores::Streaming) {
            let head = span.take(span.bytes_to_line());
            register = edge::<I, M>(head, register);
        }
        while span.len >= 3 * LONG_BYTES {
            register = block::<I, M, LONG_BYTES>(span.take(3 * LONG_BYTES), register);
        }
        while span.len >= 3 * SHORT_BYTES {
            register = block::<I, M, SHORT_BYTES>(span.take(3 * SHORT_BYTES), register);
        }
        edge::<I, M>(span, register)
    }
}

/// Three lanes of `LANE` bytes each.
///
/// # Safety
///
/// As for [`pass`]; the span holds three lanes, and its target begins a line if `M` streams.
#[inline(always)]
unsafe fn block<I: Isa, M: Mode, const LANE: usize>(span: Span, register: u32) -> u32 {
    const { assert!(LANE.is_multiple_of(LINE_BYTES)) };
    let mut lanes = [0; 3];
    for at in (0..LANE).step_by(LINE_BYTES) {
        // SAFETY: `at + LINE_BYTES <= LANE`, and the span holds three lanes.
        unsafe {
            let sources = [0, 1, 2].map(|lane| span.source.add(lane * LANE + at));
            let targets = [0, 1, 2].map(|lane| span.target.wrapping_add(lane * LANE + at));
            triple::<I, M, 0>(targets, sources, &mut lanes);
            triple::<I, M, 16>(targets, sources, &mut lanes);
            triple::<I, M, 32>(targets, sources, &mut lanes);
            triple::<I, M, 48>(targets, sources, &mut lanes);
        }
    }
    if !M::CHECKS {
        return register;
    }
    // The register enters here, not in the first lane: so the next block's lanes need not wait for this one's.
    // SAFETY: the instructions are there by contract.
    unsafe {
        let moved = I::multiply(register, const { ahead(3 * LANE) })
            ^ I::multiply(lanes[0], const { ahead(2 * LANE) })
            ^ I::multiply(lanes[1], const { ahead(LANE) });
        I::crc_word(0, moved) ^ lanes[2]
    }
}

/// The factor that moves a register `bytes` ahead when its product goes through `crc_word`.
///
/// The instruction itself moves by 32, and a product of reflected factors stands one bit low: 33 in all.
const fn ahead(bytes: usize) -> u32 {
    power_of_x(8 * bytes as u32 - 33)
}

/// Sixteen bytes at `AT` in each lane.
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
        let pairs = sources.map(|source| I::load_pair::<AT>(source));
        for half in 0..2 {
            for lane in 0..3 {
                if M::CHECKS {
                    lanes[lane] = I::crc_word(lanes[lane], pairs[lane][half]);
                }
            }
        }
        for lane in 0..3 {
            match M::STORES {
                Stores::Nowhere => {}
                Stores::Cached => I::store_pair::<AT>(targets[lane], pairs[lane]),
                Stores::Streaming => I::stream_pair::<AT>(targets[lane], pairs[lane]),
            }
        }
    }
}

/// What does not fill lanes: words, then bytes, through the caches, since part of a line cannot be streamed.
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
