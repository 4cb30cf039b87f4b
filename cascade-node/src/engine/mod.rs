//! The engine: one thread that owns a segment and serves its clients.
//!
//! The way of a put: a client takes a grant and posts a commit; `pump` turns to it, `service` reads its ring, `store`
//! publishes it, `grants` fills its lane again and lets the flow decide whether `evict` must make room. The way of a question
//! about a chain: `service` hands its keys to `locate`, which looks at the books, and `keep` claims what is there. The way of a death:
//! `clients` sees the pidfd or the lock, `service` buries. The way of a start: `plan` sizes, `memory` opens or adopts through
//! the shm tier, `adopt` rebuilds, `door` opens, `reception` lets clients in.
//!
//! Absent on purpose: locks. All books belong to the pump's thread; clients are reached through shared words only.

mod adopt;
mod bell;
mod below;
mod clients;
mod copies;
mod counters;
mod demote;
mod discard;
mod door;
mod errands;
mod evict;
mod grants;
mod jobs;
mod keep;
mod locate;
mod lower;
mod lower_tier;
mod memory;
mod metrics;
mod numa;
mod orders;
mod peer;
mod plan;
mod promote;
mod pump;
mod reception;
mod recut;
mod report;
mod service;
mod spare;
mod stop;
mod store;
mod the_end;
mod threshold;
mod verify;

pub use adopt::Adopted;
pub use copies::{Arrived, Arriving, Leaving};
pub use counters::Counters;
pub use jobs::{Jobs, Task, What};
pub use locate::Whereabouts;
pub use lower::{Lower, configuration as lower_configuration};
pub use lower_tier::{LowerTier, NAME as LOWER_TIER};
pub use plan::{Plan, directory_of};
pub use promote::{Answered, Granted, Provide, Wish};
pub use pump::Engine;
pub use stop::{Ended, Stop};
pub use store::Store;

use cascade_core::segment::LayoutError;
use cascade_tier::{Status, TierError};

/// Why an engine cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// A tier says no.
    #[error("{0}")]
    Tier(TierError),
    /// The segment that is there is not one that this program can use.
    #[error("the segment cannot be used: {0}")]
    Layout(#[from] LayoutError),
    /// More memory is asked for than can be had.
    #[error(
        "segment.capacity asks for {} MiB of shared memory, {} MiB can be had here: lower it, or see `cascade-node doctor`",
        .asked_bytes >> 20, .usable_bytes >> 20
    )]
    NoRoom {
        /// Bytes asked for.
        asked_bytes: u64,
        /// Bytes that can be had.
        usable_bytes: u64,
    },
    /// The shm tier's probe makes no sense.
    #[error("{0}")]
    Probe(String),
    /// The socket cannot be ours; why, and what to do.
    #[error("{0}")]
    Socket(String),
    /// The lower tier that is required cannot be opened; why, and what to do.
    #[error("the required tier {LOWER_TIER} cannot be opened: {0}")]
    Lower(String),
    /// The operating system says no.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: String,
        /// What it said.
        error: std::io::Error,
    },
}

impl EngineError {
    /// Adds what was tried to what the operating system said.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |error| Self::Io { what, error }
    }

    /// Whether a living node owns the instance.
    pub fn is_owned(&self) -> bool {
        matches!(self, Self::Tier(error) if error.status == Status::OWNED)
    }
}

impl From<TierError> for EngineError {
    fn from(error: TierError) -> Self {
        Self::Tier(error)
    }
}

/// A number that no one foresees: ids of segments and owners, seeds of hashes. Never 0.
fn random_word() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // std's hasher is seeded by the operating system; that is all the randomness that is needed here.
    std::collections::hash_map::RandomState::new().build_hasher().finish() | 1
}

/// Seconds since 1970, for what outlives the node.
fn unix_s() -> u32 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u32::try_from(since.as_secs()).unwrap_or(u32::MAX))
}

/// Nanoseconds of the monotonic clock, as deadlines of clients carry it.
fn now_ns() -> u64 {
    cascade_tier::monotonic_ns()
}
