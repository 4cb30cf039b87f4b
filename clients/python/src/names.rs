//! What Python names things by: keys, places in a chain, patience in seconds.

use cascade_client::{BlockKey, Deadline, Lineage, PieceId, Rule, Share};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::time::Duration;

/// A block's key: `bytes` of length 32.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key(pub(crate) BlockKey);

impl FromPyObject<'_, '_> for Key {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let bytes = object.cast::<PyBytes>().map_err(|_| {
            let found = object.get_type();
            PyTypeError::new_err(format!("a key is bytes of length 32, not {found}"))
        })?;
        let bytes = bytes.as_bytes();
        let key = bytes.try_into().map_err(|_| {
            PyValueError::new_err(format!("a key is 32 bytes, not {}: see Namespace.wrap", bytes.len()))
        })?;
        Ok(Self(BlockKey::from_bytes(key)))
    }
}

/// A sequence of keys.
#[derive(Debug)]
pub(crate) struct Keys(pub(crate) Vec<BlockKey>);

impl FromPyObject<'_, '_> for Keys {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, '_, PyAny>) -> PyResult<Self> {
        let mut keys = Vec::with_capacity(object.len().unwrap_or(0));
        for key in object.try_iter()? {
            keys.push(key?.extract::<Key>()?.0);
        }
        Ok(Self(keys))
    }
}

/// The piece of a block that a call names.
pub(crate) fn piece(key: BlockKey, rank: u16, group: u16) -> PieceId {
    PieceId { key, rank, group }
}

/// Where a block stands in its chain.
pub(crate) fn lineage(parent: Option<Key>, depth: u32) -> Lineage {
    Lineage { parent: parent.map_or(BlockKey::ROOT, |Key(parent)| parent), depth }
}

/// The place of `keys[i]` if `first` is that of `keys[0]`.
///
/// # Errors
/// `ValueError` if the chain is longer than any.
pub(crate) fn lineage_in(first: Lineage, keys: &[BlockKey], i: usize) -> PyResult<Lineage> {
    let too_deep = || PyValueError::new_err("a chain has less than 2**32 blocks");
    let depth = u32::try_from(i).ok().and_then(|i| first.depth.checked_add(i)).ok_or_else(too_deep)?;
    Ok(Lineage { parent: if i == 0 { first.parent } else { keys[i - 1] }, depth })
}

/// What a match requires of a chain: every block's piece of (rank, group), or of the last blocks only.
#[derive(Clone, Copy, Debug, FromPyObject)]
pub(crate) enum Required {
    /// (rank, group): full attention. First, since it is the common one and tried in this order.
    Prefix(u16, u16),
    /// (rank, group, window in blocks): sliding-window attention; a window of 1 is a recurrent layer's last state.
    Window(u16, u16, u32),
}

/// What a match requires; by default every block's piece of rank 0, group 0.
pub(crate) fn shares(required: Option<Vec<Required>>) -> Vec<Share> {
    let share = |required| match required {
        Required::Window(rank, group, blocks) => Share::new(rank, group).under(Rule::Window { blocks }),
        Required::Prefix(rank, group) => Share::new(rank, group),
    };
    required.unwrap_or_else(|| vec![Required::Prefix(0, 0)]).into_iter().map(share).collect()
}

/// `timeout_s` from now.
///
/// # Errors
/// `ValueError` for what is no time.
pub(crate) fn deadline(timeout_s: f64) -> PyResult<Deadline> {
    if timeout_s.is_nan() || timeout_s < 0.0 {
        return Err(PyValueError::new_err(format!("timeout_s is at least 0, not {timeout_s}")));
    }
    let patience = Duration::try_from_secs_f64(timeout_s).unwrap_or(Duration::MAX);
    Ok(if patience.is_zero() { Deadline::NOW } else { Deadline::after(patience) })
}

/// # Errors
/// `ValueError` unless there are as many `things` as keys.
pub(crate) fn as_many(keys: usize, things: usize, what: &str) -> PyResult<()> {
    if keys == things {
        return Ok(());
    }
    Err(PyValueError::new_err(format!("{keys} keys, but {things} {what}: one for each key is needed")))
}
