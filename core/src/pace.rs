//! The pace of a tier: how fast it has been lately, and so how long it will take.
//!
//! Bytes over the time in which something was under way, and the latency of what found nothing else there; of both the
//! recent past counts most. A tier that is too slow is not asked, and so is not measured either: what was measured loses half of
//! its weight with each [`FORGET_NS`] that pass without a measurement, and it gets another chance. Invariant: with nothing
//! measured the answer is "at once", so a tier that nobody knows is tried.

use crate::flow::NowNs;

/// Busy time after which what was measured before counts half.
const WINDOW_NS: u64 = 2_000_000_000;
/// Time without a measurement after which an estimate is halved, again and again.
pub const FORGET_NS: u64 = 5_000_000_000;
/// The weight of a new latency, as a divisor.
const LATENCY_WEIGHT: u64 = 8;

/// How fast transfers of one direction are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    under_way: u64,
    under_way_bytes: u64,
    /// When the last operation ended, or when the first of these began.
    marked_ns: NowNs,
    moved_bytes: u64,
    busy_ns: u64,
    latency_ns: u64,
    measured_ns: NowNs,
}

impl Pace {
    /// Nothing is known.
    pub fn new() -> Self {
        Self::default()
    }

    /// A transfer goes out. Whether it is alone is to be told at its end.
    pub fn began(&mut self, now: NowNs, bytes: u64) -> bool {
        let is_alone = self.under_way == 0;
        if is_alone {
            self.marked_ns = now;
        }
        self.under_way += 1;
        self.under_way_bytes += bytes;
        is_alone
    }

    /// It ended: `moved` if it did what it should, and so measures something.
    ///
    /// # Panics
    /// If none is under way.
    pub fn ended(&mut self, now: NowNs, began_ns: NowNs, bytes: u64, was_alone: bool, moved: bool) {
        assert!(self.under_way > 0, "what ends has begun");
        self.under_way -= 1;
        self.under_way_bytes -= bytes;
        let passed_ns = now.saturating_sub(self.marked_ns);
        self.marked_ns = now;
        if !moved {
            return;
        }
        self.moved_bytes += bytes;
        self.busy_ns += passed_ns;
        if self.busy_ns > WINDOW_NS {
            // All of a long wait counts, so that one slow transfer after many fast ones is seen at once.
            let halvings = (self.busy_ns / WINDOW_NS).ilog2() + 1;
            (self.moved_bytes, self.busy_ns) = (self.moved_bytes >> halvings, self.busy_ns >> halvings);
        }
        if was_alone {
            let latency_ns = now.saturating_sub(began_ns);
            self.latency_ns = match self.latency_ns {
                0 => latency_ns,
                before => before - before / LATENCY_WEIGHT + latency_ns / LATENCY_WEIGHT,
            };
        }
        self.measured_ns = now;
    }

    /// Bytes a second, or `None` before anything was measured.
    pub fn bytes_per_s(&self) -> Option<u64> {
        (self.busy_ns > 0 && self.moved_bytes > 0)
            .then(|| (u128::from(self.moved_bytes) * 1_000_000_000 / u128::from(self.busy_ns)) as u64)
    }

    /// The latency of a transfer that finds nothing else under way, in nanoseconds; 0 before one was measured.
    pub fn latency_ns(&self) -> u64 {
        self.latency_ns
    }

    /// Bytes of what is under way.
    pub fn under_way_bytes(&self) -> u64 {
        self.under_way_bytes
    }

    /// How long until `bytes` more are done, after what is under way, in nanoseconds.
    pub fn estimate_ns(&self, now: NowNs, bytes: u64) -> u64 {
        let Some(bytes_per_s) = self.bytes_per_s() else { return 0 };
        let ahead = u128::from(self.under_way_bytes) + u128::from(bytes);
        let transfer_ns = ahead * 1_000_000_000 / u128::from(bytes_per_s.max(1));
        // The latency is part of what was measured, but a short transfer is mostly latency.
        let estimate_ns = u64::try_from(transfer_ns).unwrap_or(u64::MAX).max(self.latency_ns);
        let forgotten = now.saturating_sub(self.measured_ns) / FORGET_NS;
        estimate_ns.checked_shr(forgotten.min(64) as u32).unwrap_or(0)
    }

