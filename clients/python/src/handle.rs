//! A connected client and where it looks for its node: what a client shares with the fills and answers that came of it.

use crate::errors::exception;
use cascade_client::{Client, Error};
use pyo3::prelude::*;
use std::path::PathBuf;

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) client: Client,
    pub(crate) sockets: Vec<PathBuf>,
}

impl Handle {
    /// The client's answer, its error as an exception that says where the node was looked for.
    pub(crate) fn answer<T>(&self, answer: Result<T, Error>) -> PyResult<T> {
        answer.map_err(|error| exception(&error, &self.sockets))
    }

    /// # Errors
    /// `Forked` in a child of the process that connected.
    pub(crate) fn check_fork(&self) -> PyResult<()> {
        self.answer(self.client.segment_id()).map(drop)
    }
}
