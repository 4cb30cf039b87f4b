//! Our own manifest: what we tell the others, appended in one write for all that came together.
//!
//! Invariants: a line counts only when it is written; after a failure it is written again at the same place, so that a torn
//! tail is mended. The file is made when there is the first line to tell: who only reads leaves no trace.

use crate::format::{ContainerId, FileName, LINE_BYTES, Line};
use crate::io::{Directory, FileKind};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

/// Our own manifest.
#[derive(Debug)]
pub(crate) struct Journal {
    writer: u64,
    file: Option<Arc<OwnedFd>>,
    made_at: Instant,
    written_bytes: u64,
    pending: Vec<Line>,
    next_sequence: u32,
    /// Its name is not known to be durable.
    pub(crate) is_name_new: bool,
    /// Lines were written that are not known to be durable.
    pub(crate) is_dirty: bool,
}

impl Journal {
    pub(crate) fn new() -> Journal {
        Journal {
            writer: random_word(),
            file: None,
            made_at: Instant::now(),
            written_bytes: 0,
            pending: Vec::new(),
            next_sequence: 0,
            is_name_new: false,
            is_dirty: false,
        }
    }

    pub(crate) fn writer(&self) -> u64 {
        self.writer
    }

    pub(crate) fn made_at(&self) -> Instant {
        self.made_at
    }

    pub(crate) fn file(&self) -> Option<&Arc<OwnedFd>> {
        self.file.as_ref()
    }

    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Makes the file if it is not there; says whether it was made now.
    pub(crate) fn make(&mut self, directory: &dyn Directory) -> io::Result<bool> {
        while self.file.is_none() {
            match directory.create(&FileName::Manifest(self.writer).to_string(), FileKind::Records) {
                Ok(file) => {
                    self.file = Some(file);
                    self.made_at = Instant::now();
                    self.is_name_new = true;
                    return Ok(true);
                }
                // Somebody drew the same number.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.writer = random_word(),
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// The name of our next container.
    pub(crate) fn next_container(&mut self) -> ContainerId {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        ContainerId { writer: self.writer, sequence }
    }

    /// Appends a line at the next [`flush`](Journal::flush).
    pub(crate) fn push(&mut self, line: Line) {
        self.pending.push(line);
    }

    /// Writes what was appended, and gives the lines with where they stand.
    pub(crate) fn flush(&mut self, directory: &dyn Directory) -> io::Result<Vec<(u64, Line)>> {
        if self.pending.is_empty() {
            return Ok(Vec::new());
        }
        self.make(directory)?;
        let file = self.file.as_ref().expect("it was just made");
        let bytes: Vec<u8> = self.pending.iter().flat_map(Line::encode).collect();
        directory.write_at(file, &bytes, self.written_bytes)?;
        self.is_dirty = true;
        let offsets = (self.written_bytes..).step_by(LINE_BYTES);
        self.written_bytes += bytes.len() as u64;
        Ok(offsets.zip(self.pending.drain(..)).collect())
    }
}

/// A number that no one foresees. Never 0.
pub(crate) fn random_word() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    // std's hasher is seeded by the operating system; that is all the randomness that is needed here.
    std::collections::hash_map::RandomState::new().build_hasher().finish() | 1
}
