//! One manifest of ours that is appended to, in one write for all that came together.
//!
//! Invariants: a line counts only when it is written; after a failure it is written again at the same place, so that a torn
//! tail is mended. The file is made when there is the first line to tell: who only reads leaves no trace.

use crate::format::{FileName, LINE_BYTES, Line};
use crate::io::{Directory, FileKind};
use crate::manifest::Manifest;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// A manifest of ours.
#[derive(Debug)]
pub(crate) struct Journal {
    writer: u64,
    file: Option<Arc<OwnedFd>>,
    written_bytes: u64,
    pending: Vec<Line>,
    /// Lines were written that are not known to be durable.
    is_dirty: bool,
}

impl Journal {
    pub(crate) fn new() -> Journal {
        Journal { writer: random_word(), file: None, written_bytes: 0, pending: Vec::new(), is_dirty: false }
    }

    pub(crate) fn writer(&self) -> u64 {
        self.writer
    }

    pub(crate) fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    pub(crate) fn is_made(&self) -> bool {
        self.file.is_some()
    }

    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Makes the file if it is not there; what it is to who reads manifests, if it was made now.
    pub(crate) fn make(&mut self, directory: &dyn Directory) -> io::Result<Option<Manifest>> {
        while self.file.is_none() {
            match directory.create(&FileName::Manifest(self.writer).to_string(), FileKind::Records) {
                Ok(file) => {
                    self.file = Some(Arc::clone(&file));
                    return Ok(Some(Manifest::own(self.writer, file)));
                }
                // Somebody drew the same number.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.writer = random_word(),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Appends a line at the next [`flush`](Journal::flush).
    pub(crate) fn push(&mut self, line: Line) {
        self.pending.push(line);
    }

    /// Writes what was appended, and gives the lines with where they stand. The file must have been made.
    pub(crate) fn flush(&mut self, directory: &dyn Directory) -> io::Result<Vec<(u64, Line)>> {
        if self.pending.is_empty() {
            return Ok(Vec::new());
        }
        let file = self.file.as_ref().expect("the file was made");
        let bytes: Vec<u8> = self.pending.iter().flat_map(Line::encode).collect();
        directory.write_at(file, &bytes, self.written_bytes)?;
        self.is_dirty = true;
        let offsets = (self.written_bytes..).step_by(LINE_BYTES);
        self.written_bytes += bytes.len() as u64;
        Ok(offsets.zip(self.pending.drain(..)).collect())
    }

    /// Makes durable what was written.
    pub(crate) fn sync(&mut self, directory: &dyn Directory) -> io::Result<()> {
        if let Some(file) = self.file.as_ref().filter(|_| self.is_dirty) {
            directory.sync(file)?;
            self.is_dirty = false;
        }
        Ok(())
    }
}

/// A number that no one foresees. Never 0.
pub(crate) fn random_word() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // std's hasher is seeded by the operating system; that is all the randomness that is needed here.
    std::collections::hash_map::RandomState::new().build_hasher().finish() | 1
}
