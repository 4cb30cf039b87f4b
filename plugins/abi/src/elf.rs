//! Whether a file is a whole shared library for this machine, before the dynamic loader maps it.
//!
//! The loader trusts the file's own description of its size: a library that was cut short (a full disk, a broken copy) ends
//! the process by SIGBUS instead of an error (tried with glibc 2.36). So the description is compared with the file first.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

const HEADER_BYTES: usize = 64;
const SEGMENT_HEADER_BYTES: u64 = 56;
const SHARED_OBJECT: u16 = 3;
const LOADED_SEGMENT: u32 = 1;

#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("Cascade runs on x86-64 and aarch64");

/// Says what is wrong with the file as a shared library, if anything is.
pub(crate) fn fault(path: &Path) -> Option<String> {
    let examined = File::open(path).and_then(|file| examine(&file));
    examined.unwrap_or_else(|error| Some(error.to_string()))
}

fn examine(file: &File) -> io::Result<Option<String>> {
    let fault = |text: &str| Ok(Some(text.to_owned()));
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return fault("it is no file");
    }
    let mut header = [0; HEADER_BYTES];
    if metadata.len() < HEADER_BYTES as u64 {
        return fault("it is too short to be a library");
    }
    file.read_exact_at(&mut header, 0)?;
    // Little-endian, 64-bit ELF: the only kind that we run on.
    if header[..6] != *b"\x7fELF\x02\x01" {
        return fault("it is no 64-bit ELF file");
    }
    if u16_at(&header, 16) != SHARED_OBJECT {
        return fault("it is an ELF file, but no shared library");
    }
    if u16_at(&header, 18) != MACHINE {
        return fault("it is a library for another processor");
    }
    let (table, entry_bytes, entries) = (u64_at(&header, 32), u16_at(&header, 54), u16_at(&header, 56));
    if u64::from(entry_bytes) != SEGMENT_HEADER_BYTES {
        return fault("its program headers have an unknown size");
    }
    for number in 0..u64::from(entries) {
        let mut segment = [0; SEGMENT_HEADER_BYTES as usize];
        let at = table.checked_add(number * SEGMENT_HEADER_BYTES);
        let read = at.map(|at| file.read_exact_at(&mut segment, at));
        if !matches!(read, Some(Ok(()))) {
            return fault("it was cut short: its program headers are missing");
        }
        let is_loaded = u32_at(&segment, 0) == LOADED_SEGMENT;
        let end = u64_at(&segment, 8).checked_add(u64_at(&segment, 32));
        if is_loaded && end.is_none_or(|end| end > metadata.len()) {
            return Ok(Some(format!(
                "it was cut short: it has {} bytes, and says that it has more",
                metadata.len()
            )));
        }
    }
    Ok(None)
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_is_whole_until_it_is_cut() {
        // Test programs are position-independent, which to ELF is a shared object.
        let me = std::env::current_exe().unwrap();
        assert_eq!(fault(&me), None);
        let bytes = std::fs::read(&me).unwrap();
        let cut = std::env::temp_dir().join(format!("cascade-elf-{}", std::process::id()));
        for length in [0, 10, 63, 64, 100, 400, 4096, 100_000] {
            std::fs::write(&cut, &bytes[..length]).unwrap();
            let found = fault(&cut);
            assert!(found.is_some(), "{length} bytes of a program are taken for a whole one");
        }
        std::fs::remove_file(&cut).unwrap();
    }
}
