//! What a client of a replay counts, and the sum over all of them.

use crate::latency::Latencies;
use serde::{Deserialize, Serialize};

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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

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
