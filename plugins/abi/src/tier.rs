//! What the author of a tier writes: one safe trait.
//! Invariants: the host calls a tier from one thread at a time; a panic in any method is caught and poisons the handle.

use crate::{Capabilities, Completion, Memory, MemoryId, News, Operation, TierError};
use std::os::fd::BorrowedFd;

/// What becomes of the content when a tier is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseMode {
    /// The content has served: remove it and everything around it.
    Unlink,
    /// Keep it for the next who opens it.
    Leave,
    /// It is of no use (the host does not understand it): the next open starts afresh.
    Discard,
}

impl CloseMode {
    pub(crate) const fn to_raw(self) -> u32 {
        match self {
            CloseMode::Unlink => 0,
            CloseMode::Leave => 1,
            CloseMode::Discard => 2,
        }
    }

    pub(crate) const fn from_raw(raw: u32) -> Option<CloseMode> {
        match raw {
            0 => Some(CloseMode::Unlink),
            1 => Some(CloseMode::Leave),
            2 => Some(CloseMode::Discard),
            _ => None,
        }
    }
}

/// A tier: a place with capacity, cost and capabilities. Export it with [`export_tier!`](crate::export_tier).
///
/// Dropping a tier without [`close`](Tier::close) does what [`CloseMode::Leave`] does: that is how a poisoned one goes.
pub trait Tier: Sized + Send {
    /// Looks at the machine without opening anything and reports in JSON what the tier would find.
    ///
    /// # Errors
    /// `INVALID` for a configuration that cannot be read, `IO` if the machine cannot be looked at.
    fn probe(config: &str) -> Result<String, TierError>;

    /// Removes what dead owners left and reports in JSON what went, what stayed and why.
    ///
    /// # Errors
    /// As [`probe`](Tier::probe); `UNSUPPORTED` where nothing can be left.
    fn collect_garbage(config: &str) -> Result<String, TierError> {
        let _ = config;
        Err(TierError::unsupported("leave anything to collect"))
    }

    /// Opens the tier.
    ///
    /// # Errors
    /// `INVALID` for a configuration that cannot be read, `OWNED` if a living process has it, `NO_SPACE`, `IO`.
    fn open(config: &str) -> Result<Self, TierError>;

    /// Ends everything under way, without completions, and closes.
    ///
    /// # Errors
    /// `IO` if the content could not be treated as `mode` asks.
    fn close(self, mode: CloseMode) -> Result<(), TierError>;

    /// What the tier can do. Constant while it is open.
    fn capabilities(&self) -> Capabilities;

    /// The memories that the tier itself has, with their ids; they stay where they are until close.
    fn exports(&self) -> &[Memory] {
        &[]
    }

    /// Makes memory of the host known. It stays valid until it is forgotten or the tier is closed.
    ///
    /// # Errors
    /// `UNSUPPORTED`; `INVALID` if it is nothing that this tier can reach.
    fn register_memory(&mut self, memory: &Memory) -> Result<MemoryId, TierError> {
        let _ = memory;
        Err(TierError::unsupported("register memory of the host"))
    }

    /// Makes memory known that another tier exported. It stays valid until it is forgotten or the tier is closed.
    ///
    /// # Errors
    /// As [`register_memory`](Tier::register_memory).
    fn import_memory(&mut self, memory: &Memory) -> Result<MemoryId, TierError> {
        let _ = memory;
        Err(TierError::unsupported("import memory of other tiers"))
    }

    /// Forgets registered or imported memory.
    ///
    /// # Errors
    /// `NOT_FOUND`; `INVALID` while an operation uses it.
    fn forget_memory(&mut self, id: MemoryId) -> Result<(), TierError> {
        Err(TierError::new(crate::Status::NOT_FOUND, format!("memory {id} was never registered or imported")))
    }

    /// Takes the first so many operations and says how many; fewer than all is back-pressure. Never waits for one to be
    /// done. What is wrong with an operation is said by its completion, so that it does not hold up its neighbours.
    ///
    /// # Errors
    /// Only if the tier as a whole has failed; then none was taken.
    fn submit(&mut self, operations: &[Operation]) -> Result<usize, TierError>;

    /// Writes completions to the front of the slice and says how many. Never waits.
    ///
    /// # Errors
    /// Only if the tier as a whole has failed.
    fn poll(&mut self, completions: &mut [Completion]) -> Result<usize, TierError>;

    /// A descriptor that is readable while completions wait, if the tier has one.
    fn event_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Writes what the storage came to hold or lost, without this host's doing, to the front of the slice and says how many
    /// news that are; 0 where there are none now. Never waits: `open` need not have read the storage, its content may be told
    /// later, and ends with [`NewsKind::LISTED`](crate::NewsKind::LISTED).
    ///
    /// # Errors
    /// `UNSUPPORTED` without [`feature::NEWS`](crate::capability::feature::NEWS).
    fn news(&mut self, news: &mut [News]) -> Result<usize, TierError> {
        let _ = news;
        Err(TierError::unsupported("have news"))
    }

    /// Withdraws a request if that is still possible. It completes in any case, once: with `CANCELLED` or with its result.
    ///
    /// # Errors
    /// `NOT_FOUND` if it is not under way.
    fn cancel(&mut self, request_id: u64) -> Result<(), TierError>;

    /// The state of the tier and what it counted, as a JSON object.
    fn stats(&self) -> String;
}
