//! The kernels for processors with VPCLMULQDQ: folding, a cache line at a time.
//!
//! Sixteen bytes are a polynomial; multiplied by a power of x it can be added to the sixteen bytes that come so much
//! later without changing the remainder (Gopal and others, "Fast CRC Computation for Generic Polynomials Using
//! PCLMULQDQ Instruction", Intel, 2009). Wide registers fold two or four of them at once, so one stream is read front to
//! back, line by line, in a fraction of the time that memory needs, and the registers that were summed are the ones
//! that are stored, line after line.
//!
//! The algorithm is here; `zmm` and `ymm` provide [`Registers`].

use core::arch::x86_64::{
    __m128i, _mm_clmulepi64_si128, _mm_crc32_u64, _mm_cvtsi128_si64, _mm_extract_epi64, _mm_set_epi64x,
    _mm_xor_si128,
};

use super::lanes::edge;
use super::machine::Avx2;
use super::mode::{Mode, Stores};
use super::span::{LINE_BYTES, Span};
use crate::checksum::power_of_x;

/// Four lines in flight hide the latency of the multiplication.
const STRIDE_BYTES: usize = 4 * LINE_BYTES;

/// The registers that hold a line, and their instructions. Methods are inlined into a function that enables them.
///
/// Loads are written in assembly, because the memory may change under them: the compiler must neither repeat nor split
/// them.
///
/// # Safety
///
/// For all methods: the processor has the instructions, and pointers are valid for the line at `AT`, at any alignment.
pub(super) trait Registers {
    /// A line: four groups of sixteen bytes.
    type Line: Copy;
    /// What moves the groups of a line ahead.
    type Factors: Copy;
    /// Reads the line at `source + AT`.
    unsafe fn load<const AT: usize>(source: *const u8) -> Self::Line;
    /// Stores a line at `target + AT` through the caches.
    unsafe fn store<const AT: usize>(target: *mut u8, line: Self::Line);
    /// Stores a line at `target + AT` past the caches; `target + AT` begins one.
    unsafe fn stream<const AT: usize>(target: *mut u8, line: Self::Line);
    /// `line` with `register` added to its first four bytes.
    unsafe fn seed(line: Self::Line, register: u32) -> Self::Line;
    /// The factors of each group: `pair`, see [`factor_pair`].
    unsafe fn factors(pair: __m128i) -> Self::Factors;
    /// `later`, with `sum` moved ahead by `factors` and added.
    unsafe fn add_ahead(sum: Self::Line, factors: Self::Factors, later: Self::Line) -> Self::Line;
    /// The groups of a line, first bytes first.
    unsafe fn groups(line: Self::Line) -> [__m128i; 4];
}

/// The whole pass; see [`Pass`](super::kernel::Pass).
///
/// # Safety
///
/// As for `Pass`, and inlined into a function that enables the instructions of `R`, AVX2, SSE 4.2 and PCLMULQDQ.
#[inline(always)]
pub(super) unsafe fn pass<R: Registers, M: Mode>(span: Span, mut register: u32) -> u32 {
    // A local copy lives in registers; the parameter itself is memory to the assembly below.
    let mut span = Span { ..span };
    // SAFETY: every take is within what is left, so each part is as valid as the caller said the whole is.
    unsafe {
        if matches!(M::STORES, Stores::Streaming) {
            let head = span.take(span.bytes_to_line());
            register = edge::<Avx2, M>(head, register);
        }
        let lines = span.take(span.len - span.len % LINE_BYTES);
        if lines.len > 0 {
            register = fold::<R, M>(lines, register);
        }
        edge::<Avx2, M>(span, register)
    }
}

