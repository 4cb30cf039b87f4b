//! Ages, in buckets that widen with age.
//!
//! A tick is [`TICK_BLOCKS`] blocks touched or inserted: what an older block competes with is the blocks that came since, not
//! the seconds. Four buckets an octave, so that a bucket is at most a quarter of its own age wide. Integers only.

/// Blocks of traffic in one tick.
pub(super) const TICK_BLOCKS: u64 = 8;

/// The last bucket begins at some 2²⁵ ticks and has no end.
pub(super) const BUCKETS: usize = 96;

/// The least age, in ticks, that belongs to a bucket.
pub(super) const fn start(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < 4 { bucket } else { (4 + bucket % 4) << (bucket / 4 - 1) }
}

/// Ticks from the start of a bucket to that of the next.
pub(super) const fn width(bucket: usize) -> u64 {
    start(bucket + 1) - start(bucket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_contiguous_and_at_most_a_quarter_of_their_age_wide() {
        assert_eq!((0..10).map(start).collect::<alloc::vec::Vec<_>>(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 10]);
        for bucket in 1..BUCKETS {
            assert!(width(bucket) >= width(bucket - 1));
            assert!(bucket < 4 || width(bucket) * 4 <= start(bucket));
        }
    }
}
