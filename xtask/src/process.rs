//! Child processes: said before they run, timed, bounded, and explained when they fail.
//!
//! Invariants: no shell; the command line is printed as `$ program args` on stderr; a child past its limit is killed, and
//! where no terminal watches (CI) it has a process group of its own that dies with it, grandchildren included. On a
//! terminal it stays in ours, so that Ctrl-C reaches all of it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::child::{self, outcome};
use crate::failure::{Context, Result};
use crate::lines::{self, Stream};
use crate::{tools, workspace};

/// A command to be run in the workspace root. The verbs are [`run`](Self::run), [`capture`](Self::capture) and [`watch`](Self::watch).
#[derive(Debug)]
pub(crate) struct Cmd {
    program: OsString,
    args: Vec<OsString>,
    envs: Vec<(String, OsString)>,
    hidden: Vec<String>,
    path: Option<OsString>,
    limit: Option<Duration>,
}

impl Cmd {
    /// A command that runs `program`, looked up in PATH, in the workspace root.
    pub(crate) fn new(program: impl Into<OsString>) -> Self {
        let (args, envs, hidden) = (Vec::new(), Vec::new(), Vec::new());
        Self { program: program.into(), args, envs, hidden, path: None, limit: None }
    }

    /// The cargo that started us, so that the toolchain stays the pinned one.
    pub(crate) fn cargo() -> Self {
        Self::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
    }

    /// Cargo of the nightly toolchain, which fuzzing and miri need.
    pub(crate) fn nightly_cargo() -> Self {
        // Through rustup: the cargo that started us is past the point where `+nightly` is understood.
        Self::new("rustup").args(["run", "nightly", "cargo"])
    }

    pub(crate) fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    pub(crate) fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.envs.push((name.to_owned(), value.into()));
        self
    }

    /// Hides a variable of ours from the child.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.hidden.push(name.to_owned());
        self
    }

    /// Sets a variable unless the caller of the verb has set it.
    pub(crate) fn env_default(self, name: &str, value: &str) -> Self {
        if std::env::var_os(name).is_some() { self } else { self.env(name, value) }
    }

    /// The child's PATH, in place of ours with the cache of tools at its end.
    pub(crate) fn path(mut self, path: impl Into<OsString>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Kills the child when it runs for longer than this.
    pub(crate) fn limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Runs it with our standard streams. Errors: not found, a failed exit, past its limit.
    pub(crate) fn run(self) -> Result {
        eprintln!("$ {}", self.line());
        let started = Instant::now();
        let child = self.spawn(Stdio::inherit(), Stdio::inherit())?;
        let status = self.wait(child)?;
        eprintln!("  {} in {:.1} s", outcome(status), started.elapsed().as_secs_f64());
        if status.success() { Ok(()) } else { Err(format!("`{}` {}", self.line(), outcome(status)).into()) }
    }

    /// Runs it silently and returns its standard output. Errors: as [`run`](Self::run), with its standard error.
    pub(crate) fn capture(self) -> Result<String> {
        let output = self.command().stdin(Stdio::null()).output().context(self.not_started())?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            return Err(format!("`{}` {}\n{}", self.line(), outcome(output.status), stderr.trim_end()).into());
        }
        String::from_utf8(output.stdout).context(format_args!("`{}` printed no UTF-8", self.line()))
    }

    /// Whether it runs and exits with 0. Prints nothing: a probe, not a step.
    pub(crate) fn succeeds(self) -> bool {
        let quiet = self.command().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        quiet.is_ok_and(|status| status.success())
    }

    /// Runs it, hands each line of its output to `on_line` as it comes, and returns how it exited.
    ///
    /// Both streams are watched; see [`lines::of`] for their order.
    pub(crate) fn watch(self, mut on_line: impl FnMut(Stream, &str)) -> Result<ExitStatus> {
        eprintln!("$ {}", self.line());
        let started = Instant::now();
        let mut child = self.spawn(Stdio::piped(), Stdio::piped())?;
        let lines = lines::of(&mut child);
        let status = thread::scope(|scope| {
            let waiting = scope.spawn(|| self.wait(child));
            for (stream, line) in lines {
                on_line(stream, &line);
            }
            waiting.join().expect("waiting for a child does not panic")
        })?;
        eprintln!("  {} in {:.1} s", outcome(status), started.elapsed().as_secs_f64());
        Ok(status)
    }

    /// Starts it in the background. The caller owns its end.
    pub(crate) fn start(self, stdout: Stdio, stderr: Stdio) -> Result<Child> {
        eprintln!("$ {}", self.line());
        self.spawn(stdout, stderr)
    }

    /// The command line as a person would type it.
    fn line(&self) -> String {
        let mut words: Vec<String> =
            self.envs.iter().map(|(name, value)| format!("{name}={}", quoted(value))).collect();
        // The cargo that started us goes by its name: its path tells nobody anything.
        let own_cargo = std::env::var_os("CARGO").is_some_and(|cargo| cargo == self.program);
        words.push(if own_cargo { "cargo".to_owned() } else { quoted(&self.program) });
        words.extend(self.args.iter().map(quoted));
        words.join(" ")
    }

    fn not_started(&self) -> String {
        format!("cannot start `{}` (is it installed?)", PathBuf::from(&self.program).display())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args);
        // Hidden first: ours may be hidden and another set in its place.
        for name in &self.hidden {
            command.env_remove(name);
        }
        command.envs(self.envs.iter().map(|(name, value)| (name, value)));
        command.env("PATH", self.path.clone().unwrap_or_else(tools::search_path));
        command.current_dir(workspace::root());
        command
    }

    fn spawn(&self, stdout: Stdio, stderr: Stdio) -> Result<Child> {
        let mut command = self.command();
        command.stdout(stdout).stderr(stderr);
        if self.limit.is_some() {
            child::group_unwatched(&mut command);
        }
        command.spawn().context(self.not_started())
    }

    fn wait(&self, mut child: Child) -> Result<ExitStatus> {
        let Some(limit) = self.limit else { return child.wait().context(self.line()) };
        if let Some(status) = child::wait_until(&mut child, Instant::now() + limit)? {
            return Ok(status);
        }
        child::kill(&mut child)?;
        Err(format!("`{}` ran for longer than {} s and was killed", self.line(), limit.as_secs()).into())
    }
}

