//! The clock of deadlines: the host and its tiers read the same one.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of the machine's monotonic clock. The same in every process of a boot.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
