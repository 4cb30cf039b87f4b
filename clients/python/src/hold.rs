//! A claim on a chain, as an object of Python's.

use pyo3::prelude::*;
use std::sync::{Mutex, PoisonError};

/// A claim on the leading blocks of a chain: none of them is evicted while this lives, whoever reads them.
#[pyclass(frozen, module = "cascade_kv")]
#[derive(Debug)]
pub(crate) struct Hold {
    blocks: usize,
    claim: Mutex<Option<cascade_client::Hold>>,
}

impl From<cascade_client::Hold> for Hold {
    fn from(hold: cascade_client::Hold) -> Self {
        Self { blocks: hold.blocks(), claim: Mutex::new(Some(hold)) }
    }
}

#[pymethods]
impl Hold {
    /// Blocks that were claimed, from the first of the chain.
    #[getter]
    fn blocks(&self) -> usize {
        self.blocks
    }

    /// Lets them go. Once is enough; again does nothing.
    fn release(&self) {
        drop(self.claim.lock().unwrap_or_else(PoisonError::into_inner).take());
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
        format!("<Hold of {} blocks>", self.blocks)
    }
}
