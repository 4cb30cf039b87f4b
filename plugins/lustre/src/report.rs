//! How a store is doing, as its keeper saw it last.

use serde::Serialize;
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};

/// So many warnings are kept.
const WARNINGS: usize = 8;

/// Whether a store is to be had.
#[derive(Clone, Copy, Debug, Default, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// The file system has not answered yet.
    #[default]
    Opening,
    /// It is.
    Open,
    /// It is not, and is tried again; a warning says why.
    Failed,
    /// It was closed.
    Closed,
}

/// How a store is doing.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) directory: PathBuf,
    pub(crate) state: State,
    /// Who we are in it, once we have written something.
    #[serde(serialize_with = "as_hexadecimal")]
    pub(crate) writer: Option<u64>,
    pub(crate) containers: u64,
    pub(crate) bytes: u64,
    pub(crate) files: u64,
    pub(crate) manifests: usize,
    /// Whether we are who makes room.
    pub(crate) collecting: bool,
    pub(crate) removed_pieces: usize,
    pub(crate) metadata_operations: u64,
    /// What works there otherwise than was wanted.
    pub(crate) notes: Vec<String>,
    /// What went wrong; the latest, last.
    pub(crate) warnings: VecDeque<String>,
}

impl Report {
    pub(crate) fn failed(&mut self, path: &Path, error: &io::Error) {
        self.state = State::Failed;
        self.warn(format!("cannot open the store {}: {error}", path.display()));
    }

    pub(crate) fn warn(&mut self, warning: String) {
        if self.warnings.back() == Some(&warning) {
            return;
        }
        if self.warnings.len() == WARNINGS {
            self.warnings.pop_front();
        }
        self.warnings.push_back(warning);
    }
}

fn as_hexadecimal<S: serde::Serializer>(writer: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    writer.map(|writer| format!("{writer:016x}")).serialize(serializer)
}
