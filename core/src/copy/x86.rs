//! What x86-64 offers: the CRC32C instruction of SSE 4.2, and on newer processors folding in wide registers.
//!
//! Streaming stores are weakly ordered here: without `sfence`, another core may see the commit before the bytes
//! (measured: 731 torn publications of 200,000).

use core::arch::asm;
use core::arch::x86_64::{
    __cpuid, __cpuid_count, __m256i, _mm_clmulepi64_si128, _mm_crc32_u8, _mm_crc32_u64, _mm_cvtsi64_si128,
    _mm_cvtsi128_si64,
};

use super::kernel::{Kernel, Passes};
use super::lanes::{self, Isa};
use super::mode::Mode;
use super::portable::PORTABLE;
use super::span::Span;
use super::ymm::FOLDING_YMM;
use super::zmm::FOLDING_ZMM;

/// Fastest first.
pub(super) static KERNELS: [&Kernel; 4] = [&FOLDING_ZMM, &FOLDING_YMM, &LANES, &PORTABLE];

static LANES: Kernel = Kernel::new::<Lanes>("lanes", || Features::read().lanes);

/// Orders earlier streaming stores before every later store.
#[inline]
pub(super) fn fence() {
    // SAFETY: touches no memory of ours; the compiler may not move memory accesses across it, as `nomem` is absent.
    unsafe { asm!("sfence", options(nostack, preserves_flags)) };
}

/// Asks for the line at `address`. A hint: no access, no fault, whatever the address.
#[inline]
pub(super) fn prefetch(address: *const u8) {
    // SAFETY: a prefetch accesses no memory as far as the program can tell.
    unsafe { asm!("prefetcht0 [{}]", in(reg) address, options(nostack, preserves_flags, readonly)) };
}

/// What the processor has and the operating system preserves.
pub(super) struct Features {
    /// AVX2, SSE 4.2 and PCLMULQDQ.
    pub(super) lanes: bool,
    /// VPCLMULQDQ, beside what `lanes` says.
    pub(super) folding_ymm: bool,
    /// AVX-512 F, BW and VL, beside what `folding_ymm` says.
    pub(super) folding_zmm: bool,
}

impl Features {
    pub(super) fn read() -> Self {
        let all = |register: u32, bits: &[u32]| bits.iter().all(|bit| register >> bit & 1 == 1);
        // PCLMULQDQ, SSE 4.2, XSAVE, OSXSAVE and AVX. Without them there is no XCR0 and perhaps no leaf 7 to read.
        if !all(__cpuid(1).ecx, &[1, 20, 26, 27, 28]) || __cpuid(0).eax < 7 {
            return Self { lanes: false, folding_ymm: false, folding_zmm: false };
        }
        let (extended, preserved) = (__cpuid_count(7, 0), preserved_state());
        // XMM and YMM; then also the three parts of the 512-bit state.
        let lanes = all(extended.ebx, &[5]) && all(preserved, &[1, 2]);
        let folding_ymm = lanes && all(extended.ecx, &[10]);
        let folding_zmm = folding_ymm && all(extended.ebx, &[16, 30, 31]) && all(preserved, &[5, 6, 7]);
        Self { lanes, folding_ymm, folding_zmm }
    }
}

/// The low half of XCR0: which register state the operating system saves.
fn preserved_state() -> u32 {
    let low: u32;
    // SAFETY: called only where CPUID says OSXSAVE, which makes the instruction legal in user space.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") _, options(nomem, nostack, preserves_flags))
    };
    low
}

struct Lanes;

impl Passes for Lanes {
    #[target_feature(enable = "avx2,sse4.2,pclmulqdq")]
    unsafe fn pass<M: Mode>(span: Span, register: u32) -> u32 {
        // SAFETY: the contract of `Pass` is ours.
        unsafe { lanes::pass::<Avx2, M>(span, register) }
    }
}

/// AVX2 for the bytes, SSE 4.2 and PCLMULQDQ for the checksum.
pub(super) struct Avx2;

impl Isa for Avx2 {
    type Chunk = __m256i;

    #[inline]
    #[target_feature(enable = "avx2,sse4.2,pclmulqdq")]
    unsafe fn load<const AT: usize>(source: *const u8) -> __m256i {
        let chunk;
        // SAFETY: reads 32 bytes that are valid by contract.
        unsafe {
            asm!(
                "vmovdqu {chunk}, [{source} + {at}]",
                source = in(reg) source, at = const AT, chunk = out(ymm_reg) chunk,
                options(nostack, preserves_flags, readonly),
            );
        }
        chunk
    }

    #[inline]
    #[target_feature(enable = "avx2,sse4.2,pclmulqdq")]
    unsafe fn store<const AT: usize>(target: *mut u8, chunk: __m256i) {
        // SAFETY: writes 32 bytes that are valid by contract.
        unsafe {
            asm!(
                "vmovdqu [{target} + {at}], {chunk}",
                target = in(reg) target, at = const AT, chunk = in(ymm_reg) chunk,
                options(nostack, preserves_flags),
            );
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,sse4.2,pclmulqdq")]
    unsafe fn stream<const AT: usize>(target: *mut u8, chunk: __m256i) {
        // SAFETY: writes 32 bytes that are valid and aligned by contract; `Copier` fences.
        unsafe {
            asm!(
                "vmovntdq [{target} + {at}], {chunk}",
                target = in(reg) target, at = const AT, chunk = in(ymm_reg) chunk,
                options(nostack, preserves_flags),
            );
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,sse4.2,pclmulqdq")]
    unsafe fn words(chunk: __m256i) -> [u64; 4] {
        // SAFETY: both types are 32 bytes of plain data.
        unsafe { core::mem::transmute(chunk) }
    }

    #[inline]
    #[target_feature(enable = "avx2,sse4.2,pclmulqdq")]
    unsafe fn load_word(source: *const u8) -> u64 {
        let word;
        // SAFETY: reads 8 bytes that are valid by contract.
        unsafe {
            asm!(
                "mov {word}, [{source}]",
                source = in(reg) source, word = out(reg) word,
                options(nostack, preserves_flags, readonly),
            );
        }
        word
    }

    #[inline]
    #[target_feature(enable = "avx2,sse4.2,pclmulqdq")]
    unsafe fn crc_word(register: u32, word: u64) -> u32 {
        _mm_crc32_u64(u64::from(register), word) as u32
    }

    #[inline]
    #[target_feature(enable = "avx2,sse4.2,pclmulqdq")]
    unsafe fn crc_byte(register: u32, byte: u8) -> u32 {
        _mm_crc32_u8(register, byte)
    }

    #[inline]
    #[target_feature(enable = "avx2,sse4.2,pclmulqdq")]
    unsafe fn multiply(a: u32, b: u32) -> u64 {
        let (a, b) = (_mm_cvtsi64_si128(i64::from(a)), _mm_cvtsi64_si128(i64::from(b)));
        _mm_cvtsi128_si64(_mm_clmulepi64_si128(a, b, 0)) as u64
    }
}
