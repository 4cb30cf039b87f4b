//! The folder of a store: private, or refused.

use super::Access;
use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens a folder that nobody else can enter, and for writing makes it and those above it where they are missing. How many
/// operations a metadata server saw of it.
pub(crate) fn open(path: &Path, access: Access) -> io::Result<(OwnedFd, u64)> {
    let mut metadata_operations = 2;
    if access == Access::ReadWrite {
        metadata_operations += 1;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    }
    let folder = fs::open(path, FOLDER, Mode::empty()).map_err(|error| match error {
        Errno::LOOP | Errno::NOTDIR => {
            refused(path, "it is a symbolic link or no folder; give the folder itself")
        }
        error => error.into(),
    })?;
    let stat = fs::fstat(&folder)?;
    let (owner, me) = (stat.st_uid, rustix::process::geteuid().as_raw());
    if owner != me {
        return Err(refused(path, &format!("it belongs to user {owner}, not to {me}; choose another")));
    }
    if stat.st_mode & 0o077 != 0 {
        let mode = stat.st_mode & 0o777;
        return Err(refused(path, &format!("others may enter it (mode {mode:o}); chmod 700 it")));
    }
    Ok((folder, metadata_operations))
}

fn refused(path: &Path, reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, format!("{}: {reason}", path.display()))
}
