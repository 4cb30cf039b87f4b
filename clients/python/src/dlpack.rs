//! Tensors that have no buffer protocol: what `__dlpack__` exports, on the CPU.
//!
//! The capsule is never consumed: it keeps the tensor's memory until it is dropped, and frees it itself then. Structures
//! and flags are those of DLPack 1.x (<https://dmlc.github.io/dlpack/latest/c_api.html>) and of the versions before, which
//! cannot say that a tensor is read-only.

use pyo3::exceptions::{PyBufferError, PyTypeError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyDict};
use std::ffi::{CStr, c_void};
use std::ptr::NonNull;

const UNVERSIONED: &CStr = c"dltensor";
const VERSIONED: &CStr = c"dltensor_versioned";
/// The latest version whose structures are these; a change of the first number changes them.
const VERSION: (u32, u32) = (1, 0);
const FLAG_READ_ONLY: u64 = 1;
/// CPU memory, and CPU memory pinned for CUDA and for ROCm.
const DEVICES: [i32; 3] = [1, 3, 11];

#[repr(C)]
struct DlTensor {
    data: *mut c_void,
    device_kind: i32,
    device_id: i32,
    axes: i32,
    type_code: u8,
    type_bits: u8,
    type_lanes: u16,
    shape: *const i64,
    strides: *const i64,
    offset_bytes: u64,
}

#[repr(C)]
struct Versioned {
    major: u32,
    minor: u32,
    context: *mut c_void,
    deleter: *mut c_void,
    flags: u64,
    tensor: DlTensor,
}

/// An exported tensor on the CPU.
pub(crate) struct Tensor {
    _capsule: Py<PyCapsule>,
    base: *mut u8,
    item_bytes: usize,
    axes: Vec<(usize, isize)>,
    is_readonly: bool,
}

// SAFETY: the memory is kept by the capsule, which is reference-counted under the interpreter's rules.
unsafe impl Send for Tensor {}
// SAFETY: as above; nothing of it changes.
unsafe impl Sync for Tensor {}

impl Tensor {
    /// Exports `object`, or `None` if it has no `__dlpack__`.
    ///
    /// # Errors
    /// `BufferError` for a tensor that no CPU reads, `TypeError` for items that are no whole bytes, and what the exporter
    /// raises.
    pub(crate) fn open(object: &Bound<'_, PyAny>) -> PyResult<Option<Self>> {
        let py = object.py();
        let Some(export) = object.getattr_opt(intern!(py, "__dlpack__"))? else { return Ok(None) };
        let keywords = PyDict::new(py);
        keywords.set_item(intern!(py, "max_version"), VERSION)?;
        let capsule = match export.call((), Some(&keywords)) {
            // Exporters from before DLPack 1.0 do not know the keyword.
            Err(error) if error.is_instance_of::<PyTypeError>(py) => export.call0()?,
            capsule => capsule?,
        };
        let capsule = capsule.cast_into::<PyCapsule>()?;
        let (tensor, is_readonly) = if capsule.is_valid_checked(Some(VERSIONED)) {
            let versioned: NonNull<Versioned> = capsule.pointer_checked(Some(VERSIONED))?.cast();
            // SAFETY: a capsule of this name points to this structure, and lives; the version is looked at first.
            let (major, flags) = unsafe { (versioned.as_ref().major, versioned.as_ref().flags) };
            if major != VERSION.0 {
                return Err(PyBufferError::new_err(format!(
                    "the tensor comes in DLPack {major}, not {}",
                    VERSION.0
                )));
            }
            // SAFETY: as above, and of the version that these structures are of.
            (unsafe { &(*versioned.as_ptr()).tensor }, flags & FLAG_READ_ONLY != 0)
        } else {
            let unversioned: NonNull<DlTensor> = capsule.pointer_checked(Some(UNVERSIONED))?.cast();
            // SAFETY: a capsule of this name points to a structure that begins with the tensor, and lives.
            (unsafe { unversioned.as_ref() }, false)
        };
        let (item_bytes, axes) = (item_bytes(tensor)?, axes(tensor)?);
        if !DEVICES.contains(&tensor.device_kind) {
            return Err(PyBufferError::new_err(format!(
                "the tensor lies on a device (DLPack kind {}, number {}): copy it to the CPU first, as tensor.cpu()",
                tensor.device_kind, tensor.device_id
            )));
        }
        let base = tensor.data.cast::<u8>().wrapping_add(tensor.offset_bytes as usize);
        Ok(Some(Self { _capsule: capsule.unbind(), base, item_bytes, axes, is_readonly }))
    }

    pub(crate) fn base(&self) -> *mut u8 {
        self.base
    }

    pub(crate) fn item_bytes(&self) -> usize {
        self.item_bytes
    }

    pub(crate) fn len_bytes(&self) -> usize {
        self.axes.iter().map(|&(items, _)| items).product::<usize>() * self.item_bytes
    }

    /// Items along each axis, with the bytes from one to the next.
    pub(crate) fn axes(&self) -> Vec<(usize, isize)> {
        self.axes.clone()
    }

    pub(crate) fn is_readonly(&self) -> bool {
        self.is_readonly
    }
}

fn item_bytes(tensor: &DlTensor) -> PyResult<usize> {
    let bits = usize::from(tensor.type_bits) * usize::from(tensor.type_lanes);
    if bits == 0 || bits % 8 != 0 {
        return Err(PyTypeError::new_err(format!(
            "items of {bits} bits are no bytes: view the tensor as uint8"
        )));
    }
    Ok(bits / 8)
}

fn axes(tensor: &DlTensor) -> PyResult<Vec<(usize, isize)>> {
    let count = usize::try_from(tensor.axes).unwrap_or(0);
    let item_bytes = item_bytes(tensor)? as isize;
    let mut axes = vec![(0, 0); count];
    let mut compact = item_bytes;
    for (i, axis) in axes.iter_mut().enumerate().rev() {
        // SAFETY: `shape` has an entry for each axis, and so has `strides` if there are any: DLPack says so.
        let (items, stride) = unsafe {
            let strides = (!tensor.strides.is_null()).then(|| *tensor.strides.add(i) as isize * item_bytes);
            (*tensor.shape.add(i) as usize, strides.unwrap_or(compact))
        };
        *axis = (items, stride);
        compact *= items as isize;
    }
    Ok(axes)
}
