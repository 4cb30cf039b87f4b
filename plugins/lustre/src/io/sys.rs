//! The calls that no library wraps, or that take memory by pointer: the pieces' memory is shared with other processes, so no slice of it is ever made.

use super::{Direction, Part};
use std::io;
use std::mem::offset_of;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

const _: () = assert!(size_of::<Part>() == size_of::<libc::iovec>());
const _: () = assert!(offset_of!(Part, pointer) == offset_of!(libc::iovec, iov_base));
const _: () = assert!(offset_of!(Part, length) == offset_of!(libc::iovec, iov_len));

/// Pieces of memory as the kernel reads them.
pub(crate) const fn as_iovecs(parts: &[Part]) -> *const libc::iovec {
    parts.as_ptr().cast()
}

/// Moves bytes between a file and pieces of memory, as many as the file system likes in one call.
///
/// # Safety
/// The vectors name memory that stays mapped during the call, and that nobody else writes (for a read: reads or writes).
pub(crate) unsafe fn move_at(
    file: BorrowedFd<'_>,
    direction: Direction,
    vectors: &[Part],
    offset: u64,
) -> io::Result<u64> {
    let (file, count) = (file.as_raw_fd(), vectors.len() as libc::c_int);
    let vectors = as_iovecs(vectors);
    // -1 is a stream; any other offset beyond what files can have turns negative, and the call refuses it.
    let offset = offset as libc::off_t;
    loop {
        // SAFETY: the caller's promise; the descriptor is open and there are `count` vectors.
        let moved = unsafe {
            match direction {
                Direction::Read => libc::preadv2(file, vectors, count, offset, 0),
                Direction::Write => libc::pwritev2(file, vectors, count, offset, 0),
            }
        };
        if let Ok(moved) = u64::try_from(moved) {
            return Ok(moved);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Gives a file on Lustre that has no layout the one of this `lov_user_md`.
pub(crate) fn set_stripe(file: &OwnedFd, layout: &[u8; 32]) -> io::Result<()> {
    /// `_IOW('f', 154, long)`, whatever it points to.
    const LL_IOC_LOV_SETSTRIPE: libc::c_ulong = 0x4008_669A;
    // SAFETY: the call reads a `lov_user_md` whose magic says that it is of version 1: 32 bytes. Other file systems refuse it.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), LL_IOC_LOV_SETSTRIPE as _, layout.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