fn quoted(word: &OsString) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "-_=./:+,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.into_owned() } else { format!("'{word}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printed_line_can_be_typed() {
        let cmd = Cmd::new("cargo").args(["test", "--test", "loom*"]).env("RUSTFLAGS", "--cfg loom");
        assert_eq!(cmd.line(), "RUSTFLAGS='--cfg loom' cargo test --test 'loom*'");
    }

    #[test]
    fn a_failed_command_is_named_with_its_exit_code() {
        let failure = Cmd::new("false").run().unwrap_err().to_string();
        assert_eq!(failure, "`false` failed with exit code 1");
    }

    #[test]
    fn a_missing_program_is_named() {
        let failure = Cmd::new("no-such-program").run().unwrap_err().to_string();
        assert!(failure.starts_with("cannot start `no-such-program` (is it installed?)"), "{failure}");
    }

    #[test]
    fn a_child_past_its_limit_is_killed() {
        let failure = Cmd::new("sleep").arg("60").limit(Duration::ZERO).run().unwrap_err().to_string();
        assert_eq!(failure, "`sleep 60` ran for longer than 0 s and was killed");
    }

    #[test]
    fn watching_sees_both_streams_and_the_status() {
        let (mut out, mut err) = (Vec::new(), 0);
        let status = Cmd::new("ls").args(["Cargo.toml", "no-such-file"]).watch(|stream, line| match stream {
            Stream::Out => out.push(line.to_owned()),
            Stream::Err => err += 1,
        });
        assert!(!status.unwrap().success());
        assert_eq!((out, err), (vec!["Cargo.toml".to_owned()], 1));
    }

    #[test]
    fn capture_returns_what_was_printed() {
        assert_eq!(Cmd::new("echo").arg("a b").capture().unwrap(), "a b\n");
    }
}
