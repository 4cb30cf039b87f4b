//! A segment's folder: private, or refused.
//! Invariants: it belongs to this user, nobody else can enter it, and it was reached through no symbolic link that somebody
//! else could have made. Whatever lies in it is the segment's, and goes with it.

use cascade_tier::{Status, TierError};
use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

const PRIVATE_FOLDER: Mode = Mode::RWXU;
const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);
const CREATE_ATTEMPTS: usize = 16;
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A private folder, held open.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    fd: OwnedFd,
}

impl Directory {
    /// Opens the folder, and makes it and its parents where they are missing.
    pub(crate) fn create(path: &Path) -> Result<Directory, TierError> {
        let parent = path.parent().ok_or_else(|| refused(path, "give a folder below another"))?;
        // Another node of the user may take the folders away, empty as they are, while we make them.
        for _ in 0..CREATE_ATTEMPTS {
            make_parents(parent)?;
            match fs::mkdir(path, PRIVATE_FOLDER) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(failed("create", path, error)),
            }
            if let Some(directory) = Directory::open(path)? {
                return Ok(directory);
            }
        }
        Err(failed("open", path, Errno::NOENT))
    }

    /// Opens the folder if it is there.
    pub(crate) fn open(path: &Path) -> Result<Option<Directory>, TierError> {
        let fd = match fs::open(path, FOLDER, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP | Errno::NOTDIR) => {
                return Err(refused(
                    path,
                    "it is no folder, or a symbolic link; remove it or choose another",
                ));
            }
            Err(error) => return Err(failed("open", path, error)),
        };
        let stat = fs::fstat(&fd).map_err(|error| failed("look at", path, error))?;
        let me = rustix::process::geteuid().as_raw();
        if stat.st_uid != me {
            return Err(refused(
                path,
                &format!("it belongs to user {}, not to {me}; choose another", stat.st_uid),
            ));
        }
        if stat.st_mode & 0o077 != 0 {
            let mode = stat.st_mode & 0o777;
            return Err(refused(path, &format!("others may enter it (mode {mode:o}); chmod 700 it")));
        }
        Ok(Some(Directory { path: path.to_owned(), fd }))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a file to read and write; `None` if it is not there.
    pub(crate) fn open_file(&self, name: &str) -> Result<Option<OwnedFd>, TierError> {
        self.open_at(name, OFlags::RDWR)
    }

    /// Opens a file to read only; `None` if it is not there.
    pub(crate) fn open_file_readonly(&self, name: &str) -> Result<Option<OwnedFd>, TierError> {
        self.open_at(name, OFlags::RDONLY)
    }

    /// Opens a file to read and write, and makes it if it is missing; `None` if the folder itself is gone.
    pub(crate) fn open_or_create_file(&self, name: &str) -> Result<Option<OwnedFd>, TierError> {
        self.open_at(name, OFlags::RDWR | OFlags::CREATE)
    }

    /// Makes a new file.
    pub(crate) fn create_file(&self, name: &str) -> Result<OwnedFd, TierError> {
        let fd = self.open_at(name, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL)?;
        fd.ok_or_else(|| failed("create", &self.path.join(name), Errno::NOENT))
    }

    fn open_at(&self, name: &str, flags: OFlags) -> Result<Option<OwnedFd>, TierError> {
        match fs::openat(&self.fd, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, PRIVATE_FILE) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(failed("open", &self.path.join(name), error)),
        }
    }

    /// Whether `name` in this folder is the file that `fd` is, and was not removed or replaced meanwhile.
    pub(crate) fn still_names(&self, name: &str, fd: impl AsFd) -> bool {
        let found = fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW);
        let held = fs::fstat(fd);
        matches!((found, held), (Ok(a), Ok(b)) if a.st_ino == b.st_ino && a.st_dev == b.st_dev)
    }

    /// The names of what lies here, folders apart.
    pub(crate) fn files(&self) -> Result<Vec<String>, TierError> {
        let failed = |error| failed("list", &self.path, error);
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.fd).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_type() != FileType::Directory {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Removes every file but `kept`. Whoever has one mapped keeps what he has: files are never shortened.
    pub(crate) fn clear_except(&self, kept: &str) -> Result<(), TierError> {
        for name in self.files()?.into_iter().filter(|name| name != kept) {
            self.remove_file(&name)?;
        }
        Ok(())
    }

    pub(crate) fn remove_file(&self, name: &str) -> Result<(), TierError> {
        match fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(failed("remove", &self.path.join(name), error)),
        }
    }

    /// Removes the folder, which must be empty, and the user's folder above it if this was the last one in there; one
    /// that is gone or was filled again by somebody is left alone.
    pub(crate) fn remove_empty(&self) -> Result<(), TierError> {
        let remove = |path: &Path| match fs::rmdir(path) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
            Err(error) => Err(failed("remove", path, error)),
        };
        remove(&self.path)?;
        let users = format!("cascade-{}", rustix::process::geteuid().as_raw());
        match self.path.parent() {
            Some(parent) if parent.file_name().is_some_and(|name| name == users.as_str()) => remove(parent),
            _ => Ok(()),
        }
    }
}

/// Makes the folders above a segment, privately, where they are missing, and sees to it that nobody else can exchange the segment's.
fn make_parents(parent: &Path) -> Result<(), TierError> {
    let missing: Vec<&Path> = parent.ancestors().take_while(|path| !path.exists()).collect();
    for path in missing.into_iter().rev() {
        match fs::mkdir(path, PRIVATE_FOLDER) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(failed("create", path, error)),
        }
    }
    let stat = match fs::stat(parent) {
        Err(Errno::NOENT) => return Ok(()),
        stat => stat.map_err(|error| failed("look at", parent, error))?,
    };
    let me = rustix::process::geteuid().as_raw();
    if stat.st_uid != me && stat.st_uid != 0 {
        return Err(refused(parent, &format!("it belongs to user {}; choose another", stat.st_uid)));
    }
    let sticky = stat.st_mode & 0o1000 != 0;
    if stat.st_mode & 0o022 != 0 && !sticky {
        return Err(refused(
            parent,
            "others may replace what lies in it; choose a folder that only you can write",
        ));
    }
    Ok(())
}

fn refused(path: &Path, reason: &str) -> TierError {
    TierError::invalid(format!("{}: {reason}", path.display()))
}

/// A system call on a path failed.
pub(crate) fn failed(verb: &str, path: &Path, error: Errno) -> TierError {
    let (status, advice) = match error {
        Errno::NOSPC | Errno::DQUOT => (Status::NO_SPACE, "; run `cascade-node gc`, or ask for less"),
        Errno::NOMEM => (Status::NO_SPACE, "; ask for less, or look at `ulimit -v`"),
        Errno::MFILE | Errno::NFILE => (Status::IO, "; raise `ulimit -n`"),
        Errno::ACCESS | Errno::PERM => (Status::IO, "; look at the permissions of the folders above it"),
        _ => (Status::IO, ""),
    };
    TierError::new(status, format!("{}: cannot {verb} it: {error}{advice}", path.display()))
}
