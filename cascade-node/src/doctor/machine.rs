//! The facts: files below a root, the environment, and what only a system call can tell.
//!
//! The only file of the doctor that touches the machine. Checks never open a path by themselves.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

use super::io_uring::{self, Probe};

/// Size and free space of a file system, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Its size.
    pub total_bytes: u64,
    /// What this user may still take.
    pub free_bytes: u64,
}

/// A machine to look at; this one, or a tree that a test made up.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Where `/` is.
    pub root: PathBuf,
    /// The environment.
    pub environment: BTreeMap<String, String>,
    /// The user.
    pub uid: u32,
    /// The kind of processor, as `std::env::consts::ARCH` names it.
    pub architecture: &'static str,
    /// /dev/shm, where it is.
    pub shm: Option<Space>,
    /// Whether io_uring can be had.
    pub io_uring: Probe,
}

impl Machine {
    /// This machine, as this process sees it.
    pub fn here() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
        };
        Self {
            root: PathBuf::from("/"),
            environment: std::env::vars_os().filter_map(text).collect(),
            uid: rustix::process::getuid().as_raw(),
            architecture: std::env::consts::ARCH,
            shm: Space::of(Path::new("/dev/shm")),
            io_uring: io_uring::probe(),
        }
    }

    /// A variable that is set to something.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.environment.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The text of a file, by its absolute path; `None` where it is not or may not be read.
    pub(super) fn read(&self, path: impl AsRef<Path>) -> Option<String> {
        fs::read_to_string(self.below_root(path.as_ref())).ok()
    }

    /// What is known of a path, following links.
    pub(super) fn metadata(&self, path: impl AsRef<Path>) -> Option<Metadata> {
        fs::metadata(self.below_root(path.as_ref())).ok()
    }

    /// The names in a folder, sorted; none where it is not.
    pub(super) fn names(&self, path: impl AsRef<Path>) -> Vec<String> {
        let entries = fs::read_dir(self.below_root(path.as_ref())).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    fn below_root(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }
}

impl Space {
    fn of(path: &Path) -> Option<Self> {
        let found = rustix::fs::statvfs(path).ok()?;
        Some(Self {
            total_bytes: found.f_blocks * found.f_frsize,
            free_bytes: found.f_bavail * found.f_frsize,
        })
    }
}
