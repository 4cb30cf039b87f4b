//! Namespaces and the keys in them.

use crate::names::Key;
use cascade_core::key::{chain, wrapped_key};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

/// Every field that changes the bytes of a KV block. Engines share blocks exactly when all fields agree.
#[pyclass(frozen, module = "cascade_kv")]
#[derive(Debug)]
pub(crate) struct Namespace {
    fields: cascade_core::key::Namespace,
    root: Key,
}

impl Namespace {
    pub(crate) fn fields(&self) -> &cascade_core::key::Namespace {
        &self.fields
    }
}

#[pymethods]
impl Namespace {
    #[new]
    #[pyo3(signature = (*, model, revision="", weights_fingerprint=None, dtype="", layout="", block_tokens=0,
                        tensor_parallel=1, pipeline_parallel=1, lora="", tenant_salt=""))]
    #[expect(clippy::too_many_arguments, reason = "each is a keyword in Python")]
    fn new(
        model: &str,
        revision: &str,
        weights_fingerprint: Option<&[u8]>,
        dtype: &str,
        layout: &str,
        block_tokens: u32,
        tensor_parallel: u16,
        pipeline_parallel: u16,
        lora: &str,
        tenant_salt: &str,
    ) -> PyResult<Self> {
        let weights_fingerprint = match weights_fingerprint {
            None | Some([]) => [0; 32],
            Some(bytes) => bytes.try_into().map_err(|_| {
                let length = bytes.len();
                PyValueError::new_err(format!(
                    "weights_fingerprint is empty or a digest of 32 bytes, not {length}"
                ))
            })?,
        };
        let fields = cascade_core::key::Namespace {
            model: model.into(),
            revision: revision.into(),
            weights_fingerprint,
            dtype: dtype.into(),
            layout: layout.into(),
            block_tokens,
            tensor_parallel,
            pipeline_parallel,
            lora: lora.into(),
            tenant_salt: tenant_salt.into(),
        };
        Ok(Self { root: Key(fields.root()), fields })
    }

    /// 32 bytes: where the chains of this namespace start.
    #[getter]
    fn root<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.root.0.as_bytes())
    }

    /// What this namespace says of itself, a JSON object: what `Client.describe` puts under its root.
    #[getter]
    fn description(&self) -> String {
        self.fields.description()
    }

    /// The keys of a token sequence, one a whole block of `block_tokens`; tokens past the last whole block have none.
    fn chain<'py>(&self, py: Python<'py>, tokens: Vec<u32>) -> PyResult<Bound<'py, PyList>> {
        let block_tokens = self.fields.block_tokens as usize;
        if block_tokens == 0 {
            return Err(PyValueError::new_err(
                "this namespace has no block_tokens: name them to make keys of tokens",
            ));
        }
        let keys = chain(self.root.0, block_tokens, &tokens);
        PyList::new(py, keys.map(|key| PyBytes::new(py, key.as_bytes())).collect::<Vec<_>>())
    }

    /// The keys for an engine's own strong, chained block hashes.
    fn wrap<'py>(&self, engine_hashes: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyList>> {
        let py = engine_hashes.py();
        let keys = PyList::empty(py);
        for hash in engine_hashes.try_iter()? {
            let key = wrapped_key(&self.root.0, hash?.cast::<PyBytes>()?.as_bytes());
            keys.append(PyBytes::new(py, key.as_bytes()))?;
        }
        Ok(keys)
    }
}
