//! Memory that Python lends us: the buffer protocol where an object has it, else DLPack on the CPU.
//!
//! Invariants: a [`Buffer`] keeps its exporter, and with it the memory, where it is; a target may be written. Python has
//! no rule against one thread writing what another reads, so a slice made here is no promise that the bytes stand still:
//! it only ever carries address and length to the client's copy, which goes through pointers and sums what it copied.

use crate::dlpack::Tensor;
use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::{PyBufferError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyMemoryView;
use std::io::{IoSlice, IoSliceMut};
use std::ptr::NonNull;

/// Memory of an object of Python's.
pub(crate) struct Buffer {
    base: NonNull<u8>,
    len_bytes: usize,
    exporter: Exporter,
}

/// Who keeps it.
enum Exporter {
    Buffer(PyUntypedBuffer),
    Tensor(Tensor),
}

// SAFETY: the memory stays where it is as long as the exporter lives, whichever thread looks; the exporters are Send.
unsafe impl Send for Buffer {}
// SAFETY: as above; through a shared reference nothing of a buffer changes.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// Memory of any shape.
    ///
    /// # Errors
    /// `TypeError` if the object lends none; `BufferError` if it lends none that the CPU reads, or of a type that the
    /// buffer protocol has no letter for.
    pub(crate) fn open(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let exporter = match PyUntypedBuffer::get(object) {
            Ok(buffer) => Exporter::Buffer(buffer),
            Err(error) => match Tensor::open(object)? {
                Some(tensor) => Exporter::Tensor(tensor),
                // A memoryview has strides where its exporter left them out (ctypes).
                None => match PyMemoryView::from(object).and_then(|view| PyUntypedBuffer::get(&view)) {
                    Ok(buffer) => Exporter::Buffer(buffer),
                    Err(_) => return Err(advise(object, error)),
                },
            },
        };
        let (base, len_bytes) = match &exporter {
            Exporter::Buffer(buffer) => (buffer.buf_ptr().cast(), buffer.len_bytes()),
            Exporter::Tensor(tensor) => (tensor.base(), tensor.len_bytes()),
        };
        // An empty one may lie nowhere.
        Ok(Self { base: NonNull::new(base).unwrap_or(NonNull::dangling()), len_bytes, exporter })
    }

    /// Contiguous memory to read.
    ///
    /// # Errors
    /// As for [`Buffer::open`]; `BufferError` if it has gaps.
    pub(crate) fn source(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let buffer = Self::open(object)?;
        if !buffer.is_contiguous() {
            return Err(PyBufferError::new_err(
                "the buffer is not C-contiguous: pass its contiguous parts as fragments, or a contiguous copy",
            ));
        }
        Ok(buffer)
    }

    /// Contiguous memory to write.
    ///
    /// # Errors
    /// As for [`Buffer::source`]; `BufferError` if it is read-only.
    pub(crate) fn target(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let buffer = Self::source(object)?;
        buffer.check_writable()?;
        Ok(buffer)
    }

    /// # Errors
    /// `BufferError` if it is read-only.
    pub(crate) fn check_writable(&self) -> PyResult<()> {
        let is_readonly = match &self.exporter {
            Exporter::Buffer(buffer) => buffer.readonly(),
            Exporter::Tensor(tensor) => tensor.is_readonly(),
        };
        if is_readonly {
            return Err(PyBufferError::new_err(
                "the target is read-only: pass a bytearray, a writable array or a tensor",
            ));
        }
        Ok(())
    }

    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    pub(crate) fn len_bytes(&self) -> usize {
        self.len_bytes
    }

    pub(crate) fn item_bytes(&self) -> usize {
        match &self.exporter {
            Exporter::Buffer(buffer) => buffer.item_size(),
            Exporter::Tensor(tensor) => tensor.item_bytes(),
        }
    }

    /// Items along each axis, with the bytes from one to the next.
    pub(crate) fn axes(&self) -> Vec<(usize, isize)> {
        match &self.exporter {
            Exporter::Buffer(buffer) => {
                buffer.shape().iter().copied().zip(buffer.strides().iter().copied()).collect()
            }
            Exporter::Tensor(tensor) => tensor.axes(),
        }
    }

    fn is_contiguous(&self) -> bool {
        match &self.exporter {
            Exporter::Buffer(buffer) => buffer.is_c_contiguous(),
            Exporter::Tensor(tensor) => is_compact(&tensor.axes(), tensor.item_bytes()),
        }
    }

    /// The bytes of a source, for the client's copy alone.
    pub(crate) fn as_io_slice(&self) -> IoSlice<'_> {
        // SAFETY: contiguous, as `source` checked, and kept by the exporter; see the module about who else may write.
        IoSlice::new(unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.len_bytes) })
    }

    /// The bytes of a target, for the client's copy alone.
    pub(crate) fn as_io_slice_mut(&mut self) -> IoSliceMut<'_> {
        // SAFETY: contiguous and writable, as `target` checked, and kept by the exporter; that no other target of the
        // call overlaps it is checked by `check_apart`; see the module about who else may look.
        IoSliceMut::new(unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.len_bytes) })
    }
}

/// Whether items lie one after the other, the last axis fastest.
pub(crate) fn is_compact(axes: &[(usize, isize)], item_bytes: usize) -> bool {
    let mut expected = item_bytes;
    axes.iter().rev().all(|&(items, stride)| {
        let fits = items == 1 || stride == expected as isize;
        expected *= items;
        fits
    }) || axes.iter().any(|&(items, _)| items == 0)
}

/// The sources of a call.
pub(crate) fn sources(objects: &Bound<'_, PyAny>) -> PyResult<Vec<Buffer>> {
    objects.try_iter()?.map(|object| Buffer::source(&object?)).collect()
}

/// The targets of a call, of which no two overlap.
pub(crate) fn targets(objects: &Bound<'_, PyAny>) -> PyResult<Vec<Buffer>> {
    let targets = objects.try_iter()?.map(|object| Buffer::target(&object?)).collect::<PyResult<Vec<_>>>()?;
    check_apart(&targets)?;
    Ok(targets)
}

fn check_apart(targets: &[Buffer]) -> PyResult<()> {
    let mut ranges: Vec<_> =
        targets.iter().map(|target| (target.base.as_ptr() as usize, target.len_bytes)).collect();
    ranges.retain(|&(_, len)| len != 0);
    ranges.sort_unstable();
    if ranges.windows(2).any(|pair| pair[0].0 + pair[0].1 > pair[1].0) {
        return Err(PyValueError::new_err("two targets of one call overlap"));
    }
    Ok(())
}

/// Bytes of any buffer that the calls of a client take.
#[pyfunction]
pub(crate) fn nbytes(data: &Bound<'_, PyAny>) -> PyResult<usize> {
    Ok(Buffer::source(data)?.len_bytes)
}

/// Says what to pass in place of `object`.
fn advise(object: &Bound<'_, PyAny>, error: PyErr) -> PyErr {
    let py = object.py();
    let kind = object.get_type();
    if error.is_instance_of::<PyTypeError>(py) {
        PyTypeError::new_err(format!(
            "{kind} has neither the buffer protocol nor __dlpack__: pass bytes, an array or a CPU tensor"
        ))
    } else {
        PyBufferError::new_err(format!(
            "{kind} lends no buffer ({error}): pass a view of it as bytes, as array.view('uint8')"
        ))
    }
}
