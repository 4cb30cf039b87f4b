//! Memory that no CPU can dereference: a file without a name that is mapped nowhere. Whoever hands out a pointer to it, or
//! copies by pointer, fails.

use cascade_tier::{Memory, MemoryId, MemoryRange, Status};
use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, ftruncate, memfd_create};
use rustix::io::{pread, pwrite};
use std::collections::HashMap;
use std::os::fd::OwnedFd;

/// The id of the device's one memory.
pub(super) const DEVICE: MemoryId = 0;

/// What ranges to allocate and release are multiples of.
pub(super) const ALIGNMENT_BYTES: u64 = 4096;

/// The device's memory, and the host's that was registered.
#[derive(Debug)]
pub(super) struct Device {
    memory: OwnedFd,
    pub(super) length_bytes: u64,
    pub(super) host: HashMap<MemoryId, Memory>,
}

impl Device {
    pub(super) fn new(length_bytes: u64) -> rustix::io::Result<Device> {
        let memory = memfd_create("device", MemfdFlags::CLOEXEC)?;
        ftruncate(&memory, length_bytes)?;
        Ok(Device { memory, length_bytes, host: HashMap::new() })
    }

    pub(super) fn allocate(&self, range: MemoryRange) -> Result<u64, Status> {
        self.aligned(range)?;
        fallocate(&self.memory, FallocateFlags::KEEP_SIZE, range.offset, range.length)
            .map_err(|_| Status::NO_SPACE)?;
        Ok(range.length)
    }

    pub(super) fn release(&self, range: MemoryRange) -> Result<u64, Status> {
        self.aligned(range)?;
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(&self.memory, flags, range.offset, range.length).map_err(|_| Status::IO)?;
        Ok(range.length)
    }

    fn aligned(&self, range: MemoryRange) -> Result<(), Status> {
        let is_aligned =
            range.offset.is_multiple_of(ALIGNMENT_BYTES) && range.length.is_multiple_of(ALIGNMENT_BYTES);
        let is_inside = range.memory == DEVICE && range.end_within(self.length_bytes).is_some();
        if is_aligned && is_inside { Ok(()) } else { Err(Status::INVALID) }
    }

    /// Whether the range may be read, or written.
    pub(super) fn check(&self, range: MemoryRange) -> Result<(), Status> {
        let length_bytes = match range.memory {
            DEVICE => Some(self.length_bytes),
            id => self.host.get(&id).map(|memory| memory.length_bytes),
        };
        length_bytes.and_then(|length| range.end_within(length)).map(|_| ()).ok_or(Status::INVALID)
    }

    pub(super) fn read(&self, range: MemoryRange) -> Result<Vec<u8>, Status> {
        self.check(range)?;
        let mut bytes = vec![0; range.length as usize];
        match self.host.get(&range.memory) {
            Some(memory) => {
                // SAFETY: the range lies in memory that the host promised to keep until it is forgotten, which is refused while
                // an operation names it; and the host lets nobody write what an operation reads.
                unsafe {
                    bytes.as_mut_ptr().copy_from(memory.cpu_pointer.add(range.offset as usize), bytes.len())
                };
            }
            None => {
                let count = pread(&self.memory, &mut bytes, range.offset).map_err(|_| Status::IO)?;
                assert_eq!(count, bytes.len(), "a memory file reads whole");
            }
        }
        Ok(bytes)
    }

    pub(super) fn write(&self, range: MemoryRange, bytes: &[u8]) -> Result<(), Status> {
        self.check(range)?;
        assert_eq!(range.length, bytes.len() as u64);
        match self.host.get(&range.memory) {
            Some(memory) => {
                // SAFETY: as in `read`, and the host lets nobody touch what an operation writes.
                unsafe {
                    memory.cpu_pointer.add(range.offset as usize).copy_from(bytes.as_ptr(), bytes.len())
                };
            }
            None => {
                let count = pwrite(&self.memory, bytes, range.offset).map_err(|_| Status::IO)?;
                assert_eq!(count, bytes.len(), "a memory file writes whole");
            }
        }
        Ok(())
    }
}
