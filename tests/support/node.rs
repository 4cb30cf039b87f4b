//! A node of one's own: started, killed, frozen, restarted, and gone with the test.
//!
//! Invariants: its instance is no other's; when it is dropped no process and no file of it is left; a node that panicked
//! fails the test that dropped it.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use cascade_client::{Client, Deadline, query};
use cascade_core::place::{segment_directories, segment_directory, user_directory};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::actor::Actor;
use crate::programs;
use crate::wait::{PATIENCE, until};

/// Lines of a node's log that a failed test shows.
const LINES_SHOWN: usize = 20;

/// How a node is to be started.
#[derive(Clone, Debug)]
pub struct Setup {
    instance: String,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    wrapper: Vec<OsString>,
}

/// A running node, or one that was killed and may be started again.
#[derive(Debug)]
pub struct Node {
    setup: Setup,
    socket: PathBuf,
    running: Option<Running>,
    log: Arc<Mutex<String>>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
    listener: JoinHandle<()>,
}

/// A node that did not start: how it ended, and what it said.
#[derive(Debug)]
pub struct Refused {
    /// How it ended.
    pub status: ExitStatus,
    /// What it said on standard error.
    pub said: String,
}

impl Setup {
    /// A node with 64 MiB and an instance named after the test.
    pub fn new(name: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut instance = format!("t{}-{number}-{name}", std::process::id());
        instance.truncate(32);
        let setup = Self { instance, arguments: Vec::new(), environment: Vec::new(), wrapper: Vec::new() };
        setup.set("segment.capacity=64MiB").set("segment.grow_step=8MiB").set("segment.clients_max=16")
    }

    /// Sets a value of the configuration, as `--set` takes it. The last one of a key wins.
    pub fn set(mut self, value: &str) -> Self {
        self.arguments.extend(["--set".into(), value.into()]);
        self
    }

    /// Sets a variable of the node's environment.
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Puts the node's socket elsewhere.
    pub fn at_socket(self, socket: &Path) -> Self {
        self.env("CASCADE_SOCKET", socket)
    }

    /// Starts the node under another program, which runs the command that follows its arguments in its own place.
    pub fn under(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(OsString::from).collect();
        self
    }

    /// The same instance, for another node that wants it.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// The folder of the segment.
    pub fn directory(&self) -> PathBuf {
        segment_directory(rustix::process::getuid().as_raw(), None, &self.instance).into()
    }

    /// A `cascade-node` with this environment, for `run` and for other verbs.
    pub fn command(&self, verb: &str) -> Command {
        let program = programs::node().into_os_string();
        let words: Vec<OsString> = self.wrapper.iter().cloned().chain([program]).collect();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg(verb).args(["--instance", &self.instance]).args(&self.arguments);
        for (name, _) in std::env::vars_os() {
            let name_text = name.to_string_lossy();
            if name_text.starts_with("CASCADE_")
                || name_text.ends_with("SCRATCH")
                || cascade_core::place::JOB_VARIABLES.contains(&&*name_text)
            {
                command.env_remove(name);
            }
        }
        command.envs(self.environment.iter().cloned()).stdin(Stdio::null());
        command
    }

    /// Starts the node and waits until it is ready.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(self) -> Node {
        self.try_start().unwrap_or_else(|refused| panic!("the node does not start: {}", refused.said))
    }

    /// Starts the node and waits until it is ready or has ended.
    ///
    /// # Errors
    /// How it ended.
    pub fn try_start(self) -> Result<Node, Refused> {
        let mut node = Node {
            setup: self,
            socket: PathBuf::new(),
            running: None,
            log: Arc::new(Mutex::new(String::new())),
        };
        node.try_restart()?;
        Ok(node)
    }
}

impl Node {
    /// A node with 64 MiB.
    pub fn start(name: &str) -> Self {
        Setup::new(name).start()
    }

    /// How it was started.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The folder of its segment.
    pub fn directory(&self) -> PathBuf {
        self.setup.directory()
    }

