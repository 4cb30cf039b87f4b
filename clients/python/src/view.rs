//! A pinned piece, read where it lies.

use crate::export::{Exports, Lent};
use crate::handle::Handle;
use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::prelude::*;
use std::ffi::c_int;
use std::sync::{Arc, Mutex, PoisonError};

/// The bytes of a piece where they lie, pinned as long as this or any buffer made of it lives. Read-only.
///
/// Not verified until `verify` is asked. `memoryview(view)`, `numpy.frombuffer(view, ...)`.
#[pyclass(frozen, module = "cascade_kv")]
#[derive(Debug)]
pub(crate) struct View {
    handle: Arc<Handle>,
    len_bytes: usize,
    // Shared with a thread that verifies, for as long as it does.
    pinned: Mutex<Option<Arc<cascade_client::View>>>,
    exports: Exports,
}

impl View {
    /// What `handle`'s client pinned.
    pub(crate) fn new(handle: Arc<Handle>, view: cascade_client::View) -> Self {
        let len_bytes = view.len_bytes();
        Self { handle, len_bytes, pinned: Mutex::new(Some(Arc::new(view))), exports: Exports::default() }
    }

    /// # Errors
    /// `ValueError` once it was given back; `Forked` in a child, where the bytes are not mapped.
    fn pinned(&self) -> PyResult<Arc<cascade_client::View>> {
        self.handle.check_fork()?;
        let pinned = self.pinned.lock().unwrap_or_else(PoisonError::into_inner);
        pinned.clone().ok_or_else(|| PyValueError::new_err("the pin was given back"))
    }
}

#[pymethods]
impl View {
    fn __len__(&self) -> usize {
        self.len_bytes
    }

    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let this = slf.get();
        let lent = Lent { base: this.pinned()?.as_ptr().cast_mut(), len: this.len_bytes, is_readonly: true };
        // SAFETY: the interpreter passed `view`; the pin, which is not given back while there are exports, keeps the
        // bytes where they are.
        unsafe { this.exports.lend(view, flags, slf.as_any(), &lent) }
    }

    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {
        self.exports.take_back();
    }

    /// Reads all bytes and compares their checksum; the node is told if it does not match.
    fn verify(&self, py: Python<'_>) -> PyResult<bool> {
        let pinned = self.pinned()?;
        self.handle.answer(py.detach(|| pinned.verify()))
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    /// Gives the pin back now; `BufferError` if a memoryview of it is alive.
    #[pyo3(signature = (_kind=None, _value=None, _trace=None))]
    fn __exit__(
        &self,
        _kind: Option<&Bound<'_, PyAny>>,
        _value: Option<&Bound<'_, PyAny>>,
        _trace: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        self.exports.check_none("the pin is given back")?;
        drop(self.pinned.lock().unwrap_or_else(PoisonError::into_inner).take());
        Ok(())
    }

    fn __repr__(&self) -> String {
        format!("<View of {} bytes>", self.len_bytes)
    }
}
