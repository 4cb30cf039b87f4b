//! One file of a segment, mapped for as long as the tier is open.
//! Invariants: a region never changes its size, so nobody who maps it is ever cut off; it is mapped MADV_DONTFORK, its
//! descriptors are CLOEXEC. Its pages come by `back` and go by `punch`.

use crate::config::{HugePages, Numa, RegionConfig};
use crate::directory::{Directory, failed};
use crate::numa;
use cascade_tier::{Memory, TierError};
use memmap2::{Advice, MmapOptions, MmapRaw};
use rustix::fs::{FallocateFlags, SeekFrom, fallocate, fstat, ftruncate, seek};
use rustix::io::{Errno, Result};
use rustix::mm;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// A file of the segment.
#[derive(Debug)]
pub(crate) struct Region {
    name: String,
    file: OwnedFd,
    readonly: OwnedFd,
    mapping: MmapRaw,
    length_bytes: u64,
    numa: Option<Numa>,
    huge_pages: HugePages,
    prefault: bool,
    /// The kernel cannot prefault: Linux before 5.14.
    prefault_unknown: AtomicBool,
}

impl Region {
    /// Makes the file, sparse.
    pub(crate) fn create(
        directory: &Directory,
        config: &RegionConfig,
        warnings: &mut Vec<String>,
    ) -> std::result::Result<Region, TierError> {
        let file = directory.create_file(&config.name)?;
        let length_bytes = config.bytes.next_multiple_of(page_bytes());
        ftruncate(&file, length_bytes)
            .map_err(|error| failed("size", &directory.path().join(&config.name), error))?;
        Region::map(directory, config, file, length_bytes, warnings)
    }

    /// Takes over the file that is there, with the size that it has. `None` if there is none, or none that was finished.
    pub(crate) fn adopt(
        directory: &Directory,
        config: &RegionConfig,
        warnings: &mut Vec<String>,
    ) -> std::result::Result<Option<Region>, TierError> {
        let Some(file) = directory.open_file(&config.name)? else { return Ok(None) };
        let stat =
            fstat(&file).map_err(|error| failed("look at", &directory.path().join(&config.name), error))?;
        let length_bytes = stat.st_size as u64;
        if length_bytes == 0 || !length_bytes.is_multiple_of(page_bytes()) {
            return Ok(None);
        }
        Region::map(directory, config, file, length_bytes, warnings).map(Some)
    }

    fn map(
        directory: &Directory,
        config: &RegionConfig,
        file: OwnedFd,
        length_bytes: u64,
        warnings: &mut Vec<String>,
    ) -> std::result::Result<Region, TierError> {
        let RegionConfig { ref name, numa, huge_pages, prefault, .. } = *config;
        let path = directory.path().join(name);
        let lost = || failed("open", &path, Errno::NOENT);
        let readonly = directory.open_file_readonly(name)?.ok_or_else(lost)?;
        let unmappable = |error: std::io::Error| {
            failed("map", &path, Errno::from_io_error(&error).unwrap_or(Errno::NOMEM))
        };
        let length = usize::try_from(length_bytes).map_err(|_| failed("map", &path, Errno::NOMEM))?;
        let mapping = MmapOptions::new().len(length).map_raw(file.as_raw_fd()).map_err(unmappable)?;
        mapping.advise(Advice::DontFork).map_err(unmappable)?;
        if huge_pages == HugePages::Advise
            && let Err(error) = mapping.advise(Advice::HugePage)
        {
            warnings.push(format!("{name}: no huge pages: {error}"));
        }
        if let Some(numa) = numa
            && let Err(error) = numa::place(mapping.as_mut_ptr(), length, numa)
        {
            warnings.push(format!("{name}: not placed on the NUMA domain that was asked for: {error}"));
        }
        let name = name.clone();
        Ok(Region {
            name,
            file,
            readonly,
            mapping,
            length_bytes,
            numa,
            huge_pages,
            prefault,
            prefault_unknown: AtomicBool::new(false),
        })
    }

