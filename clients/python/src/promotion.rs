//! A chain that was brought into memory, as an object of Python's.

use crate::handle::Handle;
use crate::hold::Hold;
use crate::outcome::{Found, Miss};
use cascade_client::Lookup;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::sync::{Arc, Mutex, PoisonError};

/// The part of a chain that is in memory now, and kept there by the node until this is released.
#[pyclass(frozen, module = "cascade_kv")]
#[derive(Debug)]
pub(crate) struct Promotion {
    handle: Arc<Handle>,
    blocks: usize,
    reason: Option<&'static str>,
    kept: Mutex<Option<cascade_client::Promotion>>,
}

impl Promotion {
    pub(crate) fn new(handle: Arc<Handle>, promotion: cascade_client::Promotion) -> Self {
        let reason = promotion.reason().map(|reason| Miss::from(reason).reason());
        Self { handle, blocks: promotion.blocks(), reason, kept: Mutex::new(Some(promotion)) }
    }
}

#[pymethods]
impl Promotion {
    /// Leading blocks that can be used from memory now.
    #[getter]
    fn blocks(&self) -> usize {
        self.blocks
    }

    /// Why not all came that could be used: "expired", "declined" or "fenced"; `None` if all did.
    #[getter]
    fn reason(&self) -> Option<&'static str> {
        self.reason
    }

    /// Claims what is there, for as long as it is needed.
    fn hold(&self) -> PyResult<Found<Hold>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.as_ref().ok_or_else(|| PyValueError::new_err("the promotion was released"))?;
        Ok(match self.handle.answer(kept.hold())? {
            Lookup::Hit(hold) => Found::Hit(hold.into()),
            Lookup::Miss(reason) => Found::Miss(reason.into()),
        })
    }

    /// Lets the chain go. Once is enough; again does nothing.
    fn release(&self) {
        drop(self.kept.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (_kind=None, _value=None, _trace=None))]
    fn __exit__(
        &self,
        _kind: Option<&Bound<'_, PyAny>>,
        _value: Option<&Bound<'_, PyAny>>,
        _trace: Option<&Bound<'_, PyAny>>,
    ) {
        self.release();
    }

    fn __repr__(&self) -> String {
        match self.reason {
            Some(reason) => format!("<Promotion of {} blocks, {reason}>", self.blocks),
            None => format!("<Promotion of {} blocks>", self.blocks),
        }
    }
}
