//! One-pass copies that carry their checksum: the only way that payload bytes move between memories.
//!
//! Invariants:
//! - A source byte is read once; the checksum is that of the bytes stored.
//! - The result is standard CRC32C, whatever the alignment, the fragments and the machine.
//! - Streaming (non-temporal) stores are fenced before a function here returns, or a [`Copier`] ends.
//! - No reference to the memory is formed by the raw-pointer functions: another process may be writing it.
//!
//! A verified copy would read its bytes twice if it were copy-then-check; memory is the bottleneck, so summing them on
//! the way is free. `lanes` and `folding` are the two fast ways to sum, `portable` the model of both.

// Targets without SSE (soft-float kernels) must not touch vector registers, and miri interprets no assembly: they run
// the portable kernel alone, and what the fast ones share lies idle.
#![cfg_attr(
    not(any(
        all(target_arch = "x86_64", target_feature = "sse2", not(miri)),
        all(target_arch = "aarch64", target_os = "linux", target_endian = "little", not(miri)),
    )),
    allow(dead_code)
)]

mod copier;
mod fragment;
mod kernel;
mod lanes;
mod mode;
mod portable;
mod span;

#[cfg(all(target_arch = "x86_64", target_feature = "sse2", not(miri)))]
mod folding;
#[cfg(all(target_arch = "x86_64", target_feature = "sse2", not(miri)))]
mod ymm;
#[cfg(all(target_arch = "x86_64", target_feature = "sse2", not(miri)))]
mod zmm;

#[cfg_attr(all(target_arch = "x86_64", target_feature = "sse2", not(miri)), path = "x86.rs")]
#[cfg_attr(
    all(target_arch = "aarch64", target_os = "linux", target_endian = "little", not(miri)),
    path = "aarch64.rs"
)]
#[cfg_attr(
    not(any(
        all(target_arch = "x86_64", target_feature = "sse2", not(miri)),
        all(target_arch = "aarch64", target_os = "linux", target_endian = "little", not(miri)),
    )),
    path = "bare.rs"
)]
mod machine;

pub use copier::{Copier, STREAM_FROM_BYTES};
pub use fragment::Fragment;
pub use kernel::Kernel;

use core::ptr;

use crate::checksum::Crc32c;
use span::Span;

/// Copies `len` bytes and returns the checksum of what `checksum` covers followed by them.
///
/// When it returns, the bytes are ordered before every later store of this thread: a commit or an unpin may follow.
///
/// # Safety
///
/// `source` is valid for reads and `target` for writes of `len` bytes, at any alignment; they do not overlap. Other
/// processes may change either meanwhile (then the checksum tells); other threads of this one must not.
pub unsafe fn copy(target: *mut u8, source: *const u8, len: usize, checksum: Crc32c) -> Crc32c {
    let mut copier = Copier::new(len, checksum);
    // SAFETY: the contract is the same.
    unsafe { copier.copy(target, source, len) };
    copier.finish()
}

/// [`copy()`] between slices, which nobody else may be writing.
///
/// ```
/// use cascade_core::{checksum::Crc32c, copy};
///
/// let mut target = [0; 9];
/// let checksum = copy::copy_slice(&mut target, b"123456789", Crc32c::EMPTY);
/// assert_eq!(&target, b"123456789");
/// assert_eq!(checksum.value(), 0xe306_9283);
/// ```
///
/// # Panics
///
/// If the lengths differ.
pub fn copy_slice(target: &mut [u8], source: &[u8], checksum: Crc32c) -> Crc32c {
    let mut copier = Copier::new(source.len(), checksum);
    copier.copy_slice(target, source);
    copier.finish()
}

/// The checksum of what `checksum` covers followed by `len` bytes, where they lie: for pieces filled in place.
///
/// # Safety
///
/// `source` is valid for reads of `len` bytes, at any alignment. Other processes may change it meanwhile (then the
/// checksum tells); other threads of this one must not.
pub unsafe fn checksum(source: *const u8, len: usize, checksum: Crc32c) -> Crc32c {
    // SAFETY: the contract is the same; the best kernel runs here.
    unsafe { checksum_with(Kernel::best(), source, len, checksum) }
}

/// [`checksum()`] of a slice: [`Crc32c::update`] at the speed of memory.
pub fn checksum_slice(source: &[u8], checksum: Crc32c) -> Crc32c {
    // SAFETY: a slice is valid for reads of its length.
    unsafe { self::checksum(source.as_ptr(), source.len(), checksum) }
}

/// [`checksum()`] with a kernel of the caller's choice, for tests and benchmarks.
///
/// # Safety
///
/// As for [`checksum()`].
pub unsafe fn checksum_with(
    kernel: &'static Kernel,
    source: *const u8,
    len: usize,
    checksum: Crc32c,
) -> Crc32c {
    let span = Span { target: ptr::null_mut(), source, len, lead_bytes: 0 };
    // SAFETY: the caller vouches for the source; the pass stores nothing.
    Crc32c::from_register(unsafe { (kernel.in_place)(span, checksum.register()) })
}
