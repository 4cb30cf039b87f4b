//! A manifest that is read: from where we stopped, again and again, for its writer may live and append.
//!
//! Invariants: a line is read once; a torn tail is left for the next time; what is damaged before a sound line is skipped,
//! and costs nothing else.

use crate::format::{FileName, LINE_BYTES, Line};
use crate::io::Directory;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

/// How much is read at once.
pub(crate) const CHUNK_BYTES: usize = 1 << 20;

const LINE: u64 = LINE_BYTES as u64;

/// A manifest, of a writer or folded.
#[derive(Debug)]
pub(crate) struct Manifest {
    pub(crate) writer: u64,
    pub(crate) is_own: bool,
    pub(crate) is_folded: bool,
    /// Its writer has ended.
    pub(crate) is_closed: bool,
    /// When it was seen to grow, by our own clock: no other is compared.
    pub(crate) grown_at: Instant,
    /// `None` if it was folded, and its lines stand in another now.
    file: Option<Arc<OwnedFd>>,
    read_bytes: u64,
}

/// What was read of a manifest.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// Lines, with where they stand.
    pub(crate) sound: Vec<(u64, Line)>,
    /// How many were no lines.
    pub(crate) bad: u64,
}

impl Manifest {
    pub(crate) fn new(writer: u64, is_folded: bool, file: Arc<OwnedFd>) -> Manifest {
        let (is_own, is_closed, grown_at) = (false, false, Instant::now());
        Manifest { writer, is_own, is_folded, is_closed, grown_at, file: Some(file), read_bytes: 0 }
    }

    /// Our own: what we append is known.
    pub(crate) fn own(writer: u64, file: Arc<OwnedFd>) -> Manifest {
        Manifest { is_own: true, ..Manifest::new(writer, false, file) }
    }

    pub(crate) fn name(&self) -> FileName {
        if self.is_folded { FileName::Folded(self.writer) } else { FileName::Manifest(self.writer) }
    }

    /// Whether it is there still: it is not when it was folded.
    pub(crate) fn is_there(&self) -> bool {
        self.file.is_some()
    }

    /// It was folded: its lines stand in another now.
    pub(crate) fn retire(&mut self) {
        self.file = None;
    }

    /// How far it was read.
    pub(crate) fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// Our own was written so far.
    pub(crate) fn set_read_bytes(&mut self, bytes: u64) {
        self.read_bytes = bytes;
    }

    /// Reads on; `None` when nothing more is there now.
    pub(crate) fn read_on(&mut self, directory: &dyn Directory) -> io::Result<Option<Lines>> {
        let Some(file) = &self.file else { return Ok(None) };
        let mut chunk = vec![0; CHUNK_BYTES];
        let count = directory.read_at(file, &mut chunk, self.read_bytes)?;
        let mut lines = Lines::default();
        let mut skipped = 0;
        let start = self.read_bytes;
        for (offset, bytes) in (start..).step_by(LINE_BYTES).zip(chunk[..count].chunks_exact(LINE_BYTES)) {
            match Line::decode(bytes) {
                Ok(line) => {
                    lines.sound.push((offset, line));
                    lines.bad += std::mem::take(&mut skipped);
                    self.read_bytes = offset + LINE;
                }
                Err(_) => skipped += 1,
            }
        }
        if count == CHUNK_BYTES && lines.sound.is_empty() {
            // Nothing but damage, and more behind it: it will not become better.
            lines.bad += skipped;
            self.read_bytes += CHUNK_BYTES as u64;
        }
        if self.read_bytes == start {
            return Ok(None);
        }
        self.grown_at = Instant::now();
        Ok(Some(lines))
    }

    /// Reads a stretch of it again, chunk by chunk, as long as `take` wants more.
    pub(crate) fn reread(
        &self,
        directory: &dyn Directory,
        mut start: u64,
        end: u64,
        mut take: impl FnMut(&Line) -> bool,
    ) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut chunk = vec![0; CHUNK_BYTES.min(end.saturating_sub(start) as usize)];
        while start < end {
            let wanted = chunk.len().min((end - start) as usize);
            let count = directory.read_at(file, &mut chunk[..wanted], start)?;
            for bytes in chunk[..count].chunks_exact(LINE_BYTES) {
                if Line::decode(bytes).is_ok_and(|line| !take(&line)) {
                    return Ok(());
                }
            }
            if count < wanted {
                return Ok(());
            }
            start += wanted as u64;
        }
        Ok(())
    }
}
