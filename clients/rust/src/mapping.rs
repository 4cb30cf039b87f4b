//! The node's memory in this process, and the one room for `unsafe`.
//!
//! Invariants: a [`Mapping`] outlives every view of its segment; nothing of it is inherited by a forked child
//! (MADV_DONTFORK), where the [`ForkMarker`] reads 0 and nobody may touch shared memory, not even to unmap it; an
//! [`Extent`] is made by a bounds check and used only while a claim or a grant keeps its slot.

use crate::error::Error;
use cascade_core::checksum::Crc32c;
use cascade_core::copy::{self, Copier, Fragment};
use cascade_core::index::Location;
use cascade_core::page::PAGE_BYTES;
use cascade_core::segment::{ARENAS_MAX, LayoutError, Segment};
use cascade_core::slot::SlotRef;
use cascade_core::view::{Region, prefetch_at};
use memmap2::{Advice, MmapOptions, MmapRaw};
use rustix::fs::{Mode, OFlags};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that the kernel maps around a page that is read for the first time (`fault_around_bytes`, its default): the
/// unit in which a process remembers what it has mapped for writing.
const STRETCH_BYTES: u64 = 64 << 10;

/// Lines of a slot's bytes that are asked for ahead: enough for the processor to see where this goes.
const PREFETCH_LINES: usize = 8;

/// A page that the kernel wipes in a forked child: one load tells which side of the fork this is.
#[derive(Debug)]
pub(crate) struct ForkMarker {
    page: MmapRaw,
}

impl ForkMarker {
    pub(crate) fn new() -> Result<Self, Error> {
        let doing = "marking memory against fork";
        let page = MmapRaw::from(MmapOptions::new().len(PAGE_BYTES).map_anon().map_err(Error::io(doing))?);
        // SAFETY: the range is the mapping just made; the advice changes what a child inherits, nothing here.
        unsafe {
            rustix::mm::madvise(page.as_mut_ptr().cast(), PAGE_BYTES, rustix::mm::Advice::LinuxWipeOnFork)
        }
        .map_err(Error::io(doing))?;
        let marker = Self { page };
        marker.word().store(1, Ordering::Relaxed);
        Ok(marker)
    }

    /// Whether this process is a forked child of the one that made the marker.
    #[inline]
    pub(crate) fn is_child(&self) -> bool {
        self.word().load(Ordering::Relaxed) == 0
    }

    fn word(&self) -> &AtomicU64 {
        // SAFETY: the mapping is aligned to a page, larger than a word, and lives as long as `self`.
        unsafe { AtomicU64::from_ptr(self.page.as_mut_ptr().cast()) }
    }
}

/// The descriptors that came with an attachment.
#[derive(Debug)]
pub(crate) struct SegmentFiles {
    /// Client pages, mapped for writing.
    pub(crate) pages: OwnedFd,
    /// Header, index and lines, mapped for reading.
    pub(crate) meta: OwnedFd,
    /// Arenas, mapped for writing; each under its number.
    pub(crate) arenas: Vec<(usize, OwnedFd)>,
}

/// A segment mapped into this process.
#[derive(Debug)]
pub(crate) struct Mapping {
    // 'static stands for "as long as `maps`"; `segment()` hands it out no longer than `self`.
    segment: Segment<'static>,
    maps: ManuallyDrop<Vec<MmapRaw>>,
    // A bit for each stretch of each arena that this process has mapped for writing.
    stretches: Vec<Box<[AtomicU64]>>,
    marker: Arc<ForkMarker>,
}

