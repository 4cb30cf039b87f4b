//! What the operations do to memory, piece by piece.
//! Invariants: only system calls touch a region's bytes here, so that missing memory is an error and never a signal; between
//! two pieces an operation asks whether it should go on.

use crate::cgroup::Groups;
use crate::headroom::Headroom;
use crate::region::{Region, page_bytes};
use cascade_tier::{Action, Completion, Memory, MemoryId, MemoryRange, Operation, Status};
use rustix::io::{Errno, pread, pwrite};
use std::collections::HashMap;
use std::slice;

/// How much is done before an operation looks up again: 20 ms of allocation.
const PIECE_BYTES: u64 = 64 << 20;

/// Memory of the host or of another tier, by id.
pub(crate) type Foreign = HashMap<MemoryId, Memory>;

/// The memories that operations may name, and how much may be taken.
#[derive(Debug)]
pub(crate) struct Memories {
    /// The tier's own; the id is the index.
    pub(crate) regions: Vec<Region>,
    pub(crate) groups: Groups,
    pub(crate) reserve_bytes: u64,
}

/// How one operation's work ended: how far it came, and whether that is all.
type Outcome = Result<u64, (Status, u64)>;

/// One end of a copy.
#[derive(Clone, Copy)]
enum Place<'a> {
    Region(&'a Region, u64),
    Host(*mut u8),
}

impl Memories {
    /// Does an operation. `interrupted` says why it must end early, if it must.
    pub(crate) fn perform(
        &self,
        operation: &Operation,
        foreign: &Foreign,
        interrupted: &dyn Fn() -> Option<Status>,
    ) -> Completion {
        let outcome = match operation.action {
            Action::Allocate { range } => self.allocate(range, interrupted),
            Action::Release { range } => self.release(range),
            Action::Copy { source, target } => self.copy(source, target, foreign, interrupted),
            Action::Store { .. }
            | Action::Load { .. }
            | Action::Remove { .. }
            | Action::Sync
            | Action::Unknown(_) => Err((Status::UNSUPPORTED, 0)),
        };
        let (status, bytes) = match outcome {
            Ok(bytes) => (Status::OK, bytes),
            Err((status, bytes)) => (status, bytes),
        };
        Completion::new(operation.request_id, status, bytes)
    }

    fn allocate(&self, range: MemoryRange, interrupted: &dyn Fn() -> Option<Status>) -> Outcome {
        let region = self.paged(range)?;
        in_pieces(range.length, interrupted, |done, length| {
            let offset = range.offset + done;
            let missing = region.missing_bytes(offset, length);
            if missing > 0 && missing > self.spare_bytes(region)? {
                return Err(Status::NO_SPACE);
            }
            region.back(offset, length).map_err(status_of)
        })
    }

    /// What allocations may still take.
    fn spare_bytes(&self, region: &Region) -> Result<u64, Status> {
        let headroom = Headroom::measure(region.file(), &self.groups).map_err(status_of)?;
        Ok(headroom.available_bytes.saturating_sub(self.reserve_bytes))
    }

    fn release(&self, range: MemoryRange) -> Outcome {
        let region = self.paged(range)?;
        region.punch(range.offset, range.length).map_err(|error| (status_of(error), 0))?;
        // Where a huge page is in use, or only part of it goes, the kernel may zero it and keep it: then that part is not
        // released, and who writes to the old page still writes to the region.
        Ok(range.length
            - region.written_bytes(range.offset, range.length).map_err(|error| (status_of(error), 0))?)
    }

    /// The region of a range that consists of whole pages.
    fn paged(&self, range: MemoryRange) -> Result<&Region, (Status, u64)> {
        let region = self.regions.get(usize::from(range.memory)).ok_or((Status::INVALID, 0))?;
        range.end_within(region.length_bytes()).ok_or((Status::INVALID, 0))?;
        let is_paged = range.offset.is_multiple_of(page_bytes()) && range.length.is_multiple_of(page_bytes());
        if is_paged { Ok(region) } else { Err((Status::INVALID, 0)) }
    }