/// # Safety
///
/// As for [`pass`]. The span is one or more whole lines, and its target begins a line if `M` streams.
#[inline(always)]
unsafe fn fold<R: Registers, M: Mode>(mut span: Span, register: u32) -> u32 {
    // SAFETY: every take is within what is left.
    unsafe {
        let (far, near) =
            (R::factors(factor_pair::<STRIDE_BYTES>()), R::factors(factor_pair::<LINE_BYTES>()));
        let mut sum;
        if span.len >= STRIDE_BYTES {
            let first = span.take(STRIDE_BYTES);
            call_ahead(first);
            let mut a = R::seed(line::<R, M, 0>(first), register);
            let mut b = line::<R, M, { LINE_BYTES }>(first);
            let mut c = line::<R, M, { 2 * LINE_BYTES }>(first);
            let mut d = line::<R, M, { 3 * LINE_BYTES }>(first);
            while span.len >= STRIDE_BYTES {
                let next = span.take(STRIDE_BYTES);
                call_ahead(next);
                // Each line is added as it comes: with narrow registers there is no room to keep all four.
                a = add::<R, M>(a, far, line::<R, M, 0>(next));
                b = add::<R, M>(b, far, line::<R, M, { LINE_BYTES }>(next));
                c = add::<R, M>(c, far, line::<R, M, { 2 * LINE_BYTES }>(next));
                d = add::<R, M>(d, far, line::<R, M, { 3 * LINE_BYTES }>(next));
            }
            sum = add::<R, M>(add::<R, M>(add::<R, M>(a, near, b), near, c), near, d);
        } else {
            sum = R::seed(line::<R, M, 0>(span.take(LINE_BYTES)), register);
        }
        while span.len > 0 {
            sum = add::<R, M>(sum, near, line::<R, M, 0>(span.take(LINE_BYTES)));
        }
        if M::CHECKS { remainder(R::groups(sum)) } else { register }
    }
}

#[inline(always)]
fn call_ahead(stride: Span) {
    for at in (0..STRIDE_BYTES).step_by(LINE_BYTES) {
        stride.call_ahead(at);
    }
}

/// Reads the line `AT` bytes into the span and stores it as `M` says. `Copier` fences what was streamed.
///
/// # Safety
///
/// As for [`fold`].
#[inline(always)]
unsafe fn line<R: Registers, M: Mode, const AT: usize>(span: Span) -> R::Line {
    // SAFETY: valid by contract.
    unsafe {
        let line = R::load::<AT>(span.source);
        match M::STORES {
            Stores::Nowhere => {}
            Stores::Cached => R::store::<AT>(span.target, line),
            Stores::Streaming => R::stream::<AT>(span.target, line),
        }
        line
    }
}

/// [`Registers::add_ahead`] where the mode checks.
///
/// # Safety
///
/// The instructions are there.
#[inline(always)]
unsafe fn add<R: Registers, M: Mode>(sum: R::Line, factors: R::Factors, later: R::Line) -> R::Line {
    // SAFETY: the contract is the same.
    if M::CHECKS { unsafe { R::add_ahead(sum, factors, later) } } else { sum }
}

/// The factors that move a group `BYTES` ahead: for its first eight bytes in the low half.
///
/// A product of reflected factors stands one bit low and a factor is 32 bits long: hence 33.
#[inline]
#[target_feature(enable = "sse2")]
fn factor_pair<const BYTES: usize>() -> __m128i {
    let first = const { power_of_x(8 * BYTES as u32 + 64 - 33) };
    let second = const { power_of_x(8 * BYTES as u32 - 33) };
    _mm_set_epi64x(i64::from(second), i64::from(first))
}

/// The register after a line of these groups.
#[inline]
#[target_feature(enable = "sse4.2,pclmulqdq")]
fn remainder([first, second, third, mut last]: [__m128i; 4]) -> u32 {
    for (group, factors) in
        [(first, factor_pair::<48>()), (second, factor_pair::<32>()), (third, factor_pair::<16>())]
    {
        last = _mm_xor_si128(last, _mm_clmulepi64_si128::<0x00>(group, factors));
        last = _mm_xor_si128(last, _mm_clmulepi64_si128::<0x11>(group, factors));
    }
    let low = _mm_crc32_u64(0, _mm_cvtsi128_si64(last) as u64);
    _mm_crc32_u64(low, _mm_extract_epi64::<1>(last) as u64) as u32
}
