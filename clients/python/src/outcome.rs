//! What calls answer that is neither bytes nor an error: misses, and what became of puts.

use cascade_client::{Committed, Lookup, Reason, Refusal};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// Why a piece was not there. A miss is a value, and false.
#[pyclass(frozen, eq, hash, module = "cascade_kv")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Miss {
    /// Why: "absent", "corrupt", "pin_budget", "expired", "declined", "fenced", "too_short" or "too_long".
    #[pyo3(get)]
    reason: &'static str,
    /// For "too_short" and "too_long": the length of the piece.
    #[pyo3(get)]
    needed_bytes: Option<u64>,
}

impl Miss {
    pub(crate) fn reason(&self) -> &'static str {
        self.reason
    }

    /// For a target that takes exactly one length, and a shorter piece.
    pub(crate) fn too_long(len_bytes: usize) -> Self {
        Self { reason: "too_long", needed_bytes: Some(len_bytes as u64) }
    }
}

impl From<Reason> for Miss {
    fn from(reason: Reason) -> Self {
        let (reason, needed_bytes) = match reason {
            Reason::Absent => ("absent", None),
            Reason::Corrupt => ("corrupt", None),
            Reason::PinBudget => ("pin_budget", None),
            Reason::Expired => ("expired", None),
            Reason::Declined => ("declined", None),
            Reason::Fenced => ("fenced", None),
            Reason::TooShort { len_bytes } => ("too_short", Some(len_bytes)),
        };
        Self { reason, needed_bytes }
    }
}

/// Every reason that a [`Miss`] may have.
const REASONS: [&str; 8] =
    ["absent", "corrupt", "pin_budget", "expired", "declined", "fenced", "too_short", "too_long"];

#[pymethods]
impl Miss {
    #[new]
    #[pyo3(signature = (reason, needed_bytes=None))]
    fn new(reason: &str, needed_bytes: Option<u64>) -> PyResult<Self> {
        let known = REASONS.into_iter().find(|&known| known == reason);
        let reason =
            known.ok_or_else(|| PyValueError::new_err(format!("no miss has the reason {reason:?}")))?;
        Ok(Self { reason, needed_bytes })
    }

    fn __bool__(&self) -> bool {
        false
    }

    fn __repr__(&self) -> String {
        match self.needed_bytes {
            Some(bytes) => format!("Miss({:?}, needed_bytes={bytes})", self.reason),
            None => format!("Miss({:?})", self.reason),
        }
    }
}

/// How much of a chain can be used, and from where. False if nothing can.
#[pyclass(frozen, eq, hash, module = "cascade_kv")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Located {
    /// Leading blocks that can be used, wherever they lie.
    #[pyo3(get)]
    blocks: usize,
    /// Leading blocks that can be used from memory at once.
    #[pyo3(get)]
    memory_blocks: usize,
    /// The lower tiers that the others would come from, as bits in the order in which the node lists them.
    #[pyo3(get)]
    tiers: u64,
}

impl From<cascade_client::Located> for Located {
    fn from(located: cascade_client::Located) -> Self {
        let cascade_client::Located { blocks, memory_blocks, tiers } = located;
        Self { blocks, memory_blocks, tiers }
    }
}

#[pymethods]
impl Located {
    fn __bool__(&self) -> bool {
        self.blocks > 0
    }

    fn __repr__(&self) -> String {
        format!("Located({} blocks, {} in memory, tiers={:#b})", self.blocks, self.memory_blocks, self.tiers)
    }
}

/// What was found, or why nothing was.
#[derive(Debug, IntoPyObject)]
pub(crate) enum Found<T> {
    /// What was found.
    Hit(T),
    /// Why not.
    Miss(Miss),
}

impl<T> From<Lookup<T>> for Found<T> {
    fn from(lookup: Lookup<T>) -> Self {
        match lookup {
            Lookup::Hit(found) => Self::Hit(found),
            Lookup::Miss(reason) => Self::Miss(reason.into()),
        }
    }
}

/// What became of a put. True when a get of this client finds the piece from now on.
#[pyclass(frozen, eq, hash, module = "cascade_kv")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stored {
    /// "posted": copied and on its way to the node; "fresh": published for all clients; "already_present": it was there,
    /// the first one stays; "refused": not stored.
    #[pyo3(get)]
    outcome: &'static str,
    /// Why it was refused: "no_room", "too_large", "expired" or "not_yours".
    #[pyo3(get)]
    refusal: Option<&'static str>,
}

impl From<Refusal> for Stored {
    fn from(refusal: Refusal) -> Self {
        let refusal = match refusal {
            Refusal::NoRoom => "no_room",
            Refusal::TooLarge => "too_large",
            Refusal::Expired => "expired",
            Refusal::NotYours => "not_yours",
        };
        Self { outcome: "refused", refusal: Some(refusal) }
    }
}

impl From<cascade_client::Stored> for Stored {
    fn from(stored: cascade_client::Stored) -> Self {
        match stored {
            cascade_client::Stored::Posted => Self { outcome: "posted", refusal: None },
            cascade_client::Stored::AlreadyPresent => Self { outcome: "already_present", refusal: None },
            cascade_client::Stored::Refused(refusal) => refusal.into(),
        }
    }
}

impl From<Committed> for Stored {
    fn from(committed: Committed) -> Self {
        match committed {
            Committed::Fresh => Self { outcome: "fresh", refusal: None },
            Committed::AlreadyPresent => Self { outcome: "already_present", refusal: None },
            Committed::Refused(refusal) => refusal.into(),
        }
    }
}

#[pymethods]
impl Stored {
    fn __bool__(&self) -> bool {
        self.refusal.is_none()
    }

    fn __repr__(&self) -> String {
        match self.refusal {
            Some(refusal) => format!("Stored({:?}, refusal={refusal:?})", self.outcome),
            None => format!("Stored({:?})", self.outcome),
        }
    }
}
