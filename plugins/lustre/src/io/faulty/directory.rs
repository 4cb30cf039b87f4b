//! Faults around a directory. A call that hangs sleeps until its rule is gone: its thread is one that may.

use super::rules::{Call, Faults, LOOK_EVERY, Verdict, name_of};
use crate::io::{Directory, FileKind, Look};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

/// A directory whose calls meet faults.
pub struct FaultyDirectory {
    inner: Arc<dyn Directory>,
    faults: Arc<Faults>,
}

impl FaultyDirectory {
    /// Faults around a directory.
    #[must_use]
    pub fn new(inner: Arc<dyn Directory>, faults: Arc<Faults>) -> FaultyDirectory {
        FaultyDirectory { inner, faults }
    }

    /// Waits as the rules say; whether the call is to be a short one.
    fn meet(&self, call: Call, name: &str, bytes: usize) -> io::Result<bool> {
        let mut generation = self.faults.generation();
        let mut verdict = self.faults.meet(call, name, bytes as u64);
        while verdict.hang {
            thread::sleep(LOOK_EVERY);
            let now = self.faults.generation();
            if now != generation {
                generation = now;
                verdict = self.faults.meet(call, name, bytes as u64);
            }
        }
        let Verdict { until, error, short, vanish, .. } = verdict;
        if let Some(until) = until {
            thread::sleep(until.saturating_duration_since(Instant::now()));
        }
        if vanish {
            self.inner.remove(name)?;
        }
        error.map_or(Ok(short), Err)
    }
}

impl Directory for FaultyDirectory {
    fn list(&self) -> io::Result<Vec<String>> {
        self.meet(Call::List, "", 0)?;
        self.inner.list()
    }

    fn create(&self, name: &str, kind: FileKind) -> io::Result<Arc<OwnedFd>> {
        self.meet(Call::Create, name, 0)?;
        self.inner.create(name, kind)
    }

    fn open(&self, name: &str, kind: FileKind) -> io::Result<Arc<OwnedFd>> {
        self.meet(Call::Open, name, 0)?;
        self.inner.open(name, kind)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.meet(Call::Rename, from, 0)?;
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.meet(Call::Remove, name, 0)?;
        self.inner.remove(name)
    }

    fn read_at(&self, file: &OwnedFd, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let length = if self.meet(Call::ReadAt, &name_of(file), buffer.len())? {
            buffer.len() / 2
        } else {
            buffer.len()
        };
        self.inner.read_at(file, &mut buffer[..length], offset)
    }

    fn write_at(&self, file: &OwnedFd, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.meet(Call::WriteAt, &name_of(file), bytes.len())? {
            self.inner.write_at(file, &bytes[..bytes.len() / 2], offset)?;
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.inner.write_at(file, bytes, offset)
    }

    fn erase(&self, name: &str, offset: u64, length: u64) -> io::Result<()> {
        if self.meet(Call::WriteAt, name, length as usize)? {
            self.inner.erase(name, offset, length / 2)?;
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.inner.erase(name, offset, length)
    }

    fn look(&self, file: &OwnedFd) -> io::Result<Look> {
        self.meet(Call::Look, &name_of(file), 0)?;
        self.inner.look(file)
    }

    fn sync(&self, file: &OwnedFd) -> io::Result<()> {
        self.meet(Call::Sync, &name_of(file), 0)?;
        self.inner.sync(file)
    }

    fn sync_names(&self) -> io::Result<()> {
        self.meet(Call::SyncNames, "", 0)?;
        self.inner.sync_names()
    }

    fn metadata_operations(&self) -> u64 {
        self.inner.metadata_operations()
    }

    fn notes(&self) -> Vec<String> {
        self.inner.notes()
    }
}
