//! What aarch64 offers: the CRC32C instructions and PMULL. Little-endian Linux only.
//!
//! `stnp` is ordered by a release store like any other store; the fence costs little beside a copy and keeps one rule
//! for all machines.

use core::arch::aarch64::{__crc32cb, __crc32cd, vmull_p64};
use core::arch::asm;
use core::sync::atomic::{self, Ordering};

use super::kernel::{Kernel, Passes};
use super::lanes::{self, Isa};
use super::mode::Mode;
use super::portable::PORTABLE;
use super::span::Span;

/// Fastest first.
pub(super) static KERNELS: [&Kernel; 2] = [&LANES, &PORTABLE];

static LANES: Kernel = Kernel::new::<Lanes>("lanes", processor_has_lanes);

/// Orders earlier streaming stores before every later store.
#[inline]
pub(super) fn fence() {
    atomic::fence(Ordering::Release);
}

/// Asks for the line at `address`. A hint: no access, no fault, whatever the address.
#[inline]
pub(super) fn prefetch(address: *const u8) {
    // SAFETY: a prefetch accesses no memory as far as the program can tell.
    unsafe { asm!("prfm pldl1keep, [{}]", in(reg) address, options(nostack, preserves_flags, readonly)) };
}

/// Whether the processor has CRC32 and PMULL.
///
/// Linux answers the read of the identification register on behalf of user space, since 4.11.
fn processor_has_lanes() -> bool {
    let features: u64;
    // SAFETY: reads a register that Linux emulates for user space, and touches no memory.
    unsafe { asm!("mrs {}, ID_AA64ISAR0_EL1", out(reg) features, options(nomem, nostack, preserves_flags)) };
    let field = |low: u32| features >> low & 0xf;
    let (aes, crc32) = (field(4), field(16));
    // Two in the AES field says that PMULL is there too.
    crc32 >= 1 && aes >= 2
}

struct Lanes;

impl Passes for Lanes {
    #[target_feature(enable = "crc,neon,aes")]
    unsafe fn pass<M: Mode>(span: Span, register: u32) -> u32 {
        // SAFETY: the contract of `Pass` is ours.
        unsafe { lanes::pass::<Armv8, M>(span, register) }
    }
}

/// The CRC32 extension with PMULL.
struct Armv8;

impl Isa for Armv8 {
    type Chunk = [u64; 4];

    #[inline]
    #[target_feature(enable = "crc,neon,aes")]
    unsafe fn load<const AT: usize>(source: *const u8) -> [u64; 4] {
        let (a, b, c, d);
        // SAFETY: reads 32 bytes that are valid by contract.
        unsafe {
            asm!(
                "ldp {a}, {b}, [{source}, #{at}]",
                "ldp {c}, {d}, [{source}, #{at} + 16]",
                source = in(reg) source, at = const AT,
                a = out(reg) a, b = out(reg) b, c = lateout(reg) c, d = lateout(reg) d,
                options(nostack, preserves_flags, readonly),
            );
        }
        [a, b, c, d]
    }

    #[inline]
    #[target_feature(enable = "crc,neon,aes")]
    unsafe fn store<const AT: usize>(target: *mut u8, chunk: [u64; 4]) {
        // SAFETY: writes 32 bytes that are valid by contract; the write may be unaligned.
        unsafe { target.add(AT).cast::<[u64; 4]>().write_unaligned(chunk) };
    }

    #[inline]
    #[target_feature(enable = "crc,neon,aes")]
    unsafe fn stream<const AT: usize>(target: *mut u8, [a, b, c, d]: [u64; 4]) {
        // SAFETY: writes 32 bytes that are valid by contract; `Copier` fences.
        unsafe {
            asm!(
                "stnp {a}, {b}, [{target}, #{at}]",
                "stnp {c}, {d}, [{target}, #{at} + 16]",
                target = in(reg) target, at = const AT, a = in(reg) a, b = in(reg) b, c = in(reg) c, d = in(reg) d,
                options(nostack, preserves_flags),
            );
        }
    }

    #[inline]
    #[target_feature(enable = "crc,neon,aes")]
    unsafe fn words(chunk: [u64; 4]) -> [u64; 4] {
        chunk
    }

    #[inline]
    #[target_feature(enable = "crc,neon,aes")]
    unsafe fn load_word(source: *const u8) -> u64 {
        let word;
        // SAFETY: reads 8 bytes that are valid by contract.
        unsafe {
            asm!(
                "ldr {word}, [{source}]",
                source = in(reg) source, word = out(reg) word,
                options(nostack, preserves_flags, readonly),
            );
        }
        word
    }

    #[inline]
    #[target_feature(enable = "crc,neon,aes")]
    unsafe fn crc_word(register: u32, word: u64) -> u32 {
        __crc32cd(register, word)
    }

    #[inline]
    #[target_feature(enable = "crc,neon,aes")]
    unsafe fn crc_byte(register: u32, byte: u8) -> u32 {
        __crc32cb(register, byte)
    }

    #[inline]
    #[target_feature(enable = "crc,neon,aes")]
    unsafe fn multiply(a: u32, b: u32) -> u64 {
        // The product of two 32-bit factors fits the low half.
        vmull_p64(u64::from(a), u64::from(b)) as u64
    }
}
