//! A directory of a file system, private to its user.
//! Invariants: it belongs to this user and nobody else can enter it; files are made 0600 and leak into no child; no name in it
//! is followed elsewhere.

use super::lustre::{Kernel, Linux, Striping};
use super::{Directory, FileKind, Look, Stripe};
use super::{direct, folder};
use rustix::fs::{self, AtFlags, Dir, FallocateFlags, Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);
const FILE: OFlags = OFlags::NOFOLLOW.union(OFlags::CLOEXEC);

/// So much is overwritten at once.
const ERASED_BYTES: u64 = 1 << 20;

/// What may be done with a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It is made where it is missing, and files are made in it.
    ReadWrite,
    /// Nothing is made, not even for a probe.
    ReadOnly,
}

/// How containers are opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caching {
    /// Past the page cache, where the file system can do that.
    Avoided,
    /// Through the page cache.
    Used,
}

/// A directory of a file system.
#[derive(Debug)]
pub struct PosixDirectory {
    path: PathBuf,
    folder: OwnedFd,
    access: Access,
    /// Whether containers are opened for direct I/O, or why not, once that is known.
    direct: OnceLock<Result<(), String>>,
    /// How containers are laid out, or why not as wanted; nothing is wanted at first.
    striping: Option<Result<Striping, String>>,
    metadata_operations: AtomicU64,
}

impl PosixDirectory {
    /// Opens a directory, and for writing makes it and those above it where they are missing.
    ///
    /// # Errors
    /// It is not private, or not to be opened; says what to do.
    pub fn open(path: &Path, access: Access, caching: Caching) -> io::Result<PosixDirectory> {
        let (folder, metadata_operations) = folder::open(path, access)?;
        let direct = OnceLock::new();
        if caching == Caching::Used {
            let _ = direct.set(Err("so it is configured".to_owned()));
        }
        let metadata_operations = AtomicU64::new(metadata_operations);
        let directory = PosixDirectory {
            path: path.to_owned(),
            folder,
            access,
            direct,
            striping: None,
            metadata_operations,
        };
        if access == Access::ReadWrite
            && caching == Caching::Avoided
            && let Some(found) = directory.probe_direct()
        {
            let _ = directory.direct.set(found);
        }
        Ok(directory)
    }

    /// Lays new containers out so, on Lustre.
    #[must_use]
    pub fn striped(self, stripe: Stripe) -> PosixDirectory {
        self.striped_by(stripe, Box::new(Linux))
    }

    pub(super) fn striped_by(mut self, stripe: Stripe, kernel: Box<dyn Kernel>) -> PosixDirectory {
        self.striping = Some(Striping::new(stripe, kernel, &self.folder));
        self
    }

