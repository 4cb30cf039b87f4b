//! What a client of a replay counts, and the sum over all of them.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// The longest call that is told apart; no call outlives its deadline by much.
const LONGEST_NS: u64 = 60_000_000_000;

/// Counts of one client, or of several.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub(crate) requests: u64,
    /// Blocks of the requests, and those that hit: verified, with all blocks before them.
    pub(crate) blocks: u64,
    pub(crate) hit_blocks: u64,
    /// Tokens of the prompts, and those in the blocks that hit.
    pub(crate) tokens: u64,
    pub(crate) hit_tokens: u64,
    /// Pieces put, and those that were there already or found no room.
    pub(crate) puts: u64,
    pub(crate) puts_present: u64,
    pub(crate) puts_refused: u64,
    /// Pieces that did not match their checksum, and never reached the comparison.
    pub(crate) corrupt_pieces: u64,
    /// Bytes that were not those that were put.
    pub(crate) wrong_bytes: u64,
    pub(crate) bytes_out: u64,
    pub(crate) bytes_in: u64,
    pub(crate) matches: Latencies,
    pub(crate) gets: Latencies,
    pub(crate) stores: Latencies,
    pub(crate) publishes: Latencies,
}

impl Tally {
    /// Adds what another client counted.
    pub(crate) fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.blocks += other.blocks;
        self.hit_blocks += other.hit_blocks;
        self.tokens += other.tokens;
        self.hit_tokens += other.hit_tokens;
        self.puts += other.puts;
        self.puts_present += other.puts_present;
        self.puts_refused += other.puts_refused;
        self.corrupt_pieces += other.corrupt_pieces;
        self.wrong_bytes += other.wrong_bytes;
        self.bytes_out += other.bytes_out;
        self.bytes_in += other.bytes_in;
        self.matches.add(&other.matches);
        self.gets.add(&other.gets);
        self.stores.add(&other.stores);
        self.publishes.add(&other.publishes);
    }
}

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

    fn add(&mut self, other: &Self) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(nanoseconds: &[u64]) -> Tally {
        let mut tally = Tally { requests: 1, bytes_in: 10, ..Tally::default() };
        nanoseconds.iter().for_each(|&ns| tally.gets.record(Duration::from_nanos(ns)));
        tally
    }

    #[test]
    fn a_tally_is_the_same_on_the_other_side_of_a_pipe() {
        let sent = tally(&[100, 200, 70_000, 5_000_000_000]);
        let text = serde_json::to_string(&sent).expect("numbers");
        let received: Tally = serde_json::from_str(&text).expect("what was written");
        for share in [0.0, 0.5, 0.99, 1.0] {
            assert_eq!(received.gets.quantile_ns(share), sent.gets.quantile_ns(share));
        }
        assert_eq!((received.requests, received.bytes_in), (1, 10));
    }

    #[test]
    fn sums_count_the_calls_of_both() {
        let mut sum = tally(&[100; 60]);
        sum.add(&tally(&[1000; 40]));
        assert_eq!((sum.requests, sum.bytes_in), (2, 20));
        assert_eq!(
            (sum.gets.quantile_ns(0.5), sum.gets.quantile_ns(0.6), sum.gets.quantile_ns(0.61)),
            (100, 100, 1000)
        );
        assert!((sum.gets.total_s() - 46e-6).abs() < 1e-7);
        assert_eq!(sum.matches.quantile_ns(0.5), 0);
    }
}
