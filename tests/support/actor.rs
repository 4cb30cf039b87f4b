//! A client in a process of its own, told what to do a line at a time; see [`crate::player`] for the verbs.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use rustix::process::{Pid, Signal, kill_process};

use crate::content;
use crate::programs;
use crate::wait::PATIENCE;

/// The process. Killed with the test.
#[derive(Debug)]
pub struct Actor {
    child: Child,
    input: ChildStdin,
    answers: Receiver<String>,
    // Children that it forked and that outlive it.
    heirs: Vec<i32>,
}

impl Actor {
    /// Starts one that is not attached.
    ///
    /// # Panics
    /// If its program is not there.
    pub fn start() -> Self {
        Self::start_in(&[])
    }

    /// Starts one with these variables in its environment.
    ///
    /// # Panics
    /// If its program is not there.
    pub fn start_in(environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(programs::client());
        programs::without_settings(&mut command).envs(environment.iter().copied());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("cascade-test-client is built with the tests");
        let input = child.stdin.take().expect("piped above");
        let output = BufReader::new(child.stdout.take().expect("piped above"));
        let (sender, answers) = channel();
        // Not joined: a child that it forked may keep the pipe open beyond the test.
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, input, answers, heirs: Vec::new() }
    }

    /// Attaches to the node that listens there.
    ///
    /// # Panics
    /// If it cannot.
    pub fn attach(&mut self, socket: &Path) {
        let answer = self.ask(&format!("attach {}", socket.display()));
        assert!(answer.starts_with("attached"), "{answer}");
    }

    /// Tells it to do something and waits for its answer.
    ///
    /// # Panics
    /// If it has died, or does not answer.
    pub fn ask(&mut self, line: &str) -> String {
        self.tell(line);
        self.answer(line)
    }

    /// Tells it to do something; [`Actor::answer`] awaits the answer.
    ///
    /// # Panics
    /// If it has died.
    pub fn tell(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap_or_else(|error| panic!("{line}: {error}"));
    }

    /// Awaits the answer to what it was told.
    ///
    /// # Panics
    /// If it has died, or does not answer.
    pub fn answer(&mut self, line: &str) -> String {
        self.answers.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{line}: the client does not answer"))
    }

    /// Tells it to do something that must have this answer.
    ///
    /// # Panics
    /// If it answers otherwise.
    pub fn expect(&mut self, line: &str, answer: &str) {
        assert_eq!(self.ask(line), answer, "{line}");
    }

    /// Makes it put `total_bytes` in pieces as long as `like`, numbered from `start` on, so that whatever of that length
    /// nobody claims is evicted.
    ///
    /// # Panics
    /// If one of them finds no room.
    pub fn flood(&mut self, like: u64, start: u64, total_bytes: u64) {
        let count = total_bytes as usize / content::len_bytes(like);
        for n in content::twins(like, start).take(count) {
            self.expect(&format!("put_wait {n}"), "fresh");
        }
    }

    /// Makes it fork; the child says what its handle answers, and stays.
    ///
    /// # Panics
    /// If it does not fork.
    pub fn fork(&mut self) -> String {
        let answer = self.ask("fork");
        let (pid, said) = answer.split_once(' ').expect("a number and an answer");
        self.heirs.push(pid.parse().expect("the number of a process"));
        said.to_owned()
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// If it is gone.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("one's own child can be signalled");
    }

    /// Kills it (SIGKILL) and waits until it is gone. Children that it forked stay until the test ends.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        self.kill();
        for pid in self.heirs.drain(..).filter_map(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}
