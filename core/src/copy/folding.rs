//! The kernel for processors with AVX-512 and VPCLMULQDQ: folding, a cache line at a time.
//!
//! Sixteen bytes are a polynomial; multiplied by a power of x it can be added to the sixteen bytes that come so much
//! later without changing the remainder (Gopal and others, "Fast CRC Computation for Generic Polynomials Using
//! PCLMULQDQ Instruction", Intel, 2009). A 512-bit register folds four of them at once, so one stream is read front to
//! back, line by line, in a fraction of the time that memory needs, and the registers that were summed are the ones
//! that are stored, each as one whole line.

use core::arch::asm;
use core::arch::x86_64::{
    __m128i, __m512i, _mm_clmulepi64_si128, _mm_crc32_u64, _mm_cvtsi32_si128, _mm_cvtsi128_si64,
    _mm_extract_epi64, _mm_set_epi64x, _mm_xor_si128, _mm512_broadcast_i32x4, _mm512_clmulepi64_epi128,
    _mm512_extracti32x4_epi32, _mm512_ternarylogic_epi64, _mm512_xor_si512, _mm512_zextsi128_si512,
};

use super::kernel::{Kernel, Passes};
use super::lanes::edge;
use super::machine::{Avx2, Features};
use super::mode::{Mode, Stores};
use super::span::{LINE_BYTES, Span};
use crate::checksum::power_of_x;

/// Four lines in flight hide the latency of the multiplication.
const STRIDE_BYTES: usize = 4 * LINE_BYTES;

pub(super) static FOLDING: Kernel = Kernel::new::<Folding>("folding", || Features::read().folding);

struct Folding;

impl Passes for Folding {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vpclmulqdq,pclmulqdq,avx2,sse4.2")]
    unsafe fn pass<M: Mode>(span: Span, mut register: u32) -> u32 {
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
                register = fold::<M>(lines, register);
            }
            edge::<Avx2, M>(span, register)
        }
    }
}

/// # Safety
///
/// As for `Pass`. The span is one or more whole lines, and its target begins a line if `M` streams.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,vpclmulqdq,pclmulqdq,avx2,sse4.2")]
unsafe fn fold<M: Mode>(mut span: Span, register: u32) -> u32 {
    // The register belongs to the first four bytes.
    let seed = _mm512_zextsi128_si512(_mm_cvtsi32_si128(register as i32));
    let (far, near) = (factors::<STRIDE_BYTES>(), factors::<LINE_BYTES>());
    // SAFETY: every take is within what is left.
    unsafe {
        let mut sum;
        if span.len >= STRIDE_BYTES {
            let [mut a, mut b, mut c, mut d] = stride::<M>(span.take(STRIDE_BYTES));
            a = _mm512_xor_si512(a, seed);
            while span.len >= STRIDE_BYTES {
                let next = stride::<M>(span.take(STRIDE_BYTES));
                if M::CHECKS {
                    a = add_ahead(a, far, next[0]);
                    b = add_ahead(b, far, next[1]);
                    c = add_ahead(c, far, next[2]);
                    d = add_ahead(d, far, next[3]);
                }
            }
            sum = add_ahead(add_ahead(add_ahead(a, near, b), near, c), near, d);
        } else {
            sum = _mm512_xor_si512(line::<M, 0>(span.take(LINE_BYTES)), seed);
        }
        while span.len > 0 {
            sum = add_ahead(sum, near, line::<M, 0>(span.take(LINE_BYTES)));
        }
        if M::CHECKS { remainder(sum) } else { register }
    }
}

/// Reads four lines and stores them.
///
/// # Safety
///
/// As for [`fold`].
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn stride<M: Mode>(span: Span) -> [__m512i; 4] {
    for at in (0..STRIDE_BYTES).step_by(LINE_BYTES) {
        span.call_ahead(at);
    }
    // SAFETY: the span is four lines.
    unsafe {
        [
            line::<M, 0>(span),
            line::<M, { LINE_BYTES }>(span),
            line::<M, { 2 * LINE_BYTES }>(span),
            line::<M, { 3 * LINE_BYTES }>(span),
        ]
    }
}

/// Reads the line `AT` bytes into the span and stores it.
///
/// # Safety
///
/// As for [`fold`].
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn line<M: Mode, const AT: usize>(span: Span) -> __m512i {
    let line: __m512i;
    // SAFETY: reads and writes a line that is valid by contract. In assembly, because the memory may change under us:
    // the compiler must neither repeat nor split the load. `Copier` fences what was streamed.
    unsafe {
        asm!(
            "vmovdqu64 {line}, [{source} + {at}]",
            source = in(reg) span.source, at = const AT, line = out(zmm_reg) line,
            options(nostack, preserves_flags, readonly),
        );
        match M::STORES {
            Stores::Nowhere => {}
            Stores::Cached => asm!(
                "vmovdqu64 [{target} + {at}], {line}",
                target = in(reg) span.target, at = const AT, line = in(zmm_reg) line,
                options(nostack, preserves_flags),
            ),
            Stores::Streaming => asm!(
                "vmovntdq [{target} + {at}], {line}",
                target = in(reg) span.target, at = const AT, line = in(zmm_reg) line,
                options(nostack, preserves_flags),
            ),
        }
    }
    line
}

/// The factors that move 16-byte groups `BYTES` ahead: for the first eight bytes of each in the low half.
///
/// A product of reflected factors stands one bit low and a factor is 32 bits long: hence 33.
#[inline]
#[target_feature(enable = "avx512f")]
fn factors<const BYTES: usize>() -> __m512i {
    _mm512_broadcast_i32x4(factor_pair::<BYTES>())
}

#[inline]
#[target_feature(enable = "sse2")]
fn factor_pair<const BYTES: usize>() -> __m128i {
    let first = const { power_of_x(8 * BYTES as u32 + 64 - 33) };
    let second = const { power_of_x(8 * BYTES as u32 - 33) };
    _mm_set_epi64x(i64::from(second), i64::from(first))
}

/// `later`, with `sum` moved ahead by `factors` and added.
#[inline]
#[target_feature(enable = "avx512f,vpclmulqdq")]
fn add_ahead(sum: __m512i, factors: __m512i, later: __m512i) -> __m512i {
    let first = _mm512_clmulepi64_epi128::<0x00>(sum, factors);
    let second = _mm512_clmulepi64_epi128::<0x11>(sum, factors);
    _mm512_ternarylogic_epi64::<EXCLUSIVE_OR>(first, second, later)
}

/// The truth table of a ^ b ^ c.
const EXCLUSIVE_OR: i32 = 0x96;

/// The register after the last line.
#[inline]
#[target_feature(enable = "avx512f,vpclmulqdq,pclmulqdq,avx2,sse4.2")]
fn remainder(sum: __m512i) -> u32 {
    let mut last = _mm512_extracti32x4_epi32::<3>(sum);
    for (group, factors) in [
        (_mm512_extracti32x4_epi32::<0>(sum), factor_pair::<48>()),
        (_mm512_extracti32x4_epi32::<1>(sum), factor_pair::<32>()),
        (_mm512_extracti32x4_epi32::<2>(sum), factor_pair::<16>()),
    ] {
        last = _mm_xor_si128(last, _mm_clmulepi64_si128::<0x00>(group, factors));
        last = _mm_xor_si128(last, _mm_clmulepi64_si128::<0x11>(group, factors));
    }
    let first = _mm_crc32_u64(0, _mm_cvtsi128_si64(last) as u64);
    _mm_crc32_u64(first, _mm_extract_epi64::<1>(last) as u64) as u32
}
