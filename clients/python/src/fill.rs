//! A reserved slot, written in place from Python.

use crate::buffer::Buffer;
use crate::detach::copying;
use crate::export::{Exports, Lent};
use crate::handle::Handle;
use crate::names::{Key, deadline, lineage, piece};
use crate::outcome::Stored;
use crate::pending::Pending;
use cascade_client::Uncommitted;
use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::prelude::*;
use std::ffi::c_int;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A slot of shared memory to be written in place, then committed. Dropping it gives the slot back.
///
/// `memoryview(fill)`, `numpy.frombuffer(fill, ...)`: what the bytes are before is unspecified.
#[pyclass(frozen, module = "cascade_kv")]
#[derive(Debug)]
pub(crate) struct Fill {
    handle: Arc<Handle>,
    len_bytes: usize,
    // `None`: committed, given back, or being committed by another thread.
    slot: Mutex<Option<cascade_client::Fill>>,
    exports: Exports,
}

impl Fill {
    pub(crate) fn new(handle: Arc<Handle>, fill: cascade_client::Fill) -> Self {
        let len_bytes = fill.len_bytes();
        Self { handle, len_bytes, slot: Mutex::new(Some(fill)), exports: Exports::default() }
    }

    fn slot(&self) -> MutexGuard<'_, Option<cascade_client::Fill>> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> PyResult<cascade_client::Fill> {
        self.slot().take().ok_or_else(over)
    }

    /// Lets `commit` have the slot; a fill that could not be posted comes back.
    fn commit_with<T: Send>(
        &self,
        py: Python<'_>,
        commit: impl FnOnce(cascade_client::Fill) -> Result<T, Uncommitted> + Send,
    ) -> PyResult<T> {
        self.exports.check_none("the commit")?;
        let fill = self.take()?;
        let committed = py.detach(|| commit(fill)).map_err(|uncommitted| {
            *self.slot() = uncommitted.fill;
            uncommitted.error
        });
        self.handle.answer(committed)
    }

    fn base(&self) -> PyResult<*mut u8> {
        let mut slot = self.slot();
        let bytes = slot.as_mut().ok_or_else(over)?.bytes_mut();
        Ok(self.handle.answer(bytes)?.as_mut_ptr())
    }
}

#[pymethods]
impl Fill {
    fn __len__(&self) -> usize {
        self.len_bytes
    }

    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let this = slf.get();
        let lent = Lent { base: this.base()?, len: this.len_bytes, is_readonly: false };
        // SAFETY: the interpreter passed `view`; the slot is this fill's alone, and is neither committed nor given back
        // while there are exports.
        unsafe { this.exports.lend(view, flags, slf.as_any(), &lent) }
    }

    unsafe fn __releasebuffer__(&self, _view: *mut ffi::Py_buffer) {
        self.exports.take_back();
    }

    /// Copies any buffer into the slot, from byte `offset` on.
    #[pyo3(signature = (data, offset=0))]
    fn write(&self, py: Python<'_>, data: &Bound<'_, PyAny>, offset: usize) -> PyResult<()> {
        let source = Buffer::source(data)?;
        let bytes = source.as_io_slice();
        if offset.checked_add(bytes.len()).is_none_or(|end| end > self.len_bytes) {
            let (len, slot) = (bytes.len(), self.len_bytes);
            return Err(PyValueError::new_err(format!(
                "{len} bytes at {offset} do not fit a slot of {slot}"
            )));
        }
        // Out of the others' reach while detached.
        let mut fill = self.take()?;
        let copied = copying(py, bytes.len(), || {
            fill.bytes_mut().map(|slot| slot[offset..offset + bytes.len()].copy_from_slice(&bytes))
        });
        *self.slot() = Some(fill);
        self.handle.answer(copied)
    }

    /// Publishes what was written. `BufferError` while a memoryview of the fill is alive.
    #[pyo3(signature = (key, *, rank=0, group=0, parent=None, depth=0, wait=false, timeout_s=1.0))]
    #[expect(clippy::too_many_arguments, reason = "keywords in Python")]
    fn commit(
        &self,
        py: Python<'_>,
        key: Key,
        rank: u16,
        group: u16,
        parent: Option<Key>,
        depth: u32,
        wait: bool,
        timeout_s: f64,
    ) -> PyResult<Stored> {
        let (id, lineage, deadline) =
            (piece(key.0, rank, group), lineage(parent, depth), deadline(timeout_s)?);
        self.commit_with(py, move |fill| {
            if wait {
                fill.commit_wait(&id, lineage, deadline).map(Stored::from)
            } else {
                fill.commit(&id, lineage, deadline).map(|()| cascade_client::Stored::Posted.into())
            }
        })
    }

    /// `commit`, with an answer to poll or to await.
    #[pyo3(signature = (key, *, rank=0, group=0, parent=None, depth=0, timeout_s=1.0))]
    #[expect(clippy::too_many_arguments, reason = "keywords in Python")]
    fn commit_async(
        &self,
        py: Python<'_>,
        key: Key,
        rank: u16,
        group: u16,
        parent: Option<Key>,
        depth: u32,
        timeout_s: f64,
    ) -> PyResult<Pending> {
        let (id, lineage, deadline) =
            (piece(key.0, rank, group), lineage(parent, depth), deadline(timeout_s)?);
        let verdict = self.commit_with(py, move |fill| fill.commit_async(&id, lineage, deadline))?;
        Ok(Pending::commit(self.handle.clone(), verdict))
    }

    /// Gives the slot back. Once is enough; again does nothing. `BufferError` while a memoryview of the fill is alive.
    fn abort(&self) -> PyResult<()> {
        self.exports.check_none("the slot is given back")?;
        drop(self.slot().take());
        Ok(())
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    /// Gives the slot back unless it was committed.
    #[pyo3(signature = (_kind=None, _value=None, _trace=None))]
    fn __exit__(
        &self,
        _kind: Option<&Bound<'_, PyAny>>,
        _value: Option<&Bound<'_, PyAny>>,
        _trace: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        self.abort()
    }

    fn __repr__(&self) -> String {
        format!("<Fill of {} bytes>", self.len_bytes)
    }
}

fn over() -> PyErr {
    PyValueError::new_err("the fill was committed or given back")
}
