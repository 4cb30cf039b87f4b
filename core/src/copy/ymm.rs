//! Folding with AVX2: a line is two registers. For processors with VPCLMULQDQ but without AVX-512, such as Zen 3.

use core::arch::asm;
use core::arch::x86_64::{
    __m128i, __m256i, _mm_cvtsi32_si128, _mm256_broadcastsi128_si256, _mm256_clmulepi64_epi128,
    _mm256_extracti128_si256, _mm256_xor_si256, _mm256_zextsi128_si256,
};

use super::folding::{self, Registers};
use super::kernel::{Kernel, Passes};
use super::machine::Features;
use super::mode::Mode;
use super::span::Span;

pub(super) static FOLDING_YMM: Kernel = Kernel::new::<Ymm>("folding-ymm", || Features::read().folding_ymm);

struct Ymm;

impl Passes for Ymm {
    #[target_feature(enable = "vpclmulqdq,pclmulqdq,avx2,sse4.2")]
    unsafe fn pass<M: Mode>(span: Span, register: u32) -> u32 {
        // SAFETY: the contract of `Pass` is ours.
        unsafe { folding::pass::<Ymm, M>(span, register) }
    }
}

impl Registers for Ymm {
    type Line = [__m256i; 2];
    type Factors = __m256i;

    #[inline]
    #[target_feature(enable = "vpclmulqdq,pclmulqdq,avx2,sse4.2")]
    unsafe fn load<const AT: usize>(source: *const u8) -> [__m256i; 2] {
        let (low, high);
        // SAFETY: reads 64 bytes that are valid by contract.
        unsafe {
            asm!(
                "vmovdqu {low}, [{source} + {at}]",
                "vmovdqu {high}, [{source} + {at} + 32]",
                source = in(reg) source, at = const AT, low = out(ymm_reg) low, high = out(ymm_reg) high,
                options(nostack, preserves_flags, readonly),
            );
        }
        [low, high]
    }

    #[inline]
    #[target_feature(enable = "vpclmulqdq,pclmulqdq,avx2,sse4.2")]
    unsafe fn store<const AT: usize>(target: *mut u8, [low, high]: [__m256i; 2]) {
        // SAFETY: writes 64 bytes that are valid by contract.
        unsafe {
            asm!(
                "vmovdqu [{target} + {at}], {low}",
                "vmovdqu [{target} + {at} + 32], {high}",
                target = in(reg) target, at = const AT, low = in(ymm_reg) low, high = in(ymm_reg) high,
                options(nostack, preserves_flags),
            );
        }
    }

    #[inline]
    #[target_feature(enable = "vpclmulqdq,pclmulqdq,avx2,sse4.2")]
    unsafe fn stream<const AT: usize>(target: *mut u8, [low, high]: [__m256i; 2]) {
        // SAFETY: writes 64 bytes that are valid and aligned by contract. Both halves in one go: a line that leaves
        // its write-combining buffer half full costs two transfers.
        unsafe {
            asm!(
                "vmovntdq [{target} + {at}], {low}",
                "vmovntdq [{target} + {at} + 32], {high}",
                target = in(reg) target, at = const AT, low = in(ymm_reg) low, high = in(ymm_reg) high,
                options(nostack, preserves_flags),
            );
        }
    }

    #[inline]
    #[target_feature(enable = "vpclmulqdq,pclmulqdq,avx2,sse4.2")]
    unsafe fn seed([low, high]: [__m256i; 2], register: u32) -> [__m256i; 2] {
        let seed = _mm256_zextsi128_si256(_mm_cvtsi32_si128(register as i32));
        [_mm256_xor_si256(low, seed), high]
    }

    #[inline]
    #[target_feature(enable = "vpclmulqdq,pclmulqdq,avx2,sse4.2")]
    unsafe fn factors(pair: __m128i) -> __m256i {
        _mm256_broadcastsi128_si256(pair)
    }

    #[inline]
    #[target_feature(enable = "vpclmulqdq,pclmulqdq,avx2,sse4.2")]
    unsafe fn add_ahead(sum: [__m256i; 2], factors: __m256i, later: [__m256i; 2]) -> [__m256i; 2] {
        let half = |sum, later| {
            let first = _mm256_clmulepi64_epi128::<0x00>(sum, factors);
            let second = _mm256_clmulepi64_epi128::<0x11>(sum, factors);
            _mm256_xor_si256(_mm256_xor_si256(first, second), later)
        };
        [half(sum[0], later[0]), half(sum[1], later[1])]
    }

    #[inline]
    #[target_feature(enable = "vpclmulqdq,pclmulqdq,avx2,sse4.2")]
    unsafe fn groups([low, high]: [__m256i; 2]) -> [__m128i; 4] {
        [
            _mm256_extracti128_si256::<0>(low),
            _mm256_extracti128_si256::<1>(low),
            _mm256_extracti128_si256::<0>(high),
            _mm256_extracti128_si256::<1>(high),
        ]
    }
}
