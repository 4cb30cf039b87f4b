//! What x86-64 offers: the CRC32C instruction of SSE 4.2, and on newer processors folding in 512-bit registers.
//!
//! Streaming stores are weakly ordered here: without `sfence`, another core may see the commit before the bytes
//! (measured: 731 torn publications of 200,000).

use core::arch::asm;
use core::arch::x86_64::{
    __cpuid, __cpuid_count, _mm_clmulepi64_si128, _mm_crc32_u8, _mm_crc32_u64, _mm_cvtsi64_si128, _mm_cvtsi128_si64,
};

use super::folding::FOLDING;
use super::kernel::{Kernel, Passes};
use super::lanes::{self, Isa};
use super::mode::Mode;
use super::portable::PORTABLE;
use super::span::Span;

/// Fastest first.
pub(super) static KERNELS: [&Kernel; 3] = [&FOLDING, &LANES, &PORTABLE];

static LANES: Kernel = Kernel::new::<Lanes>("lanes", || Features::read().lanes);

/// Orders earlier streaming stores before every later store.
#[inline]
pub(super) fn fence() {
    // SAFETY: touches no memory of ours; the compiler may not move memory accesses across it, as `nomem` is absent.
    unsafe { asm!("sfence", options(nostack, preserves_flags)) };
}

/// What the processor has and the operating system preserves.
pub(super) struct Features {
    /// SSE 4.2 and PCLMULQDQ.
    pub(super) lanes: bool,
    /// AVX-512 F, VL, BW and VPCLMULQDQ, beside what `lanes` says.
    pub(super) folding: bool,
}

impl Features {
    pub(super) fn read() -> Self {
        let all = |register: u32, bits: &[u32]| bits.iter().all(|bit| register >> bit & 1 == 1);
        let basic = __cpuid(1).ecx;
        let lanes = all(basic, &[1, 20]);
        // Leaf 7 exists wherever XSAVE (26, 27) and AVX (28) do and the highest leaf says so.
        let folding = lanes && all(basic, &[26, 27, 28]) && __cpuid(0).eax >= 7 && {
            let extended = __cpuid_count(7, 0);
            all(extended.ebx, &[16, 30, 31]) && all(extended.ecx, &[10]) && {
                // XMM, YMM, and the three parts of the 512-bit state.
                let preserved = 0b1110_0110;
                enabled_state() & preserved == preserved
            }
        };
        Self { lanes, folding }
    }
}

/// The low half of XCR0: which register state the operating system saves.
fn enabled_state() -> u32 {
    let low: u32;
    // SAFETY: called only where CPUID says OSXSAVE, which makes the instruction legal in user space.
    unsafe { asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") _, options(nomem, nostack, preserves_flags)) };
    low
}

struct Lanes;

impl Passes for Lanes {
    #[target_feature(enable = "sse4.2,pclmulqdq")]
    unsafe fn pass<M: Mode>(span: Span, register: u32) -> u32 {
        // SAFETY: the contract of `Pass` is ours.
        unsafe { lanes::pass::<Sse42, M>(span, register) }
    }
}

/// SSE 4.2 with PCLMULQDQ.
pub(super) struct Sse42;

// SAFETY (all blocks): memory and instructions are vouched for by the contract of `Isa`.
impl Isa for Sse42 {
    #[inline(always)]
    unsafe fn load_pair<const AT: usize>(source: *const u8) -> [u64; 2] {
        let (low, high): (u64, u64);
        // SAFETY: reads 16 bytes that are valid by contract.
        unsafe {
            asm!(
                "mov {low}, [{source} + {at}]",
                "mov {high}, [{source} + {at} + 8]",
                source = in(reg) source, at = const AT, low = out(reg) low, high = lateout(reg) high,
                options(nostack, preserves_flags, readonly),
            );
        }
        [low, high]
    }

    #[inline(always)]
    unsafe fn store_pair<const AT: usize>(target: *mut u8, pair: [u64; 2]) {
        // SAFETY: writes 16 bytes that are valid by contract; the write may be unaligned.
        unsafe { target.add(AT).cast::<[u64; 2]>().write_unaligned(pair) };
    }

    #[inline(always)]
    unsafe fn stream_pair<const AT: usize>(target: *mut u8, [low, high]: [u64; 2]) {
        // SAFETY: writes 16 bytes that are valid by contract; `Copier` fences.
        unsafe {
            asm!(
                "movnti [{target} + {at}], {low}",
                "movnti [{target} + {at} + 8], {high}",
                target = in(reg) target, at = const AT, low = in(reg) low, high = in(reg) high,
                options(nostack, preserves_flags),
            );
        }
    }

    #[inline(always)]
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

    #[inline(always)]
    unsafe fn crc_word(register: u32, word: u64) -> u32 {
        // SAFETY: SSE 4.2 is there by contract.
        unsafe { _mm_crc32_u64(u64::from(register), word) as u32 }
    }

    #[inline(always)]
    unsafe fn crc_byte(register: u32, byte: u8) -> u32 {
        // SAFETY: SSE 4.2 is there by contract.
        unsafe { _mm_crc32_u8(register, byte) }
    }

    #[inline(always)]
    unsafe fn multiply(a: u32, b: u32) -> u64 {
        // SAFETY: PCLMULQDQ is there by contract.
        unsafe {
            let (a, b) = (_mm_cvtsi64_si128(i64::from(a)), _mm_cvtsi64_si128(i64::from(b)));
            _mm_cvtsi128_si64(_mm_clmulepi64_si128(a, b, 0)) as u64
        }
    }
}
