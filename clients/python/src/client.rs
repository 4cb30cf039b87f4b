//! The handle on the node: connecting, asking how it is, closing.

use crate::errors::exception;
use crate::handle::Handle;
use crate::names::deadline;
use cascade_core::place::DEFAULT_INSTANCE;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::os::fd::{AsRawFd, RawFd};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

/// A handle on the node of this machine; any thread may use it. See `connect`.
///
/// A piece is named by its block's key (32 bytes), a rank and a KV group. `parent` and `depth` tell where the block stands
/// in its chain (the first block of a chain: no parent, depth 0); eviction and holds rest on them. The GIL is released
/// while bytes move and while a call waits.
#[pyclass(frozen, subclass, module = "cascade_kv")]
#[derive(Debug)]
pub(crate) struct Client {
    handle: RwLock<Option<Arc<Handle>>>,
}

impl Client {
    /// # Errors
    /// `ValueError` once the client was closed.
    pub(crate) fn handle(&self) -> PyResult<Arc<Handle>> {
        let handle = self.handle.read().unwrap_or_else(PoisonError::into_inner);
        handle.clone().ok_or_else(|| PyValueError::new_err("the client was closed"))
    }
}

/// Attaches to the node of this user and job (`CASCADE_SOCKET`, else the rule of the paths). Raises `NodeLost`.
#[pyfunction]
#[pyo3(signature = (*, instance=None, sockets=None, timeout_s=5.0))]
pub(crate) fn connect(
    py: Python<'_>,
    instance: Option<&str>,
    sockets: Option<Vec<PathBuf>>,
    timeout_s: f64,
) -> PyResult<Client> {
    let sockets = match (instance, sockets) {
        (Some(_), Some(_)) => {
            return Err(PyValueError::new_err("name the instance or its sockets, not both"));
        }
        (_, Some(sockets)) => sockets,
        (instance, None) => cascade_client::sockets(instance.unwrap_or(DEFAULT_INSTANCE)),
    };
    let deadline = deadline(timeout_s)?;
    let connected = py.detach(|| cascade_client::Client::connect_to(sockets.clone(), deadline));
    let client = connected.map_err(|error| exception(&error, &sockets))?;
    Ok(Client { handle: RwLock::new(Some(Arc::new(Handle { client, sockets }))) })
}

/// Where `connect` looks for the node, best first.
#[pyfunction]
#[pyo3(signature = (instance=None))]
pub(crate) fn socket_paths(instance: Option<&str>) -> Vec<String> {
    let paths = cascade_client::sockets(instance.unwrap_or(DEFAULT_INSTANCE));
    paths.into_iter().map(|path| path.to_string_lossy().into_owned()).collect()
}

#[pymethods]
impl Client {
    /// Waits until the node has taken all that this client posted: then every put is published or refused.
    #[pyo3(signature = (timeout_s=1.0))]
    fn flush(&self, py: Python<'_>, timeout_s: f64) -> PyResult<()> {
        let (handle, deadline) = (self.handle()?, deadline(timeout_s)?);
        handle.answer(py.detach(|| handle.client.flush(deadline)))
    }

    /// What this client counted since it connected: hits, bytes_out, misses_absent, misses_corrupt, misses_pin_budget,
    /// misses_too_short, misses_expired, misses_declined, misses_fenced, promotions, promoted_blocks, puts, bytes_in, refused,
    /// waits, reattaches.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.handle()?.client.stats();
        let counts = PyDict::new(py);
        counts.set_item("hits", stats.hits)?;
        counts.set_item("bytes_out", stats.bytes_out)?;
        counts.set_item("misses_absent", stats.misses_absent)?;
        counts.set_item("misses_corrupt", stats.misses_corrupt)?;
        counts.set_item("misses_pin_budget", stats.misses_pin_budget)?;
        counts.set_item("misses_too_short", stats.misses_too_short)?;
        counts.set_item("misses_expired", stats.misses_expired)?;
        counts.set_item("misses_declined", stats.misses_declined)?;
        counts.set_item("misses_fenced", stats.misses_fenced)?;
        counts.set_item("promotions", stats.promotions)?;
        counts.set_item("promoted_blocks", stats.promoted_blocks)?;
        counts.set_item("puts", stats.puts)?;
        counts.set_item("bytes_in", stats.bytes_in)?;
        counts.set_item("refused", stats.refused)?;
        counts.set_item("waits", stats.waits)?;
        counts.set_item("reattaches", stats.reattaches)?;
        Ok(counts)
    }

    /// What the node says of itself, as `cascade-node status --json` prints it.
    #[pyo3(signature = (timeout_s=1.0))]
    fn status<'py>(&self, py: Python<'py>, timeout_s: f64) -> PyResult<Bound<'py, PyAny>> {
        let (handle, deadline) = (self.handle()?, deadline(timeout_s)?);
        let json = handle.answer(py.detach(|| handle.client.status(deadline)))?;
        py.import("json")?.call_method1("loads", (json,))
    }

    /// A descriptor that is readable when an answer may be there, or the node has gone; owned by the client. Poll what is
    /// pending then, after `clear_event`, and every 50 ms besides: a node that is gone rings nobody.
    fn event_fd(&self) -> PyResult<RawFd> {
        let handle = self.handle()?;
        handle.answer(handle.client.event_fd()).map(|fd| fd.as_raw_fd())
    }

    /// Makes `event_fd` unreadable until the node rings again. Call it before polling, not after.
    fn clear_event(&self) -> PyResult<()> {
        let handle = self.handle()?;
        handle.answer(handle.client.clear_event())
    }

    /// Lets the node go. What was put stays; views, holds and fills of this client live on. Every other call answers
    /// `ValueError` from now on.
    fn close(&self) {
        drop(self.handle.write().unwrap_or_else(PoisonError::into_inner).take());
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
        self.close();
    }

    fn __repr__(&self) -> String {
        match self.handle() {
            Ok(handle) => format!("<Client of {:?}>", handle.sockets),
            Err(_) => "<Client, closed>".into(),
        }
    }
}
