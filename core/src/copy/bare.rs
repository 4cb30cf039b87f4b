//! Machines without vector code of ours: other processors, kernels' soft-float targets, and miri.

use core::sync::atomic::{self, Ordering};

use super::kernel::Kernel;
use super::portable::PORTABLE;

/// Fastest first.
pub(super) static KERNELS: [&Kernel; 1] = [&PORTABLE];

/// Nothing streams here; the fence keeps one rule for all machines.
#[inline]
pub(super) fn fence() {
    atomic::fence(Ordering::Release);
}

/// No hint is given here.
#[inline]
pub(super) fn prefetch(_address: *const u8) {}
