//! The client's writes: puts by verified copy, slots to fill in place, and pieces that are to go.

use crate::buffer::{Buffer, sources};
use crate::client::Client;
use crate::fill::Fill;
use crate::names::{Key, Keys, as_many, deadline, lineage, lineage_in, piece};
use crate::namespace::Namespace;
use crate::outcome::Stored;
use crate::paged::PagedCache;
use crate::pending::Pending;
use cascade_client::{Deadline, Item, Lineage, PieceId, Reserved};
use pyo3::prelude::*;
use std::io::IoSlice;

impl Client {
    fn put_fragments(
        &self,
        py: Python<'_>,
        (id, lineage): (PieceId, Lineage),
        sources: &[Buffer],
        wait: bool,
        deadline: Deadline,
    ) -> PyResult<Stored> {
        let handle = self.handle()?;
        let fragments: Vec<_> = sources.iter().map(Buffer::as_io_slice).collect();
        // Detached however short: a put may have to wait for its slot.
        handle.answer(py.detach(|| {
            let client = &handle.client;
            if wait {
                client.put_vectored_wait(&id, lineage, &fragments, deadline).map(Stored::from)
            } else {
                client.put_vectored(&id, lineage, &fragments, deadline).map(Stored::from)
            }
        }))
    }
}

#[pymethods]
#[expect(clippy::too_many_arguments, reason = "keywords in Python")]
impl Client {
    /// Stores a piece by copy. A piece that is there already is not copied; the first one stays. Waits only for a slot;
    /// with `wait` also for the node's verdict.
    #[pyo3(signature = (key, data, *, rank=0, group=0, parent=None, depth=0, wait=false, timeout_s=1.0))]
    fn put(
        &self,
        py: Python<'_>,
        key: Key,
        data: &Bound<'_, PyAny>,
        rank: u16,
        group: u16,
        parent: Option<Key>,
        depth: u32,
        wait: bool,
        timeout_s: f64,
    ) -> PyResult<Stored> {
        let name = (piece(key.0, rank, group), lineage(parent, depth));
        self.put_fragments(py, name, &[Buffer::source(data)?], wait, deadline(timeout_s)?)
    }

    /// `put` of fragments, which become one piece in one pass.
    #[pyo3(signature = (key, fragments, *, rank=0, group=0, parent=None, depth=0, wait=false, timeout_s=1.0))]
    fn put_vectored(
        &self,
        py: Python<'_>,
        key: Key,
        fragments: &Bound<'_, PyAny>,
        rank: u16,
        group: u16,
        parent: Option<Key>,
        depth: u32,
        wait: bool,
        timeout_s: f64,
    ) -> PyResult<Stored> {
        let name = (piece(key.0, rank, group), lineage(parent, depth));
        self.put_fragments(py, name, &sources(fragments)?, wait, deadline(timeout_s)?)
    }

    /// Puts what a namespace says of itself under its root, unless it is there.
    #[pyo3(signature = (namespace, *, timeout_s=1.0))]
    fn describe(&self, py: Python<'_>, namespace: &Bound<'_, Namespace>, timeout_s: f64) -> PyResult<Stored> {
        let (handle, deadline) = (self.handle()?, deadline(timeout_s)?);
        let namespace = namespace.get();
        handle.answer(py.detach(|| handle.client.describe(namespace.fields(), deadline))).map(Stored::from)
    }

