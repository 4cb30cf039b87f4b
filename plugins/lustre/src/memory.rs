//! Memory that bytes are moved from and to: the host's, and pages of our own between them and the file.
//!
//! Invariants: a range of the host's memory is touched only while an operation that names it is under way, for then it is
//! ours and stays mapped; both kinds stay where they are while a transfer has parts of them. All `unsafe` of this crate
//! outside of `io` is here.

use crate::format::BLOCK_BYTES;
use crate::io::{Engine, Part, Transfer};
use cascade_core::checksum::Crc32c;
use cascade_core::copy;
use cascade_tier::{Memory, MemoryRange};
use memmap2::MmapMut;
use std::io;
use std::ops::Range;

/// A range of the host's memory that belongs to an operation under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostBytes {
    pointer: *mut u8,
    length: usize,
}

// SAFETY: it is the name of memory that is ours alone while the operation is under way, on whatever thread.
unsafe impl Send for HostBytes {}

impl HostBytes {
    /// A range of a memory that the host made known, if it lies in it and a CPU can reach it.
    pub(crate) fn within(memory: &Memory, range: MemoryRange) -> Option<HostBytes> {
        range.end_within(memory.length_bytes)?;
        let offset = usize::try_from(range.offset).ok()?;
        let length = usize::try_from(range.length).ok()?;
        Some(HostBytes { pointer: memory.cpu_address()?.wrapping_add(offset), length })
    }

    /// Pages as if they were the host's: for pieces that are moved on our own account.
    pub(crate) fn of_pages(pages: &mut Pages, length: usize) -> HostBytes {
        assert!(length <= pages.map.len());
        HostBytes { pointer: pages.map.as_mut_ptr(), length }
    }

    pub(crate) fn length(self) -> u64 {
        self.length as u64
    }

    /// Whether direct I/O takes it as it is, but for the last bytes that fill no block.
    pub(crate) fn is_aligned(self) -> bool {
        self.pointer.addr().is_multiple_of(BLOCK_BYTES as usize)
    }

    /// The bytes of it from its start that fill whole blocks.
    pub(crate) fn whole_blocks(self) -> HostBytes {
        HostBytes { length: self.length - self.length % BLOCK_BYTES as usize, ..self }
    }

    /// All of it as a part of a transfer.
    pub(crate) fn part(self) -> Part {
        Part { pointer: self.pointer, length: self.length }
    }

    /// The rest behind the whole blocks.
    pub(crate) fn rest(self) -> HostBytes {
        let whole = self.whole_blocks().length;
        HostBytes { pointer: self.pointer.wrapping_add(whole), length: self.length - whole }
    }

    /// The checksum of what `sum` covers, followed by these bytes.
    pub(crate) fn sum(self, sum: Crc32c) -> Crc32c {
        // SAFETY: the range was checked against a memory that the host keeps while the operation is under way.
        unsafe { copy::checksum(self.pointer, self.length, sum) }
    }

    /// Copies it into pages.
    pub(crate) fn copy_to(self, pages: &mut Pages, at: usize) {
        let target = &mut pages.map[at..at + self.length];
        // SAFETY: as in `sum`; the target is a slice of as many bytes, of memory that nobody else has.
        let _ = unsafe { copy::copy(target.as_mut_ptr(), self.pointer, self.length, Crc32c::EMPTY) };
    }

    /// Fills it from pages, and gives the checksum of what `sum` covers followed by the bytes.
    pub(crate) fn copy_from(self, pages: &Pages, at: usize, sum: Crc32c) -> Crc32c {
        let source = &pages.map[at..at + self.length];
        // SAFETY: as in `sum`, and the host reads nothing that an operation writes.
        unsafe { copy::copy(self.pointer, source.as_ptr(), self.length, sum) }
    }
}

/// Whole blocks of our own, zeroed, where direct I/O takes them.
#[derive(Debug)]
pub(crate) struct Pages {
    map: MmapMut,
}

impl Pages {
    /// So many bytes, rounded up to blocks.
    pub(crate) fn new(bytes: u64) -> io::Result<Pages> {
        let bytes = usize::try_from(crate::format::round_up(bytes.max(1))).map_err(io::Error::other)?;
        Ok(Pages { map: MmapMut::map_anon(bytes)? })
    }

    #[cfg(test)]
    fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.map[range]
    }

    pub(crate) fn bytes_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        &mut self.map[range]
    }

    pub(crate) fn length(&self) -> usize {
        self.map.len()
    }

    /// A range of it as a part of a transfer. It must not be touched, nor dropped, before the transfer is done.
    pub(crate) fn part(&mut self, range: Range<usize>) -> Part {
        let slice = &mut self.map[range];
        Part { pointer: slice.as_mut_ptr(), length: slice.len() }
    }
}

/// Hands a transfer to an engine. Its parts are of [`HostBytes`] and [`Pages`], and whoever made it keeps both until it is done.
pub(crate) fn submit(engine: &mut dyn Engine, transfer: Transfer) -> Result<(), Transfer> {
    // SAFETY: a range of the host's is ours until its operation completes, which it does after its transfer; pages are kept
    // with the flight that the transfer belongs to, and are nobody else's.
    unsafe { engine.submit(transfer) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_in_the_memory_is_reached() {
        let mut buffer = [0_u8; 100];
        let memory = Memory::new("m", 100).at(buffer.as_mut_ptr());
        assert!(HostBytes::within(&memory, MemoryRange::new(0, 0, 100)).is_some());
        for (offset, length) in [(0, 101), (100, 1), (u64::MAX, 2), (5, 0)] {
            assert!(HostBytes::within(&memory, MemoryRange::new(0, offset, length)).is_none());
        }
        assert!(HostBytes::within(&Memory::new("far", 100), MemoryRange::new(0, 0, 1)).is_none());
    }

    #[test]
    fn bytes_go_through_pages_and_back_with_their_sum() {
        let mut pages = Pages::new(1).unwrap();
        assert_eq!(pages.length() as u64, BLOCK_BYTES);
        let (mut source, mut target) = (*b"some bytes", [0_u8; 10]);
        let range = MemoryRange::new(0, 0, 10);
        let host = |buffer: &mut [u8; 10]| {
            HostBytes::within(&Memory::new("m", 10).at(buffer.as_mut_ptr()), range).unwrap()
        };
        let from = host(&mut source);
        from.copy_to(&mut pages, 7);
        assert_eq!(pages.bytes(7..17), b"some bytes");
        let sum = host(&mut target).copy_from(&pages, 7, Crc32c::EMPTY);
        assert_eq!((sum, &target), (from.sum(Crc32c::EMPTY), b"some bytes"));
    }
}