impl Mapping {
    /// Maps all files and checks every size against the header.
    pub(crate) fn open(files: &SegmentFiles, marker: Arc<ForkMarker>) -> Result<Self, Error> {
        let mut maps = Vec::new();
        let mut map = |file: &OwnedFd, writable: bool| -> Result<Region<'static>, Error> {
            let doing = "mapping the node's memory";
            let len = rustix::fs::fstat(file).map_err(Error::io(doing))?.st_size as usize;
            if len == 0 {
                return Err(LayoutError::Size.into());
            }
            let mut options = MmapOptions::new();
            options.len(len);
            let fd = file.as_raw_fd();
            let map = if writable { options.map_raw(fd) } else { options.map_raw_read_only(fd) };
            let map = map.map_err(Error::io(doing))?;
            map.advise(Advice::DontFork).map_err(Error::io("keeping the node's memory out of children"))?;
            let base = NonNull::new(map.as_mut_ptr()).expect("a mapping is never at null");
            maps.push(map);
            // SAFETY: the mapping is kept in `maps`, which lives as long as every copy of the region; it is reached
            // through the region only. The client stores to no word of `meta`.
            Ok(unsafe { Region::new(base, len) })
        };
        let meta = map(&files.meta, false)?;
        let pages = map(&files.pages, true)?;
        let mut arenas = [None; ARENAS_MAX];
        for (number, file) in &files.arenas {
            *arenas.get_mut(*number).ok_or(LayoutError::Geometry)? = Some(map(file, true)?);
        }
        let segment = Segment::open(meta, pages, arenas)?;
        let geometry = segment.geometry();
        let words = |arena| geometry.arena_bytes(arena).div_ceil(64 * STRETCH_BYTES);
        let unseen = |arena| (0..words(arena)).map(|_| AtomicU64::new(0)).collect();
        let stretches = (0..ARENAS_MAX as u8).map(unseen).collect();
        Ok(Self { segment, maps: ManuallyDrop::new(maps), stretches, marker })
    }

    /// The segment, for as long as it is mapped.
    #[inline]
    pub(crate) fn segment(&self) -> &Segment<'_> {
        &self.segment
    }

    /// Whether the mapping does not exist in this process.
    #[inline]
    pub(crate) fn is_forked(&self) -> bool {
        self.marker.is_child()
    }

    /// Asks the processor for the line of a slot and for where its bytes begin, ahead of a look at either.
    #[inline]
    pub(crate) fn prefetch(&self, at: Location) {
        if let Some(line) = self.segment.line(at.arena, at.slot) {
            prefetch_at(std::ptr::from_ref(line.state_word()).cast());
        }
        // The generation is no part of where bytes lie.
        let slot = SlotRef { arena: at.arena, slot: at.slot, generation: 1 };
        if let Some(bytes) = self.segment.bytes(slot, 0) {
            for line in 0..PREFETCH_LINES {
                prefetch_at(bytes.as_ptr().wrapping_add(line * 64));
            }
        }
    }

    /// [`Mapping::extent`] of a slot that is to be written, whose memory this process has mapped then.
    ///
    /// A write faults page by page, a read brings the neighbours along: mapping ahead makes the first put into fresh
    /// memory several times faster. Each stretch of an arena is read once.
    pub(crate) fn extent_to_fill(&self, slot: SlotRef, len_bytes: u64) -> Option<Extent> {
        let extent = self.extent(slot, len_bytes)?;
        let (offset, slot_bytes) = self.segment.extent(slot.arena, slot.slot)?;
        let seen = self.stretches.get(usize::from(slot.arena))?;
        for stretch in offset / STRETCH_BYTES..(offset + slot_bytes).div_ceil(STRETCH_BYTES) {
            let bit = 1 << (stretch % 64);
            let word = seen.get((stretch / 64) as usize)?;
            if word.load(Ordering::Relaxed) & bit != 0 {
                continue;
            }
            word.fetch_or(bit, Ordering::Relaxed);
            let at = (stretch * STRETCH_BYTES).max(offset) - offset;
            // SAFETY: within the slot, whose whole range is checked by `bytes`, and whose memory the node has allocated
            // before it granted the slot; the value does not matter.
            unsafe { self.segment.bytes(slot, slot_bytes)?.as_ptr().add(at as usize).read_volatile() };
        }
        Some(extent)
    }

    /// The first `len_bytes` bytes of a slot, or `None` if they do not fit it.
    #[inline]
    pub(crate) fn extent(&self, slot: SlotRef, len_bytes: u64) -> Option<Extent> {
        Some(Extent { base: self.segment.bytes(slot, len_bytes)?, len: len_bytes as usize })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // In a child these addresses were never mapped and may by now belong to something else.
        if !self.marker.is_child() {
            // SAFETY: dropped once, here; `segment`, which points into it, is not used any more.
            unsafe { ManuallyDrop::drop(&mut self.maps) };
        }
    }
}