    /// How hosts and other tiers see it.
    pub(crate) fn export(&self, id: u16) -> Memory {
        let mut memory = Memory::new(&self.name, self.length_bytes).at(self.mapping.as_mut_ptr());
        memory.id = id;
        memory.fd = self.file.as_raw_fd();
        memory.fd_readonly = self.readonly.as_raw_fd();
        if let Some(Numa::Bind(node)) = self.numa {
            memory.numa_node = i32::try_from(node).unwrap_or(-1);
        }
        memory
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) const fn length_bytes(&self) -> u64 {
        self.length_bytes
    }

    pub(crate) const fn huge_pages(&self) -> HugePages {
        self.huge_pages
    }

    pub(crate) const fn numa(&self) -> Option<Numa> {
        self.numa
    }

    pub(crate) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// The address of a byte. Formed without touching it.
    pub(crate) fn address(&self, offset: u64) -> *mut u8 {
        assert!(offset < self.length_bytes);
        self.mapping.as_mut_ptr().wrapping_add(offset as usize)
    }

    /// How much memory the region has.
    pub(crate) fn allocated_bytes(&self) -> u64 {
        fstat(&self.file).map_or(0, |stat| stat.st_blocks as u64 * 512)
    }

    /// At most how much memory backing a range will take. Two bounds, because each misses something: pages that were backed
    /// but never written count as holes, and the file's total does not say where its pages are.
    pub(crate) fn missing_bytes(&self, offset: u64, length: u64) -> u64 {
        let unwritten = length - self.written_bytes(offset, length).unwrap_or(0);
        unwritten.min(self.length_bytes.saturating_sub(self.allocated_bytes()))
    }

    /// How much of a range has pages that were written since they were backed.
    pub(crate) fn written_bytes(&self, offset: u64, length: u64) -> Result<u64> {
        let (mut written, mut at, end) = (0, offset, offset + length);
        while at < end {
            let data = match seek(&self.file, SeekFrom::Data(at)) {
                Ok(data) => data.min(end),
                Err(Errno::NXIO) => end,
                Err(error) => return Err(error),
            };
            if data >= end {
                break;
            }
            let hole = seek(&self.file, SeekFrom::Hole(data))?.min(end);
            written += hole - data;
            at = hole;
        }
        Ok(written)
    }

    /// Backs a range with memory. What it holds stays.
    pub(crate) fn back(&self, offset: u64, length: u64) -> Result<()> {
        uninterrupted(|| fallocate(&self.file, FallocateFlags::KEEP_SIZE, offset, length))?;
        // Relaxed: it only spares calls that are known to fail.
        if !self.prefault || self.prefault_unknown.load(Ordering::Relaxed) {
            return Ok(());
        }
        // SAFETY: the range lies in the mapping (`address` checks its start, the caller its end), and populating changes
        // no byte; where there is no memory this is an error, not a signal.
        let populated = unsafe {
            mm::madvise(self.address(offset).cast(), length as usize, mm::Advice::LinuxPopulateWrite)
        };
        match populated {
            // The range has its memory; only that its first writer finds it zeroed is lost.
            Err(Errno::INVAL | Errno::NOSYS) => {
                self.prefault_unknown.store(true, Ordering::Relaxed);
                Ok(())
            }
            result => result,
        }
    }

    /// Whether pages were to be prefaulted, but the kernel knows no way.
    pub(crate) fn lacks_prefault(&self) -> bool {
        self.prefault_unknown.load(Ordering::Relaxed)
    }

    /// Gives the memory of a range back. It reads as zeros then.
    pub(crate) fn punch(&self, offset: u64, length: u64) -> Result<()> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        uninterrupted(|| fallocate(&self.file, flags, offset, length))
    }
}

fn uninterrupted(mut call: impl FnMut() -> Result<()>) -> Result<()> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

pub(crate) fn page_bytes() -> u64 {
    rustix::param::page_size() as u64
}
