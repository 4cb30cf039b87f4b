//! `cascade_kv._native`: the Rust client, for Python.
//!
//! What each class and call promises stands in `cascade_kv/_native.pyi`, which is kept by hand beside this code. Here a
//! file holds one noun: the verbs of `client` are split into `read`, `write` and `chain`; `buffer` and `dlpack` take
//! memory from Python, `export` lends ours to it, and in these three is all `unsafe`, but for the two signatures that
//! Python's buffer protocol asks for (`view`, `fill`).
//!
//! Invariants: every class is frozen, with locks that are only ever held by a thread that is attached to the interpreter
//! and runs no Python meanwhile, so that neither a fork nor a second thread finds one locked; bytes move and calls wait
//! while detached, but for copies too short to be worth it (`detach`).

mod buffer;
mod chain;
mod client;
mod detach;
mod dlpack;
mod errors;
mod export;
mod fill;
mod handle;
mod hold;
mod names;
mod namespace;
mod outcome;
mod paged;
mod pending;
mod promotion;
mod read;
mod view;
mod write;

use pyo3::prelude::pymodule;

#[pymodule]
mod _native {
    use crate::errors::{CascadeError, DeadlinePassed, Forked, NodeLost, RefusedByNode};
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::{
        buffer::nbytes,
        client::{Client, connect, socket_paths},
        fill::Fill,
        hold::Hold,
        namespace::Namespace,
        outcome::{Located, Miss, Stored},
        paged::PagedCache,
        pending::Pending,
        promotion::Promotion,
        view::View,
    };

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let py = module.py();
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("CascadeError", py.get_type::<CascadeError>())?;
        module.add("NodeLost", py.get_type::<NodeLost>())?;
        module.add("DeadlinePassed", py.get_type::<DeadlinePassed>())?;
        module.add("Forked", py.get_type::<Forked>())?;
        module.add("RefusedByNode", py.get_type::<RefusedByNode>())
    }
}
