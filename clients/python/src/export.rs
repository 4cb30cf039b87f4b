//! Our memory lent to Python: the exporting side of the buffer protocol.

use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use std::ffi::c_int;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that Python may look at as long as their owner lives.
#[derive(Debug)]
pub(crate) struct Lent {
    pub(crate) base: *mut u8,
    pub(crate) len: usize,
    pub(crate) is_readonly: bool,
}

/// How many buffers of an object Python has at this moment.
#[derive(Debug, Default)]
pub(crate) struct Exports(AtomicUsize);

impl Exports {
    /// Fills in the buffer that Python asked for.
    ///
    /// # Errors
    /// `BufferError` if it asks to write what is read-only.
    ///
    /// # Safety
    /// `view` is the one that the interpreter passed to `__getbuffer__`. The bytes are `lent.len` long, stay where they
    /// are as long as `owner` lives and has exports, and may be written unless `lent.is_readonly`.
    pub(crate) unsafe fn lend(
        &self,
        view: *mut ffi::Py_buffer,
        flags: c_int,
        owner: &Bound<'_, PyAny>,
        lent: &Lent,
    ) -> PyResult<()> {
        let (base, len, readonly) =
            (lent.base.cast(), lent.len as ffi::Py_ssize_t, c_int::from(lent.is_readonly));
        // SAFETY: `view` is the interpreter's; it takes a reference to `owner`, which keeps the bytes.
        let result = unsafe { ffi::PyBuffer_FillInfo(view, owner.as_ptr(), base, len, readonly, flags) };
        if result != 0 {
            return Err(PyErr::fetch(owner.py()));
        }
        // Relaxed: who counts is attached to the interpreter.
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// A buffer came back.
    pub(crate) fn take_back(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// # Errors
    /// `BufferError` while Python has a buffer.
    pub(crate) fn check_none(&self, before: &str) -> PyResult<()> {
        match self.0.load(Ordering::Relaxed) {
            0 => Ok(()),
            n => Err(PyBufferError::new_err(format!(
                "{n} buffers of it are alive: release its memoryviews and arrays before {before}"
            ))),
        }
    }
}
