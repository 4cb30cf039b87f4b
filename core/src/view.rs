//! The one module that turns mapped memory into words and bytes.
//!
//! A [`Region`] is a run of memory that other processes may map and change. It hands out atomic words (never `&u64`)
//! and raw pointers (never `&[u8]`), and only after a bounds check: an offset from shared memory is a claim, not a
//! fact. Checked under miri by the tests below.

use crate::sync::AtomicU64;
use core::marker::PhantomData;
use core::ptr::NonNull;

/// Bytes of a shared word.
pub const WORD_BYTES: usize = 8;

/// A bounds-checked run of shared memory that lives for `'m`.
#[derive(Clone, Copy, Debug)]
pub struct Region<'m> {
    base: NonNull<u8>,
    len_bytes: usize,
    memory: PhantomData<&'m AtomicU64>,
}

// SAFETY: a region gives access to atomic words and to raw pointers only; the pointers carry their own obligations.
unsafe impl Send for Region<'_> {}
// SAFETY: as above; shared references to a region permit nothing that a copy of it would not.
unsafe impl Sync for Region<'_> {}

impl<'m> Region<'m> {
    /// Views `len_bytes` bytes at `base`.
    ///
    /// # Safety
    /// For all of `'m`, the memory must be mapped readable (and writable, if words of it are stored to or bytes
    /// written), and nothing may form a Rust reference to it other than through a region.
    ///
    /// # Panics
    /// If `base` is not aligned to a word.
    pub unsafe fn new(base: NonNull<u8>, len_bytes: usize) -> Self {
        assert!(base.as_ptr().addr().is_multiple_of(WORD_BYTES), "a region starts at a word boundary");
        Self { base, len_bytes, memory: PhantomData }
    }

    /// Bytes of the region.
    pub fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    /// The words `[offset_bytes, offset_bytes + 8 × count)`, or `None` if they are misaligned or reach past the end.
    #[cfg(not(loom))]
    pub fn words(&self, offset_bytes: usize, count: usize) -> Option<&'m [AtomicU64]> {
        let end = offset_bytes.checked_add(count.checked_mul(WORD_BYTES)?)?;
        if end > self.len_bytes || !offset_bytes.is_multiple_of(WORD_BYTES) {
            return None;
        }
        // SAFETY: the range was checked against the region just above, `base` and the offset are multiples of the
        // word size, and an atomic word may be shared with writers in other processes.
        Some(unsafe {
            core::slice::from_raw_parts(self.base.as_ptr().add(offset_bytes).cast::<AtomicU64>(), count)
        })
    }

    /// A model has no mapped memory: loom's words are handed to the machines themselves, never found in a region.
    #[cfg(loom)]
    pub fn words(&self, _offset_bytes: usize, _count: usize) -> Option<&'m [AtomicU64]> {
        None
    }

    /// A pointer to the bytes `[offset_bytes, offset_bytes + len_bytes)`, or `None` if they reach past the end.
    ///
    /// What lies there may change at any time; read it only through [`crate::copy`] and verify afterwards.
    pub fn bytes(&self, offset_bytes: usize, len_bytes: usize) -> Option<NonNull<u8>> {
        let end = offset_bytes.checked_add(len_bytes)?;
        if end > self.len_bytes {
            return None;
        }
        // SAFETY: the offset is within the region, as checked just above.
        Some(unsafe { self.base.add(offset_bytes) })
    }

    /// The part `[offset_bytes, offset_bytes + len_bytes)` as a region of its own, or `None` if it is misaligned or
    /// reaches past the end.
    pub fn part(&self, offset_bytes: usize, len_bytes: usize) -> Option<Region<'m>> {
        if !offset_bytes.is_multiple_of(WORD_BYTES) {
            return None;
        }
        let base = self.bytes(offset_bytes, len_bytes)?;
        Some(Region { base, len_bytes, memory: PhantomData })
    }
}

/// Asks the processor for the line that `words` starts in, ahead of a read. Never faults.
#[inline]
pub fn prefetch(words: &[AtomicU64]) {
    prefetch_at(words.as_ptr().cast());
}

/// Asks the processor for the line at any address, mapped or not. Never faults.
#[inline]
pub fn prefetch_at(address: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(loom), not(miri)))]
    // SAFETY: a prefetch is a hint; it dereferences nothing. SSE is part of x86-64.
    unsafe {
        core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(loom), not(miri))))]
    let _ = address;
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::Ordering;
    use std::vec;

    fn with_region(test: impl FnOnce(Region<'_>)) {
        let mut memory = vec![0u64; 8];
        let base = NonNull::new(memory.as_mut_ptr().cast::<u8>()).unwrap();
        // SAFETY: the vector outlives the closure and is reached through the region only.
        test(unsafe { Region::new(base, 64) });
    }

    #[test]
    fn words_outside_the_region_are_refused() {
        with_region(|region| {
            assert!(region.words(0, 8).is_some());
            assert!(region.words(56, 1).is_some());
            assert!(region.words(64, 0).is_some());
            assert!(region.words(0, 9).is_none());
            assert!(region.words(60, 1).is_none());
            assert!(region.words(4, 1).is_none());
            assert!(region.words(usize::MAX - 7, 1).is_none());
            assert!(region.words(8, usize::MAX / 4).is_none());
            assert!(region.bytes(63, 2).is_none());
            assert!(region.bytes(usize::MAX, 2).is_none());
            assert!(region.part(4, 8).is_none());
            assert!(region.part(8, 57).is_none());
        });
    }

    #[test]
    fn a_part_sees_the_words_of_the_whole() {
        with_region(|region| {
            let part = region.part(16, 16).unwrap();
            part.words(8, 1).unwrap()[0].store(7, Ordering::Relaxed);
            assert_eq!(region.words(24, 1).unwrap()[0].load(Ordering::Relaxed), 7);
            assert!(part.words(16, 1).is_none());
        });
    }
}
