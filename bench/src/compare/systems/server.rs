//! A program of a system's: ends with this one, whatever ends it, and tells what it said.

use rustix::process::{Pid, Signal, kill_process};
use std::error::Error;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What a program may take to end by itself.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// Lines of its log that an error shows.
const LINES_SHOWN: usize = 8;

/// A program that runs.
pub(super) struct Server {
    pub(super) child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts it with its standard error in a log, and its standard output too unless the command has it piped.
    ///
    /// # Errors
    /// It cannot be run.
    pub(super) fn start(command: &mut Command, log: &Path, talks: bool) -> io::Result<Self> {
        let output = File::create(log)?;
        command.stdin(if talks { Stdio::piped() } else { Stdio::null() });
        command.stdout(if talks { Stdio::piped() } else { output.try_clone()?.into() });
        // A group of its own: Ctrl-C is for this program, which then stops all of them in order.
        command.stderr(output).process_group(0);
        // SAFETY: between fork and exec only system calls run that are safe in a signal handler.
        unsafe { command.pre_exec(prepare) };
        Ok(Self { child: command.spawn()?, log: log.to_owned() })
    }

    /// The number of its process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has, with the end of its log; otherwise `None`.
    pub(super) fn obituary(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(format!("it ended ({status}){}", self.said()))
    }

    /// The end of its log, ready to follow a sentence.
    pub(super) fn said(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
        let shown = &lines[lines.len().saturating_sub(LINES_SHOWN)..];
        if shown.is_empty() { String::new() } else { format!(" and said:\n  {}", shown.join("\n  ")) }
    }

    /// Explains the failure of a call: what the program's end has to do with it, if it has ended.
    pub(super) fn explain(&mut self, what: &str, error: &dyn std::fmt::Display) -> Box<dyn Error> {
        // A connection breaks a moment before the process is gone.
        std::thread::sleep(Duration::from_millis(50));
        match self.obituary() {
            Some(obituary) => format!("{what}: {error}; {obituary}").into(),
            None => format!("{what}: {error}").into(),
        }
    }

    /// Asks it to end, and ends it when it does not.
    pub(super) fn stop(&mut self) {
        drop(self.child.stdin.take());
        if let (Ok(None), Some(pid)) = (self.child.try_wait(), Pid::from_raw(self.pid() as i32)) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + STOP_LIMIT;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() >= deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Where a program lies, by its name in PATH or by its path; `None` if nowhere.
pub(super) fn find(program: &Path) -> Option<PathBuf> {
    let named = program.components().count() == 1;
    let folders = std::env::var_os("PATH").filter(|_| named).unwrap_or_default();
    let places = std::env::split_paths(&folders).map(|folder| folder.join(program));
    let path = if named { places.into_iter().find(|path| path.is_file())? } else { program.to_owned() };
    // Absolute, but links stay: a program may go by the name that it was called by.
    std::path::absolute(path).ok().filter(|path| path.is_file())
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Runs in the child: it dies with us, and hears the signals that we have blocked for ourselves.
fn prepare() -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let mut none = std::mem::MaybeUninit::uninit();
    // SAFETY: `sigemptyset` initialises the set, and the old mask is not asked for.
    unsafe {
        libc::sigemptyset(none.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, none.as_ptr(), std::ptr::null_mut());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ended_is_told_with_what_it_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new("ls");
        command.arg("/no/such/folder");
        let mut server = Server::start(&mut command, &folder.path().join("log"), false).expect("it runs");
        let _ = server.child.wait();
        let told = server.explain("a put failed", &"broken pipe").to_string();
        assert!(told.starts_with("a put failed: broken pipe; it ended (exit status: 2)"), "{told}");
        assert!(told.contains("/no/such/folder"), "{told}");
    }

    #[test]
    fn programs_are_found_by_name_and_by_path() {
        let by_name = find(Path::new("ls")).expect("it is everywhere");
        assert!(by_name.is_absolute() && by_name.ends_with("ls"));
        assert_eq!(find(&by_name), Some(by_name));
        assert_eq!(find(Path::new("no-such-program")), None);
        assert_eq!(find(Path::new("/no/such/program")), None);
    }

    #[test]
    fn a_program_hears_signals_that_this_one_has_blocked() {
        let folder = tempfile::tempdir().expect("a folder");
        let _blocked = crate::signals::Signals::block();
        let mut command = Command::new("sleep");
        let mut server =
            Server::start(command.arg("600"), &folder.path().join("log"), false).expect("it runs");
        server.stop();
        assert!(server.obituary().expect("it ended").contains("signal: 15"));
    }
}