    /// How new containers are laid out: `None` if that was left to the directory. An error is why it is left all the same.
    ///
    /// # Errors
    /// It is no Lustre, or it refused; worth a warning, no more.
    pub fn stripe(&self) -> Result<Option<Stripe>, &str> {
        match &self.striping {
            None => Ok(None),
            Some(Ok(striping)) => striping.layout().map(Some),
            Some(Err(reason)) => Err(reason),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder itself, for calls that ask about its file system.
    #[must_use]
    pub fn folder(&self) -> &OwnedFd {
        &self.folder
    }

    /// Whether containers are opened for direct I/O, or why not. One that is only read knows when it has opened its first.
    #[must_use]
    pub fn direct(&self) -> Option<Result<(), &str>> {
        self.direct.get().map(|direct| direct.as_ref().map(|&()| ()).map_err(String::as_str))
    }

    fn counted(&self) {
        // Relaxed: a statistic, which orders nothing.
        self.metadata_operations.fetch_add(1, Ordering::Relaxed);
    }

    fn open_at(&self, name: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        self.counted();
        fs::openat(&self.folder, name, FILE | flags, PRIVATE_FILE)
    }

    /// Opens a container, or makes it with its layout.
    fn open_container(&self, name: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        match &self.striping {
            Some(Ok(striping)) if flags.contains(OFlags::CREATE) => {
                striping.create(&self.folder, name, FILE | flags, PRIVATE_FILE, || self.counted())
            }
            _ => self.open_at(name, flags),
        }
    }

    /// Whether direct I/O works here, by a file that goes when it is closed, or else one that is removed at once. `None` where
    /// neither can be made, as on a full disk: the first container will tell.
    fn probe_direct(&self) -> Option<Result<(), String>> {
        self.counted();
        if let Ok(found) = direct::probe(&self.folder) {
            return Some(found);
        }
        let name = format!("probe.{}", rustix::process::getpid().as_raw_nonzero());
        let made = self.open_at(&name, OFlags::CREATE | OFlags::RDWR | OFlags::DIRECT);
        let _ = self.remove(&name);
        match made {
            Ok(file) => Some(direct::writes_and_reads(&file)),
            Err(error @ (Errno::INVAL | Errno::OPNOTSUPP)) => Some(Err(direct::refused(error))),
            Err(_) => None,
        }
    }

    /// Whether a file that was opened for direct I/O can be read so; asked once, for no file system answers in two ways.
    fn reads_direct(&self, file: &OwnedFd) -> bool {
        self.direct.get_or_init(|| direct::reads(file)).is_ok()
    }

    fn open_kind(&self, name: &str, kind: FileKind, flags: OFlags) -> io::Result<Arc<OwnedFd>> {
        if kind == FileKind::Records {
            return Ok(Arc::new(self.open_at(name, flags)?));
        }
        if !matches!(self.direct.get(), Some(Err(_))) {
            match self.open_container(name, flags | OFlags::DIRECT) {
                Ok(file) if self.reads_direct(&file) => return Ok(Arc::new(file)),
                Ok(_) => {}
                Err(error @ (Errno::INVAL | Errno::OPNOTSUPP)) => {
                    let _ = self.direct.set(Err(direct::refused(error)));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Arc::new(self.open_container(name, flags)?))
    }

    fn writable(&self) -> io::Result<()> {
        match self.access {
            Access::ReadWrite => Ok(()),
            Access::ReadOnly => Err(Errno::ROFS.into()),
        }
    }
}

impl Directory for PosixDirectory {
    fn list(&self) -> io::Result<Vec<String>> {
        self.counted();
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.folder)? {
            // What is no UTF-8 is none of ours.
            if let Ok(name) = entry?.file_name().to_str()
                && name != "."
                && name != ".."
            {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str, kind: FileKind) -> io::Result<Arc<OwnedFd>> {
        self.writable()?;
        self.open_kind(name, kind, OFlags::CREATE | OFlags::EXCL | OFlags::RDWR)
    }

    fn open(&self, name: &str, kind: FileKind) -> io::Result<Arc<OwnedFd>> {
        self.open_kind(name, kind, OFlags::RDONLY)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.writable()?;
        self.counted();
        Ok(fs::renameat(&self.folder, from, &self.folder, to)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.writable()?;
        self.counted();
        match fs::unlinkat(&self.folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn read_at(&self, file: &OwnedFd, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            match rustix::io::pread(file, &mut buffer[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(count) => read += count,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(read)
    }

    fn write_at(&self, file: &OwnedFd, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut written = 0;
        while written < bytes.len() {
            match rustix::io::pwrite(file, &bytes[written..], offset + written as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => written += count,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn erase(&self, name: &str, offset: u64, length: u64) -> io::Result<()> {
        self.writable()?;
        let file = self.open_at(name, OFlags::WRONLY)?;
        let zeros = vec![0; length.min(ERASED_BYTES) as usize];
        let mut done = 0;
        // Written as well as punched: not every file system punches, and some keep what they did.
        while done < length {
            let step = zeros.len().min((length - done) as usize);
            self.write_at(&file, &zeros[..step], offset + done)?;
            done += step as u64;
        }
        fs::fdatasync(&file)?;
        // The room comes back with the container anyway.
        let _ = fs::fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, length);
        Ok(())
    }

    fn look(&self, file: &OwnedFd) -> io::Result<Look> {
        self.counted();
        let stat = fs::fstat(file)?;
        let (seconds, nanoseconds) = (stat.st_mtime.max(0) as u64, stat.st_mtime_nsec as u64);
        let written_ns = seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds);
        Ok(Look { length: stat.st_size.max(0) as u64, written_ns })
    }

    fn sync(&self, file: &OwnedFd) -> io::Result<()> {
        Ok(fs::fdatasync(file)?)
    }

    fn sync_names(&self) -> io::Result<()> {
        match fs::fsync(&self.folder) {
            // Some file systems keep names durable by themselves, and know no such call.
            Ok(()) | Err(Errno::INVAL) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn metadata_operations(&self) -> u64 {
        self.metadata_operations.load(Ordering::Relaxed)
    }

    fn notes(&self) -> Vec<String> {
        let direct = self.direct().and_then(Result::err);
        let direct = direct.map(|reason| format!("containers go through the page cache: {reason}"));
        let stripe = self.stripe().err();
        let stripe = stripe.map(|reason| format!("containers are laid out as their folder says: {reason}"));
        direct.into_iter().chain(stripe).collect()
    }
}
