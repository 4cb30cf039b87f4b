//! A node of one's own, for as long as a measurement takes.

use crate::cpu;
use std::error::Error;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Variables that would lead it to another node, or to a store that no setting names.
const NOT_ITS_OWN: [&str; 4] = ["CASCADE_SOCKET", "CASCADE_DIR", "SCRATCH", "PSCRATCH"];
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// A running node that no other program knows of.
pub(crate) struct Node {
    child: Child,
    pub(crate) instance: String,
}

impl Node {
    /// Starts it with a cache of this size and further settings (`key=value`), and waits until clients may attach.
    ///
    /// # Errors
    /// It cannot be run, or ended before it was ready; what it said is part of the error.
    pub(crate) fn start(
        program: &Path,
        capacity_bytes: u64,
        settings: &[String],
    ) -> Result<Self, Box<dyn Error>> {
        let instance = format!("bench-{}", std::process::id());
        let mut command = Command::new(program);
        NOT_ITS_OWN.iter().for_each(|name| _ = command.env_remove(name));
        let child = command
            .args(["run", "--instance", &instance, "--log", "warn", "--set", "policy.name=lru"])
            // Chunks that hold the largest pieces, whatever the capacity.
            .args(["--set", &format!("segment.capacity={capacity_bytes}"), "--set", "segment.chunk=32MiB"])
            .args(settings.iter().flat_map(|setting| ["--set", setting]))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| {
                format!("cannot run {}: {error}; name the node with --node", program.display())
            })?;
        let mut node = Self { child, instance };
        let mut line = String::new();
        BufReader::new(node.child.stdout.take().expect("it was piped")).read_line(&mut line)?;
        if !line.starts_with("ready") {
            let mut said = String::new();
            node.child.stderr.take().expect("it was piped").read_to_string(&mut said)?;
            return Err(format!("the node did not become ready: {said}").into());
        }
        Ok(node)
    }

    /// The program beside this one: they are installed together.
    pub(crate) fn program() -> PathBuf {
        let here = std::env::current_exe().unwrap_or_default();
        here.with_file_name("cascade-node")
    }

    /// The share of a core that the node uses while nobody asks it anything, over this time.
    ///
    /// # Errors
    /// It is gone.
    pub(crate) fn idle_cpu_ratio(&self, time: Duration) -> Result<f64, Box<dyn Error>> {
        // It looks for more for some microseconds after the last request, then sleeps.
        std::thread::sleep(Duration::from_millis(200));
        let (start, before_ns) = (Instant::now(), cpu::used_ns(self.pid())?);
        std::thread::sleep(time);
        Ok((cpu::used_ns(self.pid())? - before_ns) as f64 / start.elapsed().as_nanos() as f64)
    }

    /// The number of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // SIGTERM first: it takes its memory away, which SIGKILL cannot.
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id() as i32) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let deadline = Instant::now() + STOP_LIMIT;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