    /// Puts consecutive blocks of one chain; `parent` and `depth` are the first one's.
    #[pyo3(signature = (keys, data, *, rank=0, group=0, parent=None, depth=0, timeout_s=1.0))]
    fn put_batch(
        &self,
        py: Python<'_>,
        keys: Keys,
        data: &Bound<'_, PyAny>,
        rank: u16,
        group: u16,
        parent: Option<Key>,
        depth: u32,
        timeout_s: f64,
    ) -> PyResult<Vec<Stored>> {
        let (handle, first, deadline) = (self.handle()?, lineage(parent, depth), deadline(timeout_s)?);
        let sources = sources(data)?;
        as_many(keys.0.len(), sources.len(), "buffers")?;
        let slices: Vec<_> = sources.iter().map(Buffer::as_io_slice).collect();
        let item = |(i, bytes)| {
            let lineage = lineage_in(first, &keys.0, i)?;
            Ok(Item { id: piece(keys.0[i], rank, group), lineage, bytes })
        };
        let items =
            slices.iter().map(|slice| &**slice).enumerate().map(item).collect::<PyResult<Vec<_>>>()?;
        let stored = handle.answer(py.detach(|| handle.client.put_batch(&items, deadline)))?;
        Ok(stored.into_iter().map(Stored::from).collect())
    }

    /// As `put_batch`, from an engine's memory. When it returns, the engine's blocks may be written again.
    #[pyo3(signature = (cache, keys, block_ids, *, rank=0, group=0, parent=None, depth=0, timeout_s=1.0))]
    fn put_blocks(
        &self,
        py: Python<'_>,
        cache: &Bound<'_, PagedCache>,
        keys: Keys,
        block_ids: Vec<usize>,
        rank: u16,
        group: u16,
        parent: Option<Key>,
        depth: u32,
        timeout_s: f64,
    ) -> PyResult<Vec<Stored>> {
        let (handle, first, deadline) = (self.handle()?, lineage(parent, depth), deadline(timeout_s)?);
        let cache = cache.get();
        as_many(keys.0.len(), block_ids.len(), "block ids")?;
        cache.check(&block_ids)?;
        let lineages =
            (0..keys.0.len()).map(|i| lineage_in(first, &keys.0, i)).collect::<PyResult<Vec<_>>>()?;
        handle.answer(py.detach(|| {
            let mut pages: Vec<IoSlice<'_>> = Vec::new();
            let mut stored = Vec::with_capacity(block_ids.len());
            for ((&key, &block), &lineage) in keys.0.iter().zip(&block_ids).zip(&lineages) {
                cache.to_read(block, &mut pages);
                let id = piece(key, rank, group);
                stored.push(handle.client.put_vectored(&id, lineage, &pages, deadline)?.into());
            }
            Ok(stored)
        }))
    }

    /// Says that a piece is of no use to anybody: the node drops it, and its name can be put anew. Does not wait. False if
    /// there is none.
    #[pyo3(signature = (key, *, rank=0, group=0))]
    fn discard(&self, key: Key, rank: u16, group: u16) -> PyResult<bool> {
        let handle = self.handle()?;
        handle.answer(handle.client.discard(&piece(key.0, rank, group)))
    }

    /// A slot to fill in place, or why there is none.
    #[pyo3(signature = (len_bytes, *, timeout_s=1.0))]
    fn reserve(&self, py: Python<'_>, len_bytes: u64, timeout_s: f64) -> PyResult<Slot> {
        let (handle, deadline) = (self.handle()?, deadline(timeout_s)?);
        Ok(match handle.answer(py.detach(|| handle.client.reserve(len_bytes, deadline)))? {
            Reserved::Fill(fill) => Slot::Fill(Fill::new(handle, fill)),
            Reserved::Refused(refusal) => Slot::Refused(refusal.into()),
        })
    }

    /// `reserve`, to poll or to await: a `Fill`, or a `Stored` that says why not. The node gives up after `timeout_s`.
    #[pyo3(signature = (len_bytes, *, timeout_s=1.0))]
    fn reserve_async(&self, len_bytes: u64, timeout_s: f64) -> PyResult<Pending> {
        let handle = self.handle()?;
        handle.check_fork()?;
        Ok(Pending::reserve(handle, len_bytes, deadline(timeout_s)?))
    }
}

/// The answer to a reserve.
#[derive(IntoPyObject)]
enum Slot {
    Fill(Fill),
    Refused(Stored),
}
