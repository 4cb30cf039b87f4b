//! Signals as a descriptor, so that the pump waits for them where it waits for everything else.
//!
//! The one place of the command line that needs `unsafe`: rustix has neither signalfd nor signal masks.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Blocks SIGTERM, SIGINT, SIGCHLD and one more in this thread, and in those that it starts from now on, and reports them through
/// the descriptor instead.
///
/// # Errors
/// The kernel gives no signalfd.
pub(super) fn descriptor(more: Option<i32>) -> io::Result<OwnedFd> {
    let set = watched(more);
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
pub(super) fn unblock_in(command: &mut Command, more: Option<i32>) {
    // SAFETY: between fork and exec only `pthread_sigmask` runs, which is async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            let set = watched(more);
            match libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut()) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        });
    }
}

fn watched(more: Option<i32>) -> libc::sigset_t {
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: `sigemptyset` initialises the set that `sigaddset` then changes; the numbers are real signals.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGCHLD].into_iter().chain(more) {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}
