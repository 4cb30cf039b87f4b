//! What can be done to a child process: wait for it, ask it to end, end it, and tell how it ended.

use std::io::IsTerminal;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::failure::{Context, Result};

/// How often a bounded child is looked at.
const POLL: Duration = Duration::from_millis(50);

/// Waits for a child until a deadline. None: it still runs.
pub(crate) fn wait_until(child: &mut Child, deadline: Instant) -> Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait().context("waiting for a child")? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        thread::sleep(POLL);
    }
}

/// Asks a child to end. It may end before the signal arrives, which is no error.
pub(crate) fn terminate(child: &Child) {
    let _ = kill_process(pid(child), Signal::TERM);
}

/// Gives a command that may be killed a process group of its own, unless a terminal watches: there Ctrl-C must reach it.
pub(crate) fn group_unwatched(command: &mut Command) {
    if unwatched() {
        command.process_group(0);
    }
}

/// Kills a child prepared by [`group_unwatched`], with its descendants where it has a group, and reaps it.
pub(crate) fn kill(child: &mut Child) -> Result {
    let kill = if unwatched() { kill_process_group } else { kill_process };
    kill(pid(child), Signal::KILL).context("killing a child")?;
    child.wait().map(drop).context("waiting for a killed child")
}

/// How a process ended, in words that continue "`command` …".
pub(crate) fn outcome(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(0), _) => "succeeded".into(),
        (Some(code), _) => format!("failed with exit code {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// Whether nobody can press Ctrl-C.
fn unwatched() -> bool {
    !std::io::stdin().is_terminal()
}

fn pid(child: &Child) -> Pid {
    let raw = i32::try_from(child.id()).expect("a pid fits an i32");
    Pid::from_raw(raw).expect("a child's pid is not 0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_for_what_goes_on_answers_none_and_a_signal_ends_it() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        assert_eq!(wait_until(&mut child, Instant::now()).unwrap(), None);
        terminate(&child);
        assert_eq!(outcome(child.wait().unwrap()), "was killed by signal 15");
    }

    #[test]
    fn a_killed_child_is_reaped() {
        let mut command = Command::new("sleep");
        group_unwatched(command.arg("60"));
        let mut child = command.spawn().unwrap();
        kill(&mut child).unwrap();
        assert_eq!(outcome(child.wait().unwrap()), "was killed by signal 9");
    }
}
