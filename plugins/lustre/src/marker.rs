//! `cascade.store`: that a directory is a store, and of which version.

use crate::format::{BadLine, FileName, LINE_BYTES, Line, STORE_NAME, VERSION};
use crate::io::{Access, Directory, FileKind};
use crate::journal::random_word;
use crate::mover::unix_s;
use std::io;

/// Sees to it that the directory is a store that we understand; makes it one if it is none and may be written.
pub(crate) fn check(directory: &dyn Directory, access: Access) -> io::Result<()> {
    match directory.open(STORE_NAME, FileKind::Records) {
        Ok(file) => {
            let mut line = [0; LINE_BYTES];
            directory.read_at(&file, &mut line, 0)?;
            match Line::decode(&line) {
                // A damaged one says nothing against the lines of the others, each of which has its version.
                Ok(_) | Err(BadLine::Damaged | BadLine::Unknown) => Ok(()),
                Err(BadLine::OtherVersion(version)) => Err(refused(&format!(
                    "the store has version {version} of the format, this program reads version {VERSION}; \
                     give another directory, or remove it"
                ))),
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && access == Access::ReadWrite => {
            make(directory)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(refused(&format!(
            "it is no store, there is no {STORE_NAME} in it; give one that a node has made"
        ))),
        Err(error) => Err(error),
    }
}

/// Whether the directory is a store, of whatever version.
pub(crate) fn is_there(directory: &dyn Directory) -> io::Result<bool> {
    match directory.open(STORE_NAME, FileKind::Records) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes the file under another name first, so that nobody finds half of it. Two who make it make the same.
fn make(directory: &dyn Directory) -> io::Result<()> {
    let unfinished = FileName::Unfinished(random_word()).to_string();
    let file = directory.create(&unfinished, FileKind::Records)?;
    directory.write_at(&file, &Line::Store { made_unix_s: unix_s() }.encode(), 0)?;
    directory.rename(&unfinished, STORE_NAME)
}

fn refused(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, reason)
}
