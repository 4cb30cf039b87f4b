//! Until when a call may wait: a point of CLOCK_MONOTONIC, the same for client and node.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// The end of a caller's patience. Copied into batches, retries and requests: they share what is left.
///
/// ```
/// use cascade_client::Deadline;
/// use std::time::Duration;
/// assert!(Deadline::NOW.has_passed());
/// assert!(!Deadline::after(Duration::from_secs(60)).has_passed());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(u64);

impl Deadline {
    /// Has always passed: do what can be done without waiting.
    pub const NOW: Deadline = Deadline(0);

    /// `patience` from now.
    #[doc(alias = "timeout")]
    pub fn after(patience: Duration) -> Self {
        Self(now_ns().saturating_add(patience.as_nanos().try_into().unwrap_or(u64::MAX)))
    }

    /// Nanoseconds of CLOCK_MONOTONIC, as requests carry them.
    pub const fn as_ns(self) -> u64 {
        self.0
    }

    /// Whether nothing may wait any longer.
    pub fn has_passed(self) -> bool {
        self.left().is_zero()
    }

    /// A moment before: for what another process gives up on our behalf, and must still tell us.
    pub(crate) fn a_little_earlier(self) -> Self {
        let left = self.left();
        let moment = Duration::from_millis(10).min(left / 4);
        Self(self.0.saturating_sub(moment.as_nanos() as u64))
    }

    /// What is left of it.
    pub fn left(self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(now_ns()))
    }
}

/// Nanoseconds of CLOCK_MONOTONIC.
pub(crate) fn now_ns() -> u64 {
    nanoseconds(ClockId::Monotonic)
}

/// The same clock, a few milliseconds behind and cheaper: for what is done now and then.
pub(crate) fn coarse_now_ns() -> u64 {
    nanoseconds(ClockId::MonotonicCoarse)
}

fn nanoseconds(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    // Neither field of this clock is ever negative.
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
