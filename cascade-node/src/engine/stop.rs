//! What ends a running engine: signals, and the command that it runs around.
//!
//! A command that has to end is told so and served on until it has: its last puts are worth keeping, and against a node
//! that looks alive but answers nobody they would hang to their deadlines. Invariants: the command gets a bounded grace;
//! whoever asks twice waits no longer.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long the command may take to end once it was asked to.
const CHILD_GRACE: Duration = Duration::from_secs(10);

/// Why the engine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Somebody asked it to: SIGTERM or SIGINT.
    Asked,
    /// The command that it ran around has ended.
    Child(ExitStatus),
    /// Somebody asked it to, and the command with this pid has not ended by the end of its grace, or by the second time.
    Abandoned(u32),
}

/// What may end a running engine.
#[derive(Debug)]
pub struct Stop {
    signals: OwnedFd,
    child: Option<Child>,
    /// Set once the command was asked to end.
    give_up: Option<Instant>,
    /// The signal that asks for a drain, and whether it came.
    drain: (Option<i32>, bool),
}

impl Stop {
    /// Stops on what a signalfd for SIGTERM, SIGINT, SIGCHLD and `drain_signal` reports, and with this command if there is one.
    pub fn new(signals: OwnedFd, child: Option<Child>, drain_signal: Option<i32>) -> Self {
        Self { signals, child, give_up: None, drain: (drain_signal, false) }
    }

    /// What to watch: readable when [`Stop::on_signal`] has something to do.
    pub(super) fn signals(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }

    /// Takes up the signals that came: the first that asks for an end goes on to the command, if there is one.
    pub(super) fn on_signal(&mut self) -> Option<Ended> {
        let mut asked = None;
        let mut info = [0u8; size_of::<libc::signalfd_siginfo>()];
        while rustix::io::read(&self.signals, &mut info).is_ok_and(|count| count == info.len()) {
            // The signal's number is the first field.
            let signal = u32::from_ne_bytes([info[0], info[1], info[2], info[3]]) as i32;
            if Some(signal) == self.drain.0 {
                self.drain.1 = true;
            } else if signal != libc::SIGCHLD {
                asked = asked.or(self.ask());
            }
        }
        // How the command ended says more than that somebody asked. One signal may stand for many, so look in any case.
        let status = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
        status.map(Ended::Child).or(asked)
    }

    /// Whether a drain was asked for since the last look.
    pub(super) fn asks_for_drain(&mut self) -> bool {
        std::mem::take(&mut self.drain.1)
    }

    /// Whether the command's grace is over. To be asked at least once a second.
    pub(super) fn poll_deadline(&mut self) -> Option<Ended> {
        let child = self.child.as_ref()?;
        self.give_up.is_some_and(|give_up| Instant::now() >= give_up).then(|| Ended::Abandoned(child.id()))
    }

    fn ask(&mut self) -> Option<Ended> {
        let Some(child) = &self.child else { return Some(Ended::Asked) };
        if self.give_up.is_some() {
            return Some(Ended::Abandoned(child.id()));
        }
        tracing::info!(
            pid = child.id(),
            grace_s = CHILD_GRACE.as_secs(),
            "asking the command to end; a second signal stops at once"
        );
        // It fails only if the command has just ended, which SIGCHLD tells.
        let _ = kill_process(Pid::from_child(child), Signal::TERM);
        self.give_up = Some(Instant::now() + CHILD_GRACE);
        None
    }
}
