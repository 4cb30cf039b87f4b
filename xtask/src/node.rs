//! A node that a verb started: ready when `start` returns, gone when it is dropped.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::child::{outcome, terminate, wait_until};
use crate::dist::Dist;
use crate::failure::{Context, Result};
use crate::process::Cmd;

/// A node answers within a second; a loaded machine gets more.
const READY_LIMIT: Duration = Duration::from_secs(30);

/// What a clean stop may take: clients let go of their pins, pages are returned.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// Where segments lie.
const SHARED_MEMORY: &str = "/dev/shm";

/// A running node. Dropped without [`stop`](Self::stop) it is killed: the verb has failed by then.
pub(crate) struct Node {
    child: Option<Child>,
    instance: String,
    log: PathBuf,
}

impl Node {
    /// Starts a node from `dist` and returns once it is ready. Its output goes to a log file in `folder`.
    ///
    /// Errors: it ends before it is ready, or is not ready in time; both with the end of its log.
    pub(crate) fn start(dist: &Dist, profile: &str, instance: &str, folder: &Path) -> Result<Self> {
        let log = folder.join(format!("{instance}.log"));
        let (ready, announce) = ready_pipe()?;
        let out = File::create(&log).context(log.display())?;
        let err = out.try_clone().context(log.display())?;
        let child = Cmd::new(dist.program("cascade-node"))
            // It would name another node's socket, whatever the instance.
            .without("CASCADE_SOCKET")
            // These would lead to somebody's store.
            .without("CASCADE_DIR")
            .without("SCRATCH")
            .without("PSCRATCH")
            .args(["run", "--profile", profile, "--instance", instance])
            .args(["--ready-fd".to_owned(), announce.as_raw_fd().to_string()])
            .start(out.into(), err.into())?;
        // Ours is closed, so that a node that dies closes the last one and the reader sees the end.
        drop(announce);
        let node = Self { child: Some(child), instance: instance.to_owned(), log };
        if said_something(ready) { Ok(node) } else { Err(node.complaint("did not become ready")) }
    }

    /// Stops it by SIGTERM. Errors: it does not end in time or not with 0, or leaves something in shared memory.
    pub(crate) fn stop(mut self) -> Result {
        let mut child = self.child.take().expect("a node is stopped once");
        terminate(&child);
        let Some(status) = wait_until(&mut child, Instant::now() + STOP_LIMIT)? else {
            self.child = Some(child);
            return Err(self.complaint("did not stop on SIGTERM"));
        };
        if !status.success() {
            return Err(self.complaint(&format!("{} on SIGTERM", outcome(status))));
        }
        match left_behind(Path::new(SHARED_MEMORY), &self.instance).as_slice() {
            [] => fs::remove_file(&self.log).context(self.log.display()),
            left => Err(format!("the node left {} behind", left.join(", ")).into()),
        }
    }

    fn complaint(&self, what: &str) -> crate::failure::Failure {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(20)..].join("\n  ");
        format!("the node {what}; the end of {}:\n  {tail}", self.log.display()).into()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // SIGTERM first: it takes its segment away, which SIGKILL cannot.
            terminate(child);
            if !matches!(wait_until(child, Instant::now() + STOP_LIMIT), Ok(Some(_))) {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}

/// A pipe whose writing end, and only that, is passed on to children.
fn ready_pipe() -> Result<(OwnedFd, OwnedFd)> {
    let (ready, announce) = pipe_with(PipeFlags::CLOEXEC).context("making a pipe")?;
    fcntl_setfd(&announce, FdFlags::empty()).context("passing on a pipe")?;
    Ok((ready, announce))
}

/// Whether anything arrives before the end of the pipe or the limit.
fn said_something(ready: OwnedFd) -> bool {
    let (sender, said) = mpsc::channel();
    // The thread outlives a node that is never ready, by no more than that node.
    thread::spawn(move || sender.send(File::from(ready).read(&mut [0; 64])));
    matches!(said.recv_timeout(READY_LIMIT), Ok(Ok(bytes)) if bytes > 0)
}

/// Paths below `folder` with `instance` in their name.
fn left_behind(folder: &Path, instance: &str) -> Vec<String> {
    // What vanishes or is another user's while we look is not ours.
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().contains(instance) {
            found.push(entry.path().display().to_string());
        } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(left_behind(&entry.path(), instance));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::workspace;

    /// Starts a stand-in of xtask/fixtures and hands it, with the folder of its log, to `judge`.
    fn with_fixture(name: &str, judge: impl FnOnce(Result<Node>, &Path)) {
        let dist = Dist::at(workspace::root().join("xtask/fixtures").join(name));
        let folder = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        judge(Node::start(&dist, "laptop", &format!("{name}-{}", std::process::id()), &folder), &folder);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_ready_node_stops_on_request_and_takes_its_log_along() {
        with_fixture("ready", |node, folder| {
            node.unwrap().stop().unwrap();
            assert_eq!(fs::read_dir(folder).unwrap().count(), 0);
        });
    }

    #[test]
    fn a_node_that_dies_before_it_is_ready_is_told_with_its_log() {
        with_fixture("dying", |node, _folder| {
            let failure = node.err().expect("no node").to_string();
            assert!(failure.starts_with("the node did not become ready"), "{failure}");
            assert!(failure.ends_with("error: /dev/shm is too small"), "{failure}");
        });
    }

    #[test]
    fn a_word_on_the_pipe_means_ready_and_its_end_means_dead() {
        let (ready, announce) = ready_pipe().unwrap();
        File::from(announce).write_all(b"ready\n").unwrap();
        assert!(said_something(ready));
        let (ready, announce) = ready_pipe().unwrap();
        drop(announce);
        assert!(!said_something(ready));
    }

    #[test]
    fn what_an_instance_leaves_is_found_at_any_depth() {
        let folder = std::env::temp_dir().join(format!("xtask-left-behind-{}", std::process::id()));
        let segment = folder.join("cascade-1000/demo-77/arena-0");
        fs::create_dir_all(&segment).unwrap();
        let found = left_behind(&folder, "demo-77");
        let other = left_behind(&folder, "demo-78");
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(found, [folder.join("cascade-1000/demo-77").display().to_string()]);
        assert_eq!(other, [""; 0]);
    }
}