    /// How many bytes, after what is under way, will be done within `span_ns`; without a measurement, all that there are.
    pub fn bytes_within(&self, now: NowNs, span_ns: u64) -> u64 {
        let Some(bytes_per_s) = self.bytes_per_s() else { return u64::MAX };
        let forgotten = (now.saturating_sub(self.measured_ns) / FORGET_NS).min(63) as u32;
        let span_ns = u128::from(span_ns) << forgotten;
        if span_ns < u128::from(self.latency_ns) {
            return 0;
        }
        let bytes = u64::try_from(span_ns * u128::from(bytes_per_s) / 1_000_000_000).unwrap_or(u64::MAX);
        bytes.saturating_sub(self.under_way_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// One transfer after the other, each of 1 MB in 10 ms, up to `now`.
    fn steady(pace: &mut Pace, start: NowNs, transfers: u64) -> NowNs {
        (0..transfers).fold(start, |now, _| {
            let alone = pace.began(now, 1_000_000);
            pace.ended(now + 10 * MS, now, 1_000_000, alone, true);
            now + 10 * MS
        })
    }

    #[test]
    fn a_tier_that_nobody_knows_is_tried() {
        let pace = Pace::new();
        assert_eq!((pace.estimate_ns(0, u64::MAX), pace.bytes_within(0, 1)), (0, u64::MAX));
    }

    #[test]
    fn an_estimate_is_what_was_measured_and_counts_what_is_under_way() {
        let mut pace = Pace::new();
        let now = steady(&mut pace, 5, 100);
        assert_eq!(pace.bytes_per_s(), Some(100_000_000));
        assert_eq!(pace.estimate_ns(now, 2_000_000), 20 * MS);
        assert_eq!(pace.bytes_within(now, 20 * MS), 2_000_000);
        pace.began(now, 3_000_000);
        assert_eq!(pace.estimate_ns(now, 2_000_000), 50 * MS);
        assert_eq!(pace.bytes_within(now, 20 * MS), 0);
        assert_eq!(pace.estimate_ns(now, 0), 30 * MS);
    }

    #[test]
    fn many_at_once_are_faster_than_each_of_them() {
        let mut pace = Pace::new();
        for transfer in 0..8 {
            assert_eq!(pace.began(0, 1_000_000), transfer == 0);
        }
        for transfer in 0..8 {
            pace.ended(10 * MS, 0, 1_000_000, transfer == 0, true);
        }
        assert_eq!(pace.bytes_per_s(), Some(800_000_000));
    }

    #[test]
    fn one_slow_transfer_after_many_fast_ones_is_seen_at_once() {
        let mut pace = Pace::new();
        let now = steady(&mut pace, 0, 500);
        let alone = pace.began(now, 1_000_000);
        pace.ended(now + 20_000 * MS, now, 1_000_000, alone, true);
        let slow = pace.bytes_per_s().expect("measured");
        assert!(slow < 20_000_000, "{slow} bytes a second of 50 KB a second at the end");
    }

    #[test]
    fn a_tier_that_was_too_slow_gets_another_chance() {
        let mut pace = Pace::new();
        let alone = pace.began(0, 1_000_000);
        pace.ended(1_000 * MS, 0, 1_000_000, alone, true);
        let now = 1_000 * MS;
        assert_eq!(pace.estimate_ns(now, 1_000_000), 1_000 * MS);
        assert_eq!(pace.estimate_ns(now + 3 * FORGET_NS, 1_000_000), 125 * MS);
        assert_eq!(pace.bytes_within(now + 3 * FORGET_NS, 125 * MS), 1_000_000);
        assert_eq!(pace.estimate_ns(now + 500 * FORGET_NS, 1_000_000), 0);
    }

    #[test]
    fn what_failed_measures_nothing() {
        let mut pace = Pace::new();
        let alone = pace.began(0, 1);
        pace.ended(1, 0, 1, alone, false);
        assert_eq!(pace.bytes_per_s(), None);
        assert_eq!(pace.under_way_bytes(), 0);
    }
}