    /// The process.
    ///
    /// # Panics
    /// If it does not run.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.running.as_ref().expect("the node runs").child)
    }

    /// What all its lives said on standard error.
    pub fn log(&self) -> String {
        self.log.lock().expect("who writes the log does not panic").clone()
    }

    /// A client in this process.
    ///
    /// # Panics
    /// If it cannot attach.
    pub fn client(&self) -> Client {
        Client::connect_to(vec![self.socket.clone()], Deadline::after(PATIENCE)).expect("a client attaches")
    }

    /// A client in a process of its own.
    pub fn actor(&self) -> Actor {
        let mut actor = Actor::start();
        actor.attach(&self.socket);
        actor
    }

    /// What the node says of itself.
    ///
    /// # Panics
    /// If it does not answer.
    pub fn status(&self) -> Value {
        self.ask("status")
    }

    /// Asks the node something, or tells it to do something.
    ///
    /// # Panics
    /// If it does not answer, or refuses.
    pub fn ask(&self, question: &str) -> Value {
        self.try_ask(question)
            .unwrap_or_else(|error| panic!("no answer to {question}: {error}\n{}", self.log()))
    }

    /// As [`Node::ask`].
    ///
    /// # Errors
    /// Why the node refuses, or does not answer.
    ///
    /// # Panics
    /// If the answer is no JSON.
    pub fn try_ask(&self, question: &str) -> Result<Value, String> {
        let text = query(std::slice::from_ref(&self.socket), question, Deadline::after(PATIENCE))
            .map_err(|error| error.to_string())?;
        Ok(serde_json::from_str(&text).expect("answers are JSON"))
    }

    /// A counter of the status.
    ///
    /// # Panics
    /// If there is none of this name.
    pub fn counter(&self, name: &str) -> u64 {
        let status = self.status();
        status["counters"][name].as_u64().unwrap_or_else(|| panic!("no counter {name}: {status}"))
    }

    /// Whether the process lives.
    pub fn is_alive(&mut self) -> bool {
        self.running.as_mut().is_some_and(|running| matches!(running.child.try_wait(), Ok(None)))
    }

    /// Kills it (SIGKILL) and waits until it is gone. Its segment stays.
    pub fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.child.kill();
            let _ = running.child.wait();
            let _ = running.listener.join();
        }
    }

    /// Stops it in its tracks (SIGSTOP).
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
        let pid = self.pid().as_raw_nonzero();
        until("the node is frozen", || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            stat.rsplit_once(')')?.1.trim_start().starts_with('T').then_some(())
        });
    }

    /// Lets it go on (SIGCONT).
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Asks it to stop (SIGTERM) and waits until it has.
    ///
    /// # Panics
    /// If it does not run.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        let mut running = self.running.take().expect("the node runs");
        let status = running.child.wait().expect("a child can be waited for");
        let _ = running.listener.join();
        status
    }

    /// Starts a killed node again, and waits until it is ready.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart(&mut self) {
        self.try_restart()
            .unwrap_or_else(|refused| panic!("the node does not start again: {}", refused.said));
    }

    /// Starts a killed node again, and waits until it is ready or has ended.
    ///
    /// # Errors
    /// How it ended.
    pub fn try_restart(&mut self) -> Result<(), Refused> {
        self.spawn();
        let running = self.running.as_mut().expect("just started");
        let mut line = String::new();
        let _ = running.output.read_line(&mut line);
        if let Some(socket) = line.trim_end().strip_prefix("ready ") {
            self.socket = socket.into();
            return Ok(());
        }
        let mut running = self.running.take().expect("just started");
        let status = running.child.wait().expect("a child can be waited for");
        let _ = running.listener.join();
        Err(Refused { status, said: self.log() })
    }

    /// Starts a killed node again, without waiting for anything: it may be killed at any instant of its start.
    ///
    /// # Panics
    /// If it runs already.
    pub fn spawn(&mut self) {
        assert!(self.running.is_none(), "one process at a time");
        let mut command = self.setup.command("run");
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the node's program runs");
        let output = BufReader::new(child.stdout.take().expect("piped above"));
        let errors = BufReader::new(child.stderr.take().expect("piped above"));
        let log = self.log.clone();
        let listener = std::thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                let mut log = log.lock().expect("who reads the log does not panic");
                *log += &line;
                log.push('\n');
            }
        });
        self.running = Some(Running { child, output, listener });
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("one's own child can be signalled");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        // One that was never ready owned nothing; the folder may be another's.
        if !self.socket.as_os_str().is_empty() {
            remove_segment(&self.setup);
        }
        let log = self.log();
        if std::thread::panicking() {
            let lines: Vec<&str> = log.lines().collect();
            eprintln!(
                "the node said, at the end:\n{}",
                lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n")
            );
        } else {
            assert!(!log.contains("panicked at"), "the node panicked:\n{log}");
        }
    }
}

/// Removes what a killed node left, and the folder of all segments with the last of them.
pub fn remove_segment(setup: &Setup) {
    let uid = rustix::process::getuid().as_raw();
    for directory in segment_directories(uid, None, &setup.instance) {
        let _ = std::fs::remove_dir_all(directory);
    }
    let _ = std::fs::remove_dir(user_directory(uid));
}

/// A short pause, for tests that act at some instant or other.
pub fn pause(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}
