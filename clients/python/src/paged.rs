//! An engine's paged KV memory, by block number.

use crate::buffer::{Buffer, is_compact};
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use std::io::{IoSlice, IoSliceMut};
use std::slice;

/// An engine's paged KV memory: for each layer a buffer whose first axis counts blocks; the rest of it, a block's page of
/// this layer, is contiguous. Layers may differ in the bytes of a page, not in the number of blocks.
///
/// A block is its page of every layer, in the order given. The buffers are kept alive; they are read and written with the
/// GIL released, by block number, so the engine must not move them.
#[pyclass(frozen, module = "cascade_kv")]
pub(crate) struct PagedCache {
    layers: Vec<Layer>,
    blocks: usize,
    block_bytes: usize,
}

/// One layer: pages of one size at one distance.
struct Layer {
    memory: Buffer,
    stride_bytes: isize,
    page_bytes: usize,
}

impl Layer {
    fn open(object: &Bound<'_, PyAny>) -> PyResult<(usize, Self)> {
        let memory = Buffer::open(object)?;
        memory.check_writable()?;
        let axes = memory.axes();
        let Some(&(blocks, stride_bytes)) = axes.first() else {
            return Err(PyValueError::new_err("it has no axes: the first counts blocks"));
        };
        if !is_compact(&axes[1..], memory.item_bytes()) {
            return Err(PyValueError::new_err(
                "its pages are not contiguous: pass K and V as layers of their own",
            ));
        }
        let page_bytes = axes[1..].iter().map(|&(items, _)| items).product::<usize>() * memory.item_bytes();
        if blocks > 1 && stride_bytes.unsigned_abs() < page_bytes {
            return Err(PyValueError::new_err("its pages overlap"));
        }
        Ok((blocks, Self { memory, stride_bytes, page_bytes }))
    }

    fn page(&self, block: usize) -> *mut u8 {
        // SAFETY: the block is one of the buffer's, as `PagedCache::check` saw, so its page lies within the memory.
        unsafe { self.memory.base().as_ptr().offset(self.stride_bytes * block as isize) }
    }
}

impl PagedCache {
    /// # Errors
    /// `IndexError` if there is no such block.
    pub(crate) fn check(&self, blocks: &[usize]) -> PyResult<()> {
        match blocks.iter().find(|&&block| block >= self.blocks) {
            Some(block) => {
                Err(PyIndexError::new_err(format!("block {block} of a cache of {} blocks", self.blocks)))
            }
            None => Ok(()),
        }
    }

    /// The pages of a block that was checked, to read.
    pub(crate) fn to_read<'a>(&'a self, block: usize, pages: &mut Vec<IoSlice<'a>>) {
        pages.clear();
        // SAFETY: see `Layer::page`; a page is contiguous. Who else may look or write stands in `buffer`.
        let page = |layer: &'a Layer| unsafe { slice::from_raw_parts(layer.page(block), layer.page_bytes) };
        pages.extend(self.layers.iter().map(|layer| IoSlice::new(page(layer))));
    }

    /// The pages of a block that was checked, to write.
    pub(crate) fn to_write<'a>(&'a self, block: usize, pages: &mut Vec<IoSliceMut<'a>>) {
        pages.clear();
        // SAFETY: as for `to_read`; every layer was writable when it was taken.
        let page =
            |layer: &'a Layer| unsafe { slice::from_raw_parts_mut(layer.page(block), layer.page_bytes) };
        pages.extend(self.layers.iter().map(|layer| IoSliceMut::new(page(layer))));
    }

    pub(crate) fn block_len(&self) -> usize {
        self.block_bytes
    }
}

#[pymethods]
impl PagedCache {
    #[new]
    fn new(layers: &Bound<'_, PyAny>) -> PyResult<Self> {
        let mut cache = Self { layers: Vec::new(), blocks: 0, block_bytes: 0 };
        for (i, object) in layers.try_iter()?.enumerate() {
            let (blocks, layer) = Layer::open(&object?).map_err(|error| in_layer(layers.py(), i, error))?;
            if i == 0 {
                cache.blocks = blocks;
            } else if blocks != cache.blocks {
                let expected = cache.blocks;
                return Err(PyValueError::new_err(format!(
                    "layer {i} has {blocks} blocks, those before it {expected}"
                )));
            }
            cache.block_bytes += layer.page_bytes;
            cache.layers.push(layer);
        }
        if cache.layers.is_empty() {
            return Err(PyValueError::new_err("a cache has at least one layer"));
        }
        Ok(cache)
    }

    /// Blocks of the cache: ids are below it.
    #[getter]
    fn blocks(&self) -> usize {
        self.blocks
    }

    /// Bytes of one block over all layers: the length of its piece.
    #[getter]
    fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    fn __repr__(&self) -> String {
        let Self { layers, blocks, block_bytes } = self;
        format!("<PagedCache of {blocks} blocks, {block_bytes} bytes each in {} layers>", layers.len())
    }
}

/// The same error, with the layer in front.
fn in_layer(py: Python<'_>, layer: usize, error: PyErr) -> PyErr {
    let text = format!("layer {layer}: {}", error.value(py));
    PyErr::from_type(error.get_type(py), text)
}
