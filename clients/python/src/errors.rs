//! The client's errors as the exceptions of `cascade_kv.errors`.

use cascade_client::Error;
use pyo3::prelude::*;
use std::path::PathBuf;

pyo3::import_exception!(cascade_kv.errors, CascadeError);
pyo3::import_exception!(cascade_kv.errors, NodeLost);
pyo3::import_exception!(cascade_kv.errors, DeadlinePassed);
pyo3::import_exception!(cascade_kv.errors, Forked);
pyo3::import_exception!(cascade_kv.errors, RefusedByNode);

/// The exception for `error` of a client that looks for its node at `sockets`.
pub(crate) fn exception(error: &Error, sockets: &[PathBuf]) -> PyErr {
    let text = error.to_string();
    match error {
        Error::Forked => Forked::new_err(text),
        Error::Deadline => DeadlinePassed::new_err(text),
        Error::NoNode { .. } => NodeLost::new_err(text),
        Error::NodeLost => {
            let tried: Vec<_> = sockets.iter().map(|path| path.display().to_string()).collect();
            NodeLost::new_err(format!("{text}; tried {}", tried.join(", ")))
        }
        Error::Refused(_) | Error::Layout(_) => RefusedByNode::new_err(text),
        _ => CascadeError::new_err(text),
    }
}
