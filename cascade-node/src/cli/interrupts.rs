//! Being asked to stop: commands that work for long look for it between steps, so that they end in order.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::{Exit, Failure, signals};

/// Ctrl-C and SIGTERM.
#[derive(Debug)]
pub(super) struct Interrupts(OwnedFd);

impl Interrupts {
    /// From now on they end nothing by themselves. Before threads are started: those would take them otherwise.
    ///
    /// # Errors
    /// The kernel gives no descriptor.
    pub(super) fn watch() -> io::Result<Self> {
        signals::descriptor(None).map(Self)
    }

    /// Waits for so long, or until `other` is readable, or one came; that is an error, now and from now on.
    pub(super) fn rest(&self, other: Option<BorrowedFd<'_>>, pause: Duration) -> Result<(), Failure> {
        let watched = [
            Some(PollFd::new(&self.0, PollFlags::IN)),
            other.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)),
        ];
        let mut watched: Vec<PollFd<'_>> = watched.into_iter().flatten().collect();
        let pause = Timespec { tv_sec: pause.as_secs() as i64, tv_nsec: i64::from(pause.subsec_nanos()) };
        match poll(&mut watched, Some(&pause)) {
            // What came is not read: whoever looks later sees it too.
            Ok(_) if !watched[0].revents().is_empty() => {
                Err(Failure::new(Exit::Interrupted, "stopped before the end"))
            }
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(io::Error::from(error).into()),
        }
    }

    /// Whether one came, without waiting; an error if so.
    pub(super) fn look(&self) -> Result<(), Failure> {
        self.rest(None, Duration::ZERO)
    }
}
