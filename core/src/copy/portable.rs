//! The kernel that runs anywhere: words and tables. Also what miri and targets without vector registers run.

use core::ptr;

use super::kernel::{Kernel, Passes};
use super::mode::{Mode, Stores};
use super::span::Span;
use crate::checksum::{step_byte, step_word};

/// Eight bytes at a time through slice-by-8 tables; every machine has it.
pub(super) static PORTABLE: Kernel = Kernel::new::<Portable>("portable", || true);

struct Portable;

impl Passes for Portable {
    unsafe fn pass<M: Mode>(Span { target, source, len, .. }: Span, mut register: u32) -> u32 {
        // Volatile reads must be aligned, so the source decides where words begin.
        let head = (source.addr().wrapping_neg() % size_of::<u64>()).min(len);
        let words = (len - head) / size_of::<u64>();
        let tail = head + words * size_of::<u64>();
        for at in 0..head {
            // SAFETY: `at < len`, for which the caller vouches.
            register = unsafe { byte::<M>(target, source, at, register) };
        }
        for at in (head..tail).step_by(size_of::<u64>()) {
            // SAFETY: `at + 8 <= len`, and `source + at` is a multiple of 8 from `head` on.
            register = unsafe { word::<M>(target, source, at, register) };
        }
        for at in tail..len {
            // SAFETY: `at < len`, for which the caller vouches.
            register = unsafe { byte::<M>(target, source, at, register) };
        }
        register
    }
}

/// # Safety
///
/// `source` is valid for a read at `at`, and `target` for a write there if `M` stores.
unsafe fn byte<M: Mode>(target: *mut u8, source: *const u8, at: usize, register: u32) -> u32 {
    // SAFETY: valid by contract. Volatile, since another process may change the byte: it is read once, so what is
    // summed is what is stored.
    let value = unsafe { ptr::read_volatile(source.add(at)) };
    if M::STORES != Stores::Nowhere {
        // SAFETY: valid by contract; `M` stores.
        unsafe { ptr::write(target.add(at), value) };
    }
    if M::CHECKS { step_byte(register, value) } else { register }
}

/// # Safety
///
/// `source` is valid for an aligned read of 8 bytes at `at`, and `target` for a write there if `M` stores.
unsafe fn word<M: Mode>(target: *mut u8, source: *const u8, at: usize, register: u32) -> u32 {
    // SAFETY: valid and aligned by contract. Volatile for the reason in `byte`.
    let value = unsafe { ptr::read_volatile(source.add(at).cast::<u64>()) };
    if M::STORES != Stores::Nowhere {
        // SAFETY: valid by contract, `M` stores, and the write may be unaligned.
        unsafe { ptr::write_unaligned(target.add(at).cast::<u64>(), value) };
    }
    if M::CHECKS { step_word(register, u64::from_le(value)) } else { register }
}
