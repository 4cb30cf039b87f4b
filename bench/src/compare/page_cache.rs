//! What the kernel keeps of files: dropped, and counted.

use memmap2::MmapOptions;
use rustix::fs::{Advice, fadvise};
use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Writes everything below a folder back.
///
/// # Errors
/// A file cannot be opened or written back.
pub(crate) fn sync_below(folder: &Path) -> io::Result<()> {
    each_file(folder, &mut |file, _| file.sync_all())
}

/// Writes everything below a folder back and lets its pages go. What stays nevertheless tells
/// [`resident_bytes`].
///
/// # Errors
/// As [`sync_below`].
pub(crate) fn drop_below(folder: &Path) -> io::Result<()> {
    each_file(folder, &mut |file, _| {
        file.sync_all()?;
        Ok(fadvise(file, 0, None, Advice::DontNeed)?)
    })
}

/// Bytes of the files below a folder that are in memory, in whole pages.
///
/// # Errors
/// A file cannot be opened or looked at.
pub(crate) fn resident_bytes(folder: &Path) -> io::Result<u64> {
    let page_bytes = rustix::param::page_size();
    let mut resident_pages = 0;
    each_file(folder, &mut |file, len_bytes| {
        if len_bytes == 0 {
            return Ok(());
        }
        // SAFETY: nothing is read through the mapping; whoever else writes the file does not matter to the question.
        let map = unsafe { MmapOptions::new().len(len_bytes as usize).map(file) }?;
        let mut pages = vec![0_u8; (len_bytes as usize).div_ceil(page_bytes)];
        // SAFETY: the mapping lives, and there is a byte for each of its pages.
        let error = unsafe { libc::mincore(map.as_ptr().cast_mut().cast(), map.len(), pages.as_mut_ptr()) };
        if error != 0 {
            return Err(io::Error::last_os_error());
        }
        resident_pages += pages.iter().filter(|&&page| page & 1 == 1).count() as u64;
        Ok(())
    })?;
    Ok(resident_pages * page_bytes as u64)
}

fn each_file(folder: &Path, visit: &mut impl FnMut(&File, u64) -> io::Result<()>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            each_file(&entry.path(), visit)?;
        } else if kind.is_file() {
            let file = File::open(entry.path())?;
            visit(&file, file.metadata()?.len())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_just_written_is_in_memory_at_any_depth() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("deep")).expect("a folder");
        fs::write(folder.path().join("deep/file"), vec![1; 100_000]).expect("a file");
        assert!(resident_bytes(folder.path()).expect("it is ours") >= 100_000);
    }

    #[test]
    fn what_lies_in_memory_alone_stays_there_and_is_counted() {
        let folder = tempfile::tempdir_in("/dev/shm").expect("a folder");
        fs::write(folder.path().join("file"), vec![1; 8192]).expect("a file");
        drop_below(folder.path()).expect("it is ours");
        assert_eq!(resident_bytes(folder.path()).expect("it is ours"), 8192);
    }
}
