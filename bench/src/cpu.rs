//! Time that processes spend on processors.

use std::io;
use std::mem::MaybeUninit;

/// Nanoseconds of a living process, ours or a child, with all threads that it has and had.
///
/// # Errors
/// There is no such process.
pub(crate) fn used_ns(pid: u32) -> io::Result<u64> {
    let mut clock = 0;
    // SAFETY: the call writes the number of a clock into the one variable that it is given.
    let error = unsafe { libc::clock_getcpuclockid(pid as libc::pid_t, &raw mut clock) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: as above, with a time; a clock that vanished with its process is an error.
    if unsafe { libc::clock_gettime(clock, time.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded.
    let time = unsafe { time.assume_init() };
    Ok(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;

    #[test]
    fn work_takes_time_on_a_processor() {
        let before = used_ns(std::process::id()).expect("it lives");
        (0..1_000_000_u64).for_each(|i| _ = black_box(i));
        assert!(used_ns(std::process::id()).expect("it lives") > before);
    }

    #[test]
    fn a_process_that_is_gone_has_no_clock() {
        let mut child = std::process::Command::new("true").spawn().expect("it is everywhere");
        let pid = child.id();
        child.wait().expect("it ends");
        assert!(used_ns(pid).is_err());
    }
}
