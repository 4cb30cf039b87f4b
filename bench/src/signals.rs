//! Ctrl-C and SIGTERM, taken as wishes: a measurement that is stopped still tells what it measured.
//!
//! Both are blocked and looked for where the program waits anyway. Client processes inherit the blocked signals, so a
//! Ctrl-C at the terminal, which goes to all of them, is heard by their parent alone. Here and nowhere else is this
//! program's `unsafe` for signals: rustix has no masks.

use std::time::Duration;

/// The two signals, blocked in this thread and in the processes that it starts from now on.
pub(crate) struct Signals(libc::sigset_t);

impl Signals {
    /// Blocks them.
    pub(crate) fn block() -> Self {
        let mut set = std::mem::MaybeUninit::uninit();
        // SAFETY: `sigemptyset` initialises the set that the others then use; the numbers are real signals, and the old mask
        // is not asked for.
        let set = unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            libc::sigaddset(set.as_mut_ptr(), libc::SIGINT);
            libc::sigaddset(set.as_mut_ptr(), libc::SIGTERM);
            libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut());
            set.assume_init()
        };
        Self(set)
    }

    /// Sleeps this long, or until one of them comes: then `true`.
    pub(crate) fn sleep(&self, longest: Duration) -> bool {
        let longest = libc::timespec {
            tv_sec: longest.as_secs() as libc::time_t,
            tv_nsec: libc::c_long::from(longest.subsec_nanos() as i32),
        };
        // SAFETY: set and time are initialised; what the signal carried is not asked for.
        unsafe { libc::sigtimedwait(&raw const self.0, std::ptr::null_mut(), &raw const longest) > 0 }
    }
}
