//! Folding with AVX-512: a line is one register, stored by one instruction.

use core::arch::asm;
use core::arch::x86_64::{
    __m128i, __m512i, _mm_cvtsi32_si128, _mm512_broadcast_i32x4, _mm512_clmulepi64_epi128,
    _mm512_extracti32x4_epi32, _mm512_ternarylogic_epi64, _mm512_xor_si512, _mm512_zextsi128_si512,
};

use super::folding::{self, Registers};
use super::kernel::{Kernel, Passes};
use super::machine::Features;
use super::mode::Mode;
use super::span::Span;

pub(super) static FOLDING_ZMM: Kernel = Kernel::new::<Zmm>("folding-zmm", || Features::read().folding_zmm);

/// The truth table of a ^ b ^ c.
const EXCLUSIVE_OR: i32 = 0x96;

struct Zmm;

impl Passes for Zmm {
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vpclmulqdq,pclmulqdq,avx2,sse4.2")]
    unsafe fn pass<M: Mode>(span: Span, register: u32) -> u32 {
        // SAFETY: the contract of `Pass` is ours.
        unsafe { folding::pass::<Zmm, M>(span, register) }
    }
}

impl Registers for Zmm {
    type Line = __m512i;
    type Factors = __m512i;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vpclmulqdq,pclmulqdq,avx2,sse4.2")]
    unsafe fn load<const AT: usize>(source: *const u8) -> __m512i {
        let line;
        // SAFETY: reads 64 bytes that are valid by contract.
        unsafe {
            asm!(
                "vmovdqu64 {line}, [{source} + {at}]",
                source = in(reg) source, at = const AT, line = out(zmm_reg) line,
                options(nostack, preserves_flags, readonly),
            );
        }
        line
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vpclmulqdq,pclmulqdq,avx2,sse4.2")]
    unsafe fn store<const AT: usize>(target: *mut u8, line: __m512i) {
        // SAFETY: writes 64 bytes that are valid by contract.
        unsafe {
            asm!(
                "vmovdqu64 [{target} + {at}], {line}",
                target = in(reg) target, at = const AT, line = in(zmm_reg) line,
                options(nostack, preserves_flags),
            );
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vpclmulqdq,pclmulqdq,avx2,sse4.2")]
    unsafe fn stream<const AT: usize>(target: *mut u8, line: __m512i) {
        // SAFETY: writes 64 bytes that are valid and aligned by contract.
        unsafe {
            asm!(
                "vmovntdq [{target} + {at}], {line}",
                target = in(reg) target, at = const AT, line = in(zmm_reg) line,
                options(nostack, preserves_flags),
            );
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vpclmulqdq,pclmulqdq,avx2,sse4.2")]
    unsafe fn seed(line: __m512i, register: u32) -> __m512i {
        _mm512_xor_si512(line, _mm512_zextsi128_si512(_mm_cvtsi32_si128(register as i32)))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vpclmulqdq,pclmulqdq,avx2,sse4.2")]
    unsafe fn factors(pair: __m128i) -> __m512i {
        _mm512_broadcast_i32x4(pair)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vpclmulqdq,pclmulqdq,avx2,sse4.2")]
    unsafe fn add_ahead(sum: __m512i, factors: __m512i, later: __m512i) -> __m512i {
        let first = _mm512_clmulepi64_epi128::<0x00>(sum, factors);
        let second = _mm512_clmulepi64_epi128::<0x11>(sum, factors);
        _mm512_ternarylogic_epi64::<EXCLUSIVE_OR>(first, second, later)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,vpclmulqdq,pclmulqdq,avx2,sse4.2")]
    unsafe fn groups(line: __m512i) -> [__m128i; 4] {
        [
            _mm512_extracti32x4_epi32::<0>(line),
            _mm512_extracti32x4_epi32::<1>(line),
            _mm512_extracti32x4_epi32::<2>(line),
            _mm512_extracti32x4_epi32::<3>(line),
        ]
    }
}
