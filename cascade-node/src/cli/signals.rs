//! Signals as a descriptor, so that the pump waits for them where it waits for everything else.
//!
//! The one place of the command line that needs `unsafe`: rustix has neither signalfd nor signal masks.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Blocks SIGTERM, SIGINT and SIGCHLD in this thread, and in those that it starts from now on, and reports them through
/// the descriptor instead.
///
/// # Errors
/// The kernel gives no signalfd.
pub(super) fn descriptor() -> io::Result<OwnedFd> {
    let set = watched();
    // SAFETY: `set` is an initialised signal set; the old mask is not asked for.
    if unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `set` is an initialised signal set; -1 asks for a new descriptor.
    let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given us the descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Lets a child have the signals that this process blocks.
pub(super) fn unblock_in(command: &mut Command) {
    // SAFETY: between fork and exec only `pthread_sigmask` runs, which is async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            let set = watched();
            match libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut()) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        });
    }
}

fn watched() -> libc::sigset_t {
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: `sigemptyset` initialises the set that `sigaddset` then changes; the numbers are real signals.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGCHLD] {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}
