//! What a replay asks the node: how much it can keep, by which policy, and what it evicted.

use cascade_client::{Deadline, Error, query, sockets};
use cascade_core::segment::Geometry;
use serde::Deserialize;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

/// The part of a node's status that a replay goes by.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Status {
    pub(crate) version: String,
    pub(crate) policy: String,
    capacity_bytes: u64,
    chunk_bytes: u64,
    granule_bytes: u64,
    margins: Margins,
    counters: Counters,
}

/// What the node keeps free, so that a put never waits for an eviction.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Margins {
    watermark_low_ratio: f64,
    watermark_high_ratio: f64,
    grant_share: f64,
    grants_per_class_max: u64,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Counters {
    evicted_blocks: u64,
}

impl Status {
    /// Asks the node of this instance.
    ///
    /// # Errors
    /// There is no node, or its answer is none that this program reads.
    pub(crate) fn ask(instance: &str) -> Result<Self, Error> {
        let answer = query(&sockets(instance), "status", Deadline::after(PATIENCE))?;
        serde_json::from_str(&answer)
            .map_err(|error| Error::Refused(format!("its status is that of another version: {error}")))
    }

    /// Blocks evicted since the node began.
    pub(crate) fn evicted_blocks(&self) -> u64 {
        self.counters.evicted_blocks
    }

    /// Pieces of this size that the node keeps while `clients` put: its slots, without those handed out ahead of need and
    /// those that it keeps free. Eviction begins at the low watermark and ends at the high one, so the mean of both counts.
    pub(crate) fn capacity_blocks(&self, piece_bytes: u64, clients: u64) -> u64 {
        let geometry = Geometry::plan(&[self.capacity_bytes], self.chunk_bytes, self.granule_bytes, 1, 0);
        let Some(slot_bytes) = geometry.slot_bytes(piece_bytes) else { return 0 };
        let slots = self.capacity_bytes / self.chunk_bytes * (self.chunk_bytes / slot_bytes);
        let shared = (self.capacity_bytes as f64 * self.margins.grant_share) as u64 / slot_bytes;
        // A lane is filled up when it is half empty.
        let granted = clients * (shared / clients.max(1)).clamp(1, self.margins.grants_per_class_max) * 3 / 4;
        let free_ratio = (self.margins.watermark_low_ratio + self.margins.watermark_high_ratio) / 2.0;
        slots.saturating_sub(granted + (slots as f64 * free_ratio) as u64).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        let text = r#"{"version": "1", "policy": "arc", "capacity_bytes": 67108864, "chunk_bytes": 1048576,
            "granule_bytes": 4096, "counters": {"evicted_blocks": 7, "puts_fresh": 1}, "blocks": 3,
            "margins": {"watermark_low_ratio": 0.02, "watermark_high_ratio": 0.04, "grant_share": 0.05,
            "grants_per_class_max": 31}}"#;
        serde_json::from_str(text).expect("a status")
    }

    #[test]
    fn capacity_is_what_is_neither_handed_out_nor_kept_free() {
        let slots = 64 * 256;
        assert_eq!(status().capacity_blocks(4096, 1), slots - 31 * 3 / 4 - slots * 3 / 100);
        // The clients share what is handed out, and each gets one at least.
        assert_eq!(status().capacity_blocks(1 << 20, 2), 64 - 2 * 3 / 4 - 1);
    }

    #[test]
    fn a_piece_past_the_largest_slot_is_not_kept() {
        assert_eq!(status().capacity_blocks((1 << 20) + 1, 1), 0);
    }
}
