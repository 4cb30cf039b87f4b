//! A transfer of several fragments, with one checksum over all of them and one fence behind them.

use super::fragment::Fragment;
use super::kernel::{Kernel, Pass};
use super::machine;
use super::span::Span;
use crate::checksum::Crc32c;

/// Transfers of at least this many bytes go past the caches.
///
/// Below, whoever asked for the bytes soon reads them, and into a buffer in use a cached copy takes half the time
/// (measured on Zen 4: 110 ns instead of 300 for 4 KiB, 1.2 µs instead of 2.5 for 63 KiB).
pub const STREAM_FROM_BYTES: usize = 64 << 10;

/// Copies fragments in order, as one transfer.
///
/// Fragments may be cut differently on each side: an engine's block is a fragment per layer there and contiguous
/// here. The checksum is that of the bytes in the order copied.
///
/// A copier orders its stores before whatever follows its end, be that [`finish`](Self::finish) or a drop on an error
/// path: whoever commits or unpins afterwards publishes complete bytes. Finish it first, then commit.
/// *Pinned by core/tests/copy_fragments.rs.*
///
/// ```
/// use cascade_core::checksum::Crc32c;
/// use cascade_core::copy::Copier;
///
/// let layers = [b"every ".as_slice(), b"layer ".as_slice(), b"in turn".as_slice()];
/// let mut block = [0; 19];
/// let mut copier = Copier::new(block.len(), Crc32c::EMPTY);
/// let mut rest = block.as_mut_slice();
/// for layer in layers {
///     let (target, behind) = rest.split_at_mut(layer.len());
///     copier.copy_slice(target, layer);
///     rest = behind;
/// }
/// let checksum = copier.finish();
/// assert_eq!(&block, b"every layer in turn");
/// assert_eq!(checksum, Crc32c::EMPTY.update(&block));
/// ```
#[derive(Debug)]
#[must_use = "finish the copier: the checksum is what the transfer is verified by"]
pub struct Copier {
    pass: Pass,
    streams: bool,
    register: u32,
}

impl Copier {
    /// A transfer of `total_bytes` in all, whose checksum goes on from `checksum` (often that of a header).
    ///
    /// `total_bytes` decides how bytes are stored and bounds nothing.
    pub fn new(total_bytes: usize, checksum: Crc32c) -> Self {
        Self::with_kernel(Kernel::best(), total_bytes, checksum)
    }

    /// [`new`](Self::new) with a kernel of the caller's choice, for tests and benchmarks.
    pub fn with_kernel(kernel: &'static Kernel, total_bytes: usize, checksum: Crc32c) -> Self {
        let streams = total_bytes >= STREAM_FROM_BYTES;
        let pass = if streams { kernel.streaming } else { kernel.cached };
        Self { pass, streams, register: checksum.register() }
    }

    /// A transfer past the caches that sums nothing: its checksum is [`Crc32c::EMPTY`].
    ///
    /// The yardstick of benchmarks. Payloads are copied with their checksum.
    pub fn unverified(kernel: &'static Kernel) -> Self {
        Self { pass: kernel.plain, streams: true, register: Crc32c::EMPTY.register() }
    }

    /// Copies `len` bytes and adds them to the checksum. Each byte is read once, so the checksum is that of the bytes
    /// stored, whatever other processes do to the source meanwhile.
    ///
    /// The bytes may not be visible to other cores before the copier ends.
    ///
    /// # Safety
    ///
    /// `source` is valid for reads and `target` for writes of `len` bytes, at any alignment; they do not overlap.
    /// Other processes may change either meanwhile; other threads of this one must not.
    pub unsafe fn copy(&mut self, target: *mut u8, source: *const u8, len: usize) {
        // SAFETY: the contract is the same.
        unsafe { self.copy_beside(Fragment { target, source, len }, 0) };
    }

    /// [`copy`](Self::copy) of each fragment in turn. Faster than one call for each, as the next fragment is called for
    /// from memory while one is copied.
    ///
    /// # Safety
    ///
    /// As for `copy`, of each fragment.
    pub unsafe fn copy_fragments(&mut self, fragments: impl IntoIterator<Item = Fragment>) {
        let mut fragments = fragments.into_iter().peekable();
        while let Some(fragment) = fragments.next() {
            let lead_bytes = fragments.peek().map_or(0, |next| fragment.lead_bytes_to(next));
            // SAFETY: the contract is the same.
            unsafe { self.copy_beside(fragment, lead_bytes) };
        }
    }

    /// Copies a fragment while calling for what lies `lead_bytes` beyond its source.
    ///
    /// # Safety
    ///
    /// As for `copy`.
    unsafe fn copy_beside(&mut self, Fragment { target, source, len }: Fragment, lead_bytes: usize) {
        let span = Span { target, source, len, lead_bytes };
        // SAFETY: the pass belongs to a kernel that runs here; the memory is vouched for by the caller.
        self.register = unsafe { (self.pass)(span, self.register) };
    }

    /// [`copy`](Self::copy) between slices, which nobody else may be writing.
    ///
    /// # Panics
    ///
    /// If the lengths differ.
    pub fn copy_slice(&mut self, target: &mut [u8], source: &[u8]) {
        assert_eq!(target.len(), source.len(), "a copy has one length");
        // SAFETY: both are slices of that length, and a mutable slice overlaps no other.
        unsafe { self.copy(target.as_mut_ptr(), source.as_ptr(), source.len()) };
    }

    /// Ends the transfer: every store is ordered before what follows, and the checksum is that of all the bytes.
    pub fn finish(self) -> Crc32c {
        Crc32c::from_register(self.register)
        // Dropping `self` fences.
    }
}

impl Drop for Copier {
    fn drop(&mut self) {
        if self.streams {
            machine::fence();
        }
    }
}
