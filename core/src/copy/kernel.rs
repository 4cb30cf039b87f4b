//! The implementations of a pass, and which of them this machine runs.
//!
//! Invariant: every kernel gives the same bytes and the same register for the same input; only speed differs. Chosen
//! once per process by what the processor and the operating system offer, never by how the crate was compiled.
//! *Pinned by core/tests/copy_kernels.rs, which runs each of them.*

use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering};

use super::machine;
use super::mode::{Cached, InPlace, Mode, Plain, Streaming};
use super::span::Span;

/// One pass: reads the bytes of the span once, stores them at its target if the mode says so, and returns the checksum
/// register advanced over them.
///
/// # Safety
///
/// The processor has the kernel's instructions. The source is valid for reads of `len` bytes and, in modes that store,
/// the target for writes of `len` bytes; the two do not overlap.
pub(super) type Pass = unsafe fn(span: Span, register: u32) -> u32;

/// One way to run a pass, for each mode.
///
/// Callers of [`copy`](super::copy()) never need it: they get the best. Tests and benchmarks name one.
pub struct Kernel {
    name: &'static str,
    runs_here: fn() -> bool,
    pub(super) cached: Pass,
    pub(super) streaming: Pass,
    pub(super) in_place: Pass,
    pub(super) plain: Pass,
}

/// Index into [`machine::KERNELS`] plus one; zero until decided.
///
/// Not from `sync`: the value is the same whoever computes it, and nothing is published through it, so there is no
/// order for loom to explore.
static BEST: AtomicUsize = AtomicUsize::new(0);

impl Kernel {
    /// A kernel with every pass of `P`.
    pub(super) const fn new<P: Passes>(name: &'static str, runs_here: fn() -> bool) -> Self {
        Self {
            name,
            runs_here,
            cached: P::pass::<Cached>,
            streaming: P::pass::<Streaming>,
            in_place: P::pass::<InPlace>,
            plain: P::pass::<Plain>,
        }
    }

    /// The fastest kernel that runs on this machine. Decided on the first call.
    pub fn best() -> &'static Self {
        match BEST.load(Ordering::Relaxed) {
            0 => Self::decide(),
            chosen => machine::KERNELS[chosen - 1],
        }
    }

    /// Every kernel that runs on this machine, fastest first; the last is the portable one.
    pub fn available() -> impl Iterator<Item = &'static Self> {
        machine::KERNELS.iter().copied().filter(|kernel| (kernel.runs_here)())
    }

    /// `"folding-zmm"`, `"folding-ymm"`, `"lanes"` or `"portable"`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    #[cold]
    fn decide() -> &'static Self {
        let index = machine::KERNELS
            .iter()
            .position(|kernel| (kernel.runs_here)())
            .expect("the portable kernel runs everywhere");
        BEST.store(index + 1, Ordering::Relaxed);
        machine::KERNELS[index]
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kernel").field(&self.name).finish()
    }
}

/// A pass for every mode: what a kernel module implements.
pub(super) trait Passes {
    /// See [`Pass`].
    ///
    /// # Safety
    ///
    /// As for [`Pass`].
    unsafe fn pass<M: Mode>(span: Span, register: u32) -> u32;
}
