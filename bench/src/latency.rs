//! How long calls took, as a histogram of three digits.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// The longest call that is told apart; no call outlives its deadline by much.
const LONGEST_NS: u64 = 60_000_000_000;

/// How long calls of one kind took. Travels between processes as the list of its values and counts.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(from = "Vec<(u64, u64)>", into = "Vec<(u64, u64)>")]
pub(crate) struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("the bounds are sensible"))
    }
}

impl Latencies {
    /// Measures a call.
    pub(crate) fn time<T>(&mut self, call: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = call();
        self.record(start.elapsed());
        result
    }

    /// Takes up one duration.
    pub(crate) fn record(&mut self, duration: Duration) {
        self.0.saturating_record(duration.as_nanos() as u64);
    }

    /// Nanoseconds within which this share of the calls ended; 0 if there was none.
    pub(crate) fn quantile_ns(&self, share: f64) -> u64 {
        if self.0.is_empty() { 0 } else { self.0.value_at_quantile(share) }
    }

    /// Seconds that all calls took together.
    pub(crate) fn total_s(&self) -> f64 {
        self.0.mean() * self.0.len() as f64 / 1e9
    }

    /// Takes up all of another.
    pub(crate) fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("both have the same bounds");
    }
}

impl From<Latencies> for Vec<(u64, u64)> {
    fn from(latencies: Latencies) -> Self {
        latencies.0.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())).collect()
    }
}

impl From<Vec<(u64, u64)>> for Latencies {
    fn from(steps: Vec<(u64, u64)>) -> Self {
        let mut latencies = Self::default();
        for (value, count) in steps {
            latencies.0.saturating_record_n(value, count);
        }
        latencies
    }
}