/// The bytes of one slot. Others may map them too, so they are copied and summed through pointers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: an extent is an address within a mapping that any thread may use; the methods say when.
unsafe impl Send for Extent {}
// SAFETY: as above.
unsafe impl Sync for Extent {}

impl Extent {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// Copies the bytes to `targets`, in order, as far as they reach.
    ///
    /// # Safety
    /// The mapping lives, and a claim or grant keeps the slot.
    ///
    /// # Panics
    /// If the targets have no room for all of them.
    pub(crate) unsafe fn copy_to(&self, targets: &mut [IoSliceMut<'_>], seal: Crc32c) -> Crc32c {
        let mut copier = Copier::new(self.len, seal);
        let mut done = 0;
        let fragments = targets.iter_mut().map(|target| {
            let len = target.len().min(self.len - done);
            // SAFETY: `done + len` is at most the extent's length.
            let source = unsafe { self.base.as_ptr().add(done) };
            done += len;
            Fragment { target: target.as_mut_ptr(), source, len }
        });
        // SAFETY: every fragment lies within the extent and within its target; a target in private memory does not
        // overlap a mapping.
        unsafe { copier.copy_fragments(fragments) };
        assert!(done == self.len, "the caller checked that the targets have room");
        copier.finish()
    }

    /// Copies `sources`, in order, to the slot.
    ///
    /// # Safety
    /// The mapping lives, and the slot was granted to this client and is not committed.
    ///
    /// # Panics
    /// If the sources are not exactly as long as the extent.
    pub(crate) unsafe fn copy_from(&self, sources: &[IoSlice<'_>], seal: Crc32c) -> Crc32c {
        let mut copier = Copier::new(self.len, seal);
        let mut done = 0;
        let fragments = sources.iter().map(|source| {
            assert!(source.len() <= self.len - done);
            // SAFETY: within the extent, as asserted just above.
            let target = unsafe { self.base.as_ptr().add(done) };
            done += source.len();
            Fragment { target, source: source.as_ptr(), len: source.len() }
        });
        // SAFETY: every fragment lies within the extent and within its source; a source in private memory does not
        // overlap a mapping.
        unsafe { copier.copy_fragments(fragments) };
        assert!(done == self.len);
        copier.finish()
    }

    /// The checksum of the bytes where they lie.
    ///
    /// # Safety
    /// The mapping lives, and a claim or grant keeps the slot.
    pub(crate) unsafe fn checksum(&self, seal: Crc32c) -> Crc32c {
        // SAFETY: the extent was bounds-checked when it was made.
        unsafe { copy::checksum(self.base.as_ptr(), self.len, seal) }
    }

    /// The bytes, to read.
    ///
    /// # Safety
    /// As for [`Extent::checksum`], for all of `'a`; and no process writes the slot meanwhile.
    pub(crate) unsafe fn slice<'a>(&self) -> &'a [u8] {
        // SAFETY: the extent was bounds-checked when it was made; the rest is the caller's.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.len) }
    }

    /// The bytes, to fill.
    ///
    /// # Safety
    /// As for [`Extent::copy_from`], for all of `'a`; and nobody else has the bytes meanwhile.
    pub(crate) unsafe fn slice_mut<'a>(&mut self) -> &'a mut [u8] {
        // SAFETY: the extent was bounds-checked when it was made; the rest is the caller's.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.len) }
    }
}

/// Opens the pages file anew and locks the range of one page: as long as the descriptor lives, so does the client.
///
/// `None` if somebody has the lock: the node, which takes the page back. The open file description must be our own, or the
/// lock would live on in the node's copy of the descriptor.
pub(crate) fn lock_page(pages: BorrowedFd<'_>, page: u16) -> Result<Option<OwnedFd>, Error> {
    let doing = "locking the client's page";
    let path = format!("/proc/self/fd/{}", pages.as_raw_fd());
    let file =
        rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(Error::io(doing))?;
    let lock = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: (usize::from(page) * PAGE_BYTES) as libc::off_t,
        l_len: PAGE_BYTES as libc::off_t,
        l_pid: 0,
    };
    // SAFETY: the descriptor is open and the command reads one `flock`.
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    if result == 0 {
        return Ok(Some(file));
    }
    match io::Error::last_os_error() {
        error if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(None),
        error => Err(Error::io(doing)(error)),
    }
}
