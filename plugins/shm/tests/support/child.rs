//! Other processes: this test program, run again in a role.
//!
//! A role is a test that does nothing but its role, chosen by the environment; see `roles` in the test that uses it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

pub(crate) const ROLE: &str = "CASCADE_TEST_ROLE";
pub(crate) const ARGUMENT: &str = "CASCADE_TEST_ARGUMENT";

/// A process in a role. Killed with the test.
pub(crate) struct Actor(Child);

impl Actor {
    /// Starts a role and waits until it says `ready`. The rest of that line comes back.
    pub(crate) fn start(role: &str, argument: &str) -> (Actor, String) {
        Actor::start_under(&[], role, argument).expect("the role starts")
    }

    /// As `start`, but under another program that runs the command behind its arguments. `None` if that did not work.
    pub(crate) fn start_under(wrapper: &[&str], role: &str, argument: &str) -> Option<(Actor, String)> {
        let me = std::env::current_exe().unwrap();
        let mut words = wrapper.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        words.extend([me.to_str().unwrap().to_owned()]);
        words.extend(["--exact", "roles", "--nocapture"].map(str::to_owned));
        let child = Command::new(&words[0])
            .args(&words[1..])
            .env(ROLE, role)
            .env(ARGUMENT, argument)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut actor = Actor(child.ok()?);
        let lines = BufReader::new(actor.0.stdout.take().unwrap()).lines();
        // The test harness talks before us, and not always with a line end.
        for line in lines.map_while(Result::ok) {
            if let Some((_, rest)) = line.split_once("ready ") {
                return Some((actor, rest.to_owned()));
            }
        }
        None
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Kills it and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Tells the parent that the role is played, then waits for its end.
pub(crate) fn ready_until_killed(word: &str) -> ! {
    println!("\nready {word}");
    let _ = std::io::stdin().read_line(&mut String::new());
    std::process::exit(0);
}
