//! How bytes get to and from files: one trait for the bulk of pieces, one for names and small records.
//!
//! Invariants: the parts of a transfer are its engine's until it is done, however long the file system takes; each
//! accepted transfer is done exactly once, in any order. Whoever waits for a file system here is expendable: no caller does.

mod direct;
#[cfg(feature = "faults")]
pub mod faulty;
mod folder;
mod lustre;
mod method;
mod pool;
mod posix;
mod request;
mod ring;
mod surroundings;
mod sys;

pub use lustre::Stripe;
pub use method::{Chosen, Method};
pub use pool::Pool;
pub use posix::{Access, Caching, PosixDirectory};
pub use ring::Ring;
pub use surroundings::{Finding, Surroundings};

use rustix::fd::BorrowedFd;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// What memory, offsets and lengths are multiples of where files are opened for direct I/O. Fits 512-byte and 4-KiB sectors
/// and the page of every machine whose pages are 4 KiB; a larger page is no need of O_DIRECT.
pub const ALIGNMENT_BYTES: u64 = 4096;

/// The offset of a transfer to or from what has no places, such as a pipe.
pub const STREAM: u64 = u64::MAX;

/// Which way the bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the file into memory.
    Read,
    /// From memory into the file.
    Write,
}

/// A piece of memory, laid out as the kernel reads it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Part {
    /// The first byte.
    pub pointer: *mut u8,
    /// How many.
    pub length: usize,
}

// SAFETY: a part is a name for memory, and touches none; the transfer's submitter answers for who accesses it when.
unsafe impl Send for Part {}
// SAFETY: as above.
unsafe impl Sync for Part {}

/// Consecutive bytes of a file, to or from pieces of memory in order. As large as its submitter likes; an engine cuts it into
/// the requests that its file system likes, and goes on after a short read or write.
#[derive(Debug)]
pub struct Transfer {
    /// The submitter's name for it.
    pub token: u64,
    /// The file; kept open until the transfer is done. Whoever has it last closes it, and may wait for the file system there.
    pub file: Arc<OwnedFd>,
    /// Where in the file; [`STREAM`] where there are no places.
    pub offset: u64,
    /// Which way.
    pub direction: Direction,
    /// The memory.
    pub parts: Vec<Part>,
}

impl Transfer {
    /// How many bytes that are.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.parts.iter().map(|part| part.length as u64).sum()
    }
}

/// How a transfer ended.
#[derive(Debug)]
pub struct Done {
    /// Which one.
    pub token: u64,
    /// Bytes from its start that were moved; fewer than asked for only where a file being read ends.
    pub result: io::Result<u64>,
}

/// How much an engine has under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth {
    /// Requests that the file system has at once.
    pub requests: usize,
    /// Transfers that wait or are under way.
    pub transfers: usize,
    /// What a request moves at most; larger transfers are cut into several. A multiple of [`ALIGNMENT_BYTES`].
    pub request_bytes: u64,
}

impl Default for Depth {
    fn default() -> Depth {
        Depth { requests: 16, transfers: 256, request_bytes: 16 << 20 }
    }
}

impl Depth {
    fn check(&self) {
        assert!(self.requests > 0);
        assert!(self.transfers > 0);
        assert!(self.request_bytes > 0 && self.request_bytes.is_multiple_of(ALIGNMENT_BYTES));
    }
}

/// Moves the bytes of many transfers at once. Dropping one never waits: what is under way goes on by itself and is not told,
/// and its parts stay its own.
pub trait Engine: Send {
    /// What `doctor` and `plugins` call it: `io_uring`, `pread`, `buffered`.
    fn name(&self) -> &'static str;

    /// Takes a transfer up. Never waits for the file system.
    ///
    /// # Safety
    /// The parts are memory that stays mapped, and that nobody else writes (reads, for a read), until the transfer is done.
    ///
    /// # Errors
    /// The transfer itself, while as many are under way as there may be.
    unsafe fn submit(&mut self, transfer: Transfer) -> Result<(), Transfer>;

    /// Appends what is done. Never waits. Call it now and then even while nothing is: it also sees to requests that hang.
    fn reap(&mut self, done: &mut Vec<Done>);

    /// Readable while something is done that was not reaped.
    fn event_fd(&self) -> BorrowedFd<'_>;

    /// How many transfers are under way.
    fn under_way(&self) -> usize;
}

/// A directory of a store: names, and files of small records. Every call may wait for the file system, for minutes.
pub trait Directory: Send + Sync {
    /// The names in it, in any order.
    ///
    /// # Errors
    /// What the file system says.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes a file that is not there, for writing and reading.
    ///
    /// # Errors
    /// `AlreadyExists`; what the file system says.
    fn create(&self, name: &str, kind: FileKind) -> io::Result<Arc<OwnedFd>>;

    /// Opens a file for reading.
    ///
    /// # Errors
    /// `NotFound`; what the file system says.
    fn open(&self, name: &str, kind: FileKind) -> io::Result<Arc<OwnedFd>>;

    /// Gives a file another name, replacing what has it.
    ///
    /// # Errors
    /// What the file system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a name. One that is not there is no error.
    ///
    /// # Errors
    /// What the file system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Reads at an offset until the buffer is full or the file ends; how many bytes.
    ///
    /// # Errors
    /// What the file system says.
    fn read_at(&self, file: &OwnedFd, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all bytes at an offset.
    ///
    /// # Errors
    /// What the file system says.
    fn write_at(&self, file: &OwnedFd, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Overwrites bytes of a file with zeros, and gives back what they take where the file system can do that.
    ///
    /// # Errors
    /// `NotFound`; what the file system says.
    fn erase(&self, name: &str, offset: u64, length: u64) -> io::Result<()>;

    /// The length of a file, and when it was last written, in nanoseconds of the file system's clock.
    ///
    /// # Errors
    /// What the file system says.
    fn look(&self, file: &OwnedFd) -> io::Result<Look>;

    /// Makes durable what was written to a file.
    ///
    /// # Errors
    /// What the file system says.
    fn sync(&self, file: &OwnedFd) -> io::Result<()>;

    /// Makes durable the names.
    ///
    /// # Errors
    /// What the file system says.
    fn sync_names(&self) -> io::Result<()>;

    /// Operations so far that a metadata server would see: opens, creates, renames, removals, listings, looks.
    fn metadata_operations(&self) -> u64;

    /// What works otherwise than was wanted, as far as it is known by now, for people.
    fn notes(&self) -> Vec<String>;
}

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Bulk: direct I/O where the file system has it, striped where it can be.
    Container,
    /// Small records, through the page cache. A container may be opened so too, to read it at any offset and length.
    Records,
}

/// What a look at a file tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// How long it is.
    pub length: u64,
    /// When it was last written, by the file system's clock, in nanoseconds.
    pub written_ns: u64,
}

/// A directory as a store has it. In builds with the feature `faults` it meets those of the control file.
pub fn shared(directory: impl Directory + 'static) -> Arc<dyn Directory> {
    let directory: Arc<dyn Directory> = Arc::new(directory);
    #[cfg(feature = "faults")]
    if let Some(faults) = faulty::Faults::of_environment() {
        return Arc::new(faulty::FaultyDirectory::new(directory, faults));
    }
    directory
}
