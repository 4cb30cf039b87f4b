//! The one door to atomics: `core`'s, or loom's when a model runs (`--cfg loom`).
//!
//! Nothing else in the crate names `core::sync::atomic`, so a model sees every shared word.

#[cfg(not(loom))]
pub use core::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(loom)]
pub use loom::sync::atomic::{AtomicU64, Ordering, fence};

/// Words of zeroes, for tests and models that need shared memory without a mapping.
pub fn zeroed_words(count: usize) -> alloc::vec::Vec<AtomicU64> {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}
