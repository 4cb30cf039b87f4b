//! What the machine gives of itself: the copies that no system can beat. Those of the disk are in [`disk`](super::disk).
//!
//! Taken in the same rounds as the system, over the same bytes: a floor of another minute is that of another machine where
//! others are at work too.

use super::stage::Stage;
use crate::plain::Plain;
use std::time::Instant;

/// All blocks moved in one way, GB/s.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moved {
    /// Of all together.
    pub(crate) gbps: f64,
    /// The same, or that of the fastest block: nobody is faster, however busy the machine was meanwhile.
    pub(crate) fastest_gbps: f64,
}

/// Copies every source to its target, in each way of [`Plain::ALL`].
pub(crate) fn copies(stage: &mut Stage) -> [Moved; 2] {
    let (total_bytes, block_bytes) = (stage.total_bytes(), stage.block_bytes);
    Plain::ALL.map(|plain| {
        let mut fastest_gbps = 0.0;
        let start = Instant::now();
        for (source, target) in stage.pairs() {
            let start = Instant::now();
            plain.copy(std::iter::once((target, source)));
            fastest_gbps = f64::max(fastest_gbps, gbps(block_bytes, start));
        }
        Moved { gbps: gbps(total_bytes, start), fastest_gbps }
    })
}

/// Speed of so many bytes since then.
pub(super) fn gbps(bytes: usize, since: Instant) -> f64 {
    bytes as f64 / 1e9 / since.elapsed().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_leave_the_right_bytes() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut stage = Stage::new(folder.path(), 1 << 20, 3).expect("there is room");
        assert!(copies(&mut stage).into_iter().all(|way| way.gbps > 0.0 && way.fastest_gbps > 0.0));
        assert_eq!(stage.wrong_bytes(), 0);
    }
}
