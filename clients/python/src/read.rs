//! The client's reads: verified copies, and pins.

use crate::buffer::{Buffer, targets};
use crate::client::Client;
use crate::detach::copying;
use crate::names::{Key, Keys, as_many, deadline, piece};
use crate::outcome::{Found, Miss};
use crate::paged::PagedCache;
use crate::view::View;
use cascade_client::{Lookup, Reason};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::io::IoSliceMut;

#[pymethods]
impl Client {
    /// The length in bytes; `target` holds exactly what was put, verified. After a miss `target` is unspecified.
    #[pyo3(signature = (key, target, *, rank=0, group=0))]
    fn get_into(
        &self,
        py: Python<'_>,
        key: Key,
        target: &Bound<'_, PyAny>,
        rank: u16,
        group: u16,
    ) -> PyResult<Found<usize>> {
        let (handle, id) = (self.handle()?, piece(key.0, rank, group));
        let mut target = Buffer::target(target)?;
        let found = copying(py, target.len_bytes(), || {
            handle.client.get_into_vectored(&id, &mut [target.as_io_slice_mut()])
        });
        handle.answer(found).map(Found::from)
    }

    /// `get_into`, of a piece that may lie in a lower tier: brought into memory first, within `timeout_s`.
    #[pyo3(signature = (key, target, *, rank=0, group=0, timeout_s=1.0))]
    fn get_within(
        &self,
        py: Python<'_>,
        key: Key,
        target: &Bound<'_, PyAny>,
        rank: u16,
        group: u16,
        timeout_s: f64,
    ) -> PyResult<Found<usize>> {
        let (handle, id) = (self.handle()?, piece(key.0, rank, group));
        let (mut target, deadline) = (Buffer::target(target)?, deadline(timeout_s)?);
        // Detached however short: it may have to wait.
        let found =
            py.detach(|| handle.client.get_within_vectored(&id, &mut [target.as_io_slice_mut()], deadline));
        handle.answer(found).map(Found::from)
    }

    /// `get_into` over fragments, filled one after the other in one pass.
    #[pyo3(signature = (key, targets, *, rank=0, group=0))]
    fn get_into_vectored(
        &self,
        py: Python<'_>,
        key: Key,
        targets: &Bound<'_, PyAny>,
        rank: u16,
        group: u16,
    ) -> PyResult<Found<usize>> {
        let (handle, id) = (self.handle()?, piece(key.0, rank, group));
        let mut targets = self::targets(targets)?;
        let room = targets.iter().map(Buffer::len_bytes).sum();
        let mut fragments: Vec<_> = targets.iter_mut().map(Buffer::as_io_slice_mut).collect();
        let found = copying(py, room, || handle.client.get_into_vectored(&id, &mut fragments));
        handle.answer(found).map(Found::from)
    }

    /// `get_into` for each of `keys`.
    #[pyo3(signature = (keys, targets, *, rank=0, group=0))]
    fn get_batch_into(
        &self,
        py: Python<'_>,
        keys: Keys,
        targets: &Bound<'_, PyAny>,
        rank: u16,
        group: u16,
    ) -> PyResult<Vec<Found<usize>>> {
        let handle = self.handle()?;
        let mut targets = self::targets(targets)?;
        as_many(keys.0.len(), targets.len(), "targets")?;
        let room = targets.iter().map(Buffer::len_bytes).sum();
        let mut slices: Vec<_> = targets.iter_mut().map(Buffer::as_io_slice_mut).collect();
        let ids = keys.0.iter().map(|&key| piece(key, rank, group));
        let mut pieces: Vec<_> = ids.zip(slices.iter_mut().map(|slice| &mut **slice)).collect();
        let found = copying(py, room, || handle.client.get_batch_into(&mut pieces));
        Ok(handle.answer(found)?.into_iter().map(Found::from).collect())
    }

    /// As `get_batch_into`, into an engine's memory. A piece of another length than `block_bytes` is a miss.
    #[pyo3(signature = (cache, keys, block_ids, *, rank=0, group=0))]
    fn get_blocks(
        &self,
        py: Python<'_>,
        cache: &Bound<'_, PagedCache>,
        keys: Keys,
        block_ids: Vec<usize>,
        rank: u16,
        group: u16,
    ) -> PyResult<Vec<Found<usize>>> {
        let (handle, cache) = (self.handle()?, cache.get());
        as_many(keys.0.len(), block_ids.len(), "block ids")?;
        cache.check(&block_ids)?;
        let found = copying(py, block_ids.len() * cache.block_len(), || {
            let mut pages: Vec<IoSliceMut<'_>> = Vec::new();
            let mut found = Vec::with_capacity(block_ids.len());
            for (&key, &block) in keys.0.iter().zip(&block_ids) {
                cache.to_write(block, &mut pages);
                found.push(match handle.client.get_into_vectored(&piece(key, rank, group), &mut pages)? {
                    Lookup::Hit(len) if len != cache.block_len() => Found::Miss(Miss::too_long(len)),
                    lookup => lookup.into(),
                });
            }
            Ok(found)
        });
        handle.answer(found)
    }

    /// The bytes of a piece, verified.
    #[pyo3(signature = (key, *, rank=0, group=0))]
    fn get<'py>(
        &self,
        py: Python<'py>,
        key: Key,
        rank: u16,
        group: u16,
    ) -> PyResult<Found<Bound<'py, PyBytes>>> {
        let (handle, id) = (self.handle()?, piece(key.0, rank, group));
        loop {
            let len = handle.answer(handle.client.len_bytes(&id))?.unwrap_or(0);
            let mut found = Lookup::Miss(Reason::Absent);
            let bytes = PyBytes::new_with(py, len, |bytes| {
                found = handle.answer(copying(py, len, || handle.client.get_into(&id, bytes)))?;
                Ok(())
            })?;
            match found {
                Lookup::Hit(copied) if copied == len => return Ok(Found::Hit(bytes)),
                // Another piece of this name came meanwhile, of another length.
                Lookup::Hit(_) | Lookup::Miss(Reason::TooShort { .. }) => {}
                Lookup::Miss(reason) => return Ok(Found::Miss(reason.into())),
            }
        }
    }

    /// The bytes of a piece where they lie, pinned and not verified.
    #[pyo3(signature = (key, *, rank=0, group=0))]
    fn pin(&self, key: Key, rank: u16, group: u16) -> PyResult<Found<View>> {
        let handle = self.handle()?;
        let found = handle.answer(handle.client.pin(&piece(key.0, rank, group)))?;
        Ok(match found {
            Lookup::Hit(view) => Found::Hit(View::new(handle, view)),
            Lookup::Miss(reason) => Found::Miss(reason.into()),
        })
    }

    /// Whether a piece can be read now. It may be gone by the time it is.
    #[pyo3(signature = (key, *, rank=0, group=0))]
    fn contains(&self, key: Key, rank: u16, group: u16) -> PyResult<bool> {
        let handle = self.handle()?;
        handle.answer(handle.client.contains(&piece(key.0, rank, group)))
    }
}