    fn copy(
        &self,
        source: MemoryRange,
        target: MemoryRange,
        foreign: &Foreign,
        interrupted: &dyn Fn() -> Option<Status>,
    ) -> Outcome {
        let from = self.place(source, foreign, false).ok_or((Status::INVALID, 0))?;
        let to = self.place(target, foreign, true).ok_or((Status::INVALID, 0))?;
        if source.length != target.length {
            return Err((Status::INVALID, 0));
        }
        in_pieces(source.length, interrupted, |done, length| copy_piece(from, to, done, length))
    }

    fn place(&self, range: MemoryRange, foreign: &Foreign, is_written: bool) -> Option<Place<'_>> {
        if let Some(region) = self.regions.get(usize::from(range.memory)) {
            range.end_within(region.length_bytes())?;
            return Some(Place::Region(region, range.offset));
        }
        let memory = foreign.get(&range.memory)?;
        range.end_within(memory.length_bytes)?;
        if is_written && memory.flags & cascade_tier::memory::flag::READ_ONLY != 0 {
            return None;
        }
        Some(Place::Host(memory.cpu_address()?.wrapping_add(usize::try_from(range.offset).ok()?)))
    }
}

/// Does `length` bytes of work in pieces; stops at the first that fails or when interrupted.
fn in_pieces(
    length: u64,
    interrupted: &dyn Fn() -> Option<Status>,
    mut piece: impl FnMut(u64, u64) -> Result<(), Status>,
) -> Outcome {
    let mut done = 0;
    while done < length {
        if let Some(status) = interrupted() {
            return Err((status, done));
        }
        let step = PIECE_BYTES.min(length - done);
        piece(done, step).map_err(|status| (status, done))?;
        done += step;
    }
    Ok(done)
}

fn copy_piece(from: Place<'_>, to: Place<'_>, done: u64, length: u64) -> Result<(), Status> {
    let count = length as usize;
    match (from, to) {
        // The kernel writes through `to`'s mapping here. Where that has no memory it answers EFAULT instead of a signal.
        (Place::Region(source, at), Place::Region(target, target_at)) => {
            read_region(source, at + done, target.address(target_at + done), count)
        }
        (Place::Region(source, at), Place::Host(target)) => {
            read_region(source, at + done, target.wrapping_add(done as usize), count)
        }
        (Place::Host(source), Place::Region(target, at)) => {
            write_region(target, at + done, source.wrapping_add(done as usize), count)
        }
        (Place::Host(source), Place::Host(target)) => {
            let (source, target) = (source.wrapping_add(done as usize), target.wrapping_add(done as usize));
            // SAFETY: both ranges were checked against memories that their owners keep valid until they are forgotten, which
            // is refused while this operation is under way. They may overlap, as `copy` allows.
            unsafe { std::ptr::copy(source, target, count) };
            Ok(())
        }
    }
}

fn read_region(region: &Region, mut offset: u64, target: *mut u8, count: usize) -> Result<(), Status> {
    // SAFETY: `count` bytes from `target` lie in memory that stays mapped while the operation is under way; only the kernel
    // writes them, nothing here reads them.
    let mut buffer = unsafe { slice::from_raw_parts_mut(target.cast::<std::mem::MaybeUninit<u8>>(), count) };
    while !buffer.is_empty() {
        let step = match pread(region.file(), &mut *buffer, offset) {
            Ok((read, _)) if !read.is_empty() => read.len(),
            Ok(_) => return Err(Status::IO),
            Err(Errno::INTR) => continue,
            Err(error) => return Err(status_of(error)),
        };
        offset += step as u64;
        buffer = &mut std::mem::take(&mut buffer)[step..];
    }
    Ok(())
}

fn write_region(region: &Region, mut offset: u64, source: *mut u8, count: usize) -> Result<(), Status> {
    // SAFETY: as in `read_region`; the host lets nobody write memory that an operation reads.
    let mut bytes = unsafe { slice::from_raw_parts(source, count) };
    while !bytes.is_empty() {
        let step = match pwrite(region.file(), bytes, offset) {
            Ok(0) => return Err(Status::IO),
            Ok(step) => step,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(status_of(error)),
        };
        offset += step as u64;
        bytes = &bytes[step..];
    }
    Ok(())
}

fn status_of(error: Errno) -> Status {
    match error {
        // EFAULT: the target of a copy has no memory, and there is none to give it.
        Errno::NOSPC | Errno::NOMEM | Errno::DQUOT | Errno::FAULT => Status::NO_SPACE,
        _ => Status::IO,
    }
}
