//! Whether direct I/O works: some file systems take the flag and refuse the I/O, so a page is written and read back.

use super::ALIGNMENT_BYTES;
use memmap2::MmapMut;
use rustix::fs::{self, Mode, OFlags};
use rustix::io::{Errno, pread, pwrite};
use std::io;
use std::os::fd::OwnedFd;

/// Tries it in a folder, on a file that never has a name and goes however we end.
///
/// # Errors
/// No such file can be made there.
pub(crate) fn probe(folder: &OwnedFd) -> rustix::io::Result<Result<(), String>> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match fs::openat(folder, ".", flags | OFlags::DIRECT, Mode::RUSR | Mode::WUSR) {
        Ok(file) => Ok(writes_and_reads(&file)),
        Err(error) => {
            // Without the flag: is it the flag that is refused, or the file?
            fs::openat(folder, ".", flags, Mode::RUSR | Mode::WUSR)?;
            Ok(Err(refused(error)))
        }
    }
}

pub(crate) fn refused(error: Errno) -> String {
    format!("O_DIRECT is refused: {error}")
}

/// Tries it on an empty file that was opened for it.
pub(crate) fn writes_and_reads(file: &OwnedFd) -> Result<(), String> {
    let mut page = page().map_err(|error| error.to_string())?;
    page.fill(0xC5);
    match pwrite(file, &page, 0) {
        // A full file system can say no more; that it took the flag has to do.
        Err(Errno::NOSPC | Errno::DQUOT) => return Ok(()),
        written => written.map_err(|error| format!("O_DIRECT writes fail: {error}"))?,
    };
    page.fill(0);
    let read = pread(file, &mut page[..], 0).map_err(|error| format!("O_DIRECT reads fail: {error}"))?;
    let same = read == page.len() && page.iter().all(|&byte| byte == 0xC5);
    if same { Ok(()) } else { Err("O_DIRECT reads what was not written".to_owned()) }
}

/// Tries it on a file that is only read.
pub(crate) fn reads(file: &OwnedFd) -> Result<(), String> {
    let mut page = page().map_err(|error| error.to_string())?;
    match pread(file, &mut page[..], 0) {
        Err(error @ (Errno::INVAL | Errno::OPNOTSUPP)) => Err(format!("O_DIRECT reads fail: {error}")),
        // Anything else is not about direct I/O, and whoever reads meets it again.
        _ => Ok(()),
    }
}

/// A page that direct I/O takes.
fn page() -> io::Result<MmapMut> {
    MmapMut::map_anon(ALIGNMENT_BYTES as usize)
}
