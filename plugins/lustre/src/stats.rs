//! What a tier counted, and in which state it is: for `status`, `plugins` and tests.

use cascade_tier::Status;
use serde::Serialize;

/// What was done since the tier was opened.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Counts {
    /// Operations that completed.
    pub(crate) operations: u64,
    pub(crate) stored_pieces: u64,
    pub(crate) stored_bytes: u64,
    pub(crate) loaded_pieces: u64,
    pub(crate) loaded_bytes: u64,
    pub(crate) removed_pieces: u64,
    /// Files, of pieces or lines, that were made durable.
    pub(crate) syncs: u64,
    /// Transfers that the engine was given, and the loads that shared one with another.
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    pub(crate) coalesced_loads: u64,
    /// Bytes that had to be copied on their way, for they were small or lay where direct I/O takes nothing.
    pub(crate) copied_bytes: u64,
    pub(crate) found_pieces: u64,
    pub(crate) lost_pieces: u64,
    pub(crate) rewritten_pieces: u64,
    /// Lines of manifests that were damaged or of another version.
    pub(crate) bad_lines: u64,
    pub(crate) collected_containers: u64,
    pub(crate) collected_bytes: u64,
    pub(crate) folded_manifests: u64,
    // How operations failed.
    pub(crate) not_found: u64,
    pub(crate) corrupt: u64,
    pub(crate) io_errors: u64,
    pub(crate) no_space: u64,
    pub(crate) read_only: u64,
    pub(crate) expired: u64,
    pub(crate) cancelled: u64,
    pub(crate) refused: u64,
}

impl Counts {
    pub(crate) fn completed(&mut self, status: Status) {
        self.operations += 1;
        match status {
            Status::OK => {}
            Status::NOT_FOUND => self.not_found += 1,
            Status::CORRUPT => self.corrupt += 1,
            Status::NO_SPACE => self.no_space += 1,
            Status::READ_ONLY => self.read_only += 1,
            Status::EXPIRED => self.expired += 1,
            Status::CANCELLED => self.cancelled += 1,
            Status::INVALID | Status::UNSUPPORTED => self.refused += 1,
            _ => self.io_errors += 1,
        }
    }
}
