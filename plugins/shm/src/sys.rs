//! The system calls that no library wraps: OFD locks and `mbind`.
//! The locks are those of open file descriptions: they go when the last descriptor of it does, however the process died,
//! and mean the same in every PID namespace.

use rustix::io::{Errno, Result};
use std::os::fd::{AsFd, AsRawFd};

/// Takes the write lock over a whole file, or says `false` if somebody has it.
pub(crate) fn try_lock(file: impl AsFd) -> Result<bool> {
    let mut lock = whole_file();
    match fcntl(file, libc::F_OFD_SETLK, &mut lock) {
        Ok(()) => Ok(true),
        Err(Errno::AGAIN | Errno::ACCESS) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Gives the lock over a whole file back, also where a process that is between fork and exec has the descriptor too.
pub(crate) fn unlock(file: impl AsFd) -> Result<()> {
    let mut lock = libc::flock { l_type: libc::F_UNLCK as libc::c_short, ..whole_file() };
    fcntl(file, libc::F_OFD_SETLK, &mut lock)
}

/// Whether somebody else has a lock anywhere on a file.
pub(crate) fn is_locked(file: impl AsFd) -> Result<bool> {
    let mut lock = whole_file();
    fcntl(file, libc::F_OFD_GETLK, &mut lock)?;
    Ok(lock.l_type != libc::F_UNLCK as libc::c_short)
}

fn whole_file() -> libc::flock {
    // Length 0 is "to the end, however long". OFD locks want a pid of 0.
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

fn fcntl(file: impl AsFd, command: libc::c_int, lock: &mut libc::flock) -> Result<()> {
    // SAFETY: the descriptor is open, and these commands read and write one `flock`.
    let result = unsafe { libc::fcntl(file.as_fd().as_raw_fd(), command, &raw mut *lock) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

/// Where the pages of a range of memory go.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Placement {
    Bind,
    Interleave,
}

/// Sets the NUMA policy of a mapped file range; it holds for the file, so for all processes.
pub(crate) fn mbind(start: *mut u8, length: usize, placement: Placement, domains: &[u32]) -> Result<()> {
    const WORD_BITS: usize = libc::c_ulong::BITS as usize;
    let mode = match placement {
        Placement::Bind => libc::MPOL_BIND,
        Placement::Interleave => libc::MPOL_INTERLEAVE,
    };
    let mut mask = [0 as libc::c_ulong; 16];
    for &domain in domains {
        let word = mask.get_mut(domain as usize / WORD_BITS).ok_or(Errno::INVAL)?;
        *word |= 1 << (domain as usize % WORD_BITS);
    }
    // The kernel reads one bit less than it is told, hence the one more.
    let bits = mask.len() * WORD_BITS + 1;
    // SAFETY: the call changes where future pages go, never the content; a range that is not mapped is an error. The mask
    // has the bits that it is said to have.
    let result = unsafe { libc::syscall(libc::SYS_mbind, start, length, mode, mask.as_ptr(), bits, 0) };
    if result == 0 { Ok(()) } else { Err(last_errno()) }
}

fn last_errno() -> Errno {
    let code = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
    Errno::from_raw_os_error(code)
}
