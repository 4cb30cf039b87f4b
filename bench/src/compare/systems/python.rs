//! A peer that is a Python library: its driver is a child process of ours, told what to do in lines of JSON.
//!
//! The child maps the stage, times its own calls and answers once a pass, so what the pipe costs is in no figure. The bytes
//! are compared here, as for all systems. Its sources (`bench/peers`) are part of this program, so it runs anywhere.

use super::server::{self, Server};
use super::{Absent, Driver, Identity, Mode, PATIENCE, Pass, Setting, Started};
use crate::compare::stage::Stage;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

/// The package; a folder with a `__main__.py` is a program to Python.
const SOURCES: [(&str, &str); 4] = [
    ("__main__.py", include_str!("../../../peers/__main__.py")),
    ("peer.py", include_str!("../../../peers/peer.py")),
    ("hdf5_file.py", include_str!("../../../peers/hdf5_file.py")),
    ("lmcache_backends.py", include_str!("../../../peers/lmcache_backends.py")),
];

/// Importing torch from a cold disk takes its time.
const START_LIMIT: Duration = Duration::from_secs(180);
/// Seconds a MiB that a pass may take, besides [`PATIENCE`].
const PASS_S_PER_MIB: f64 = 0.5;

/// Which peer, and how it is to be set up.
pub(super) struct Wanted<'a> {
    pub(super) python: &'a Path,
    /// Its name in the package.
    pub(super) peer: &'a str,
    pub(super) variant: &'a str,
    pub(super) install: &'a str,
}

/// The child.
struct Peer {
    server: Server,
    answers: Receiver<String>,
    identity: Identity,
    pass_limit: Duration,
}

/// What the child answers.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Ready { version: String, path: String, setup: String },
    Absent(String),
    Done { calls_ns: Vec<u64>, settling_ns: u64, successes: usize },
    Failed(String),
}

/// What it is told.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Verb<'a> {
    Put(&'a [usize]),
    Get(&'a [usize]),
    Clear,
    Rest,
    Wake,
}

/// Starts the child and lets it set up the library.
pub(super) fn start(setting: &Setting, wanted: &Wanted) -> Result<Started, Box<dyn Error>> {
    let Some(python) = server::find(wanted.python) else {
        let reason = format!("{} is not here", wanted.python.display());
        return Ok(Started::Absent(Absent { reason, install: Some(wanted.install.to_owned()) }));
    };
    let sources = setting.memory.join("peers");
    fs::create_dir(&sources)?;
    for (name, text) in SOURCES {
        fs::write(sources.join(name), text)?;
    }
    let mut command = Command::new(&python);
    command.arg(&sources).env("PYTHONDONTWRITEBYTECODE", "1");
    let mut server = Server::start(&mut command, &setting.memory.join("peer.log"), true)
        .map_err(|error| format!("cannot run {}: {error}", python.display()))?;
    let answers = lines(&mut server);
    let stage = setting.stage;
    let total_mib = stage.total_bytes() as f64 / f64::from(1 << 20);
    let identity = Identity { version: String::new(), path: String::new(), setup: String::new() };
    let pass_limit = PATIENCE + Duration::from_secs_f64(total_mib * PASS_S_PER_MIB);
    let mut peer = Peer { server, answers, identity, pass_limit };
    let setup = json!({
        "peer": wanted.peer,
        "variant": wanted.variant,
        "cold": setting.mode == Mode::Cold,
        "stage": stage.path(),
        "store": setting.store,
        "block_bytes": stage.block_bytes,
        "blocks": stage.blocks,
    });
    match peer.ask(&setup, START_LIMIT)? {
        Answer::Ready { version, path, setup } => {
            peer.identity = Identity { version, path, setup };
            Ok(Started::Running(Box::new(peer)))
        }
        Answer::Absent(reason) => {
            Ok(Started::Absent(Absent { reason, install: Some(wanted.install.to_owned()) }))
        }
        other => Err(unexpected(&other)),
    }
}

/// Its standard output, line by line: from a thread, because a pipe knows no deadline. The thread ends with the child.
fn lines(server: &mut Server) -> Receiver<String> {
    let output = BufReader::new(server.child.stdout.take().expect("it was piped"));
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    receiver
}

fn unexpected(answer: &Answer) -> Box<dyn Error> {
    match answer {
        Answer::Failed(what) => what.clone().into(),
        Answer::Ready { .. } | Answer::Absent(_) | Answer::Done { .. } => {
            "the peer answered another question".into()
        }
    }
}

impl Peer {
    fn ask(&mut self, question: &impl Serialize, limit: Duration) -> Result<Answer, Box<dyn Error>> {
        let mut line = serde_json::to_vec(question)?;
        line.push(b'\n');
        let input = self.server.child.stdin.as_mut().expect("it was piped");
        if let Err(error) = input.write_all(&line) {
            return Err(self.server.explain("the peer hears nothing", &error));
        }
        match self.answers.recv_timeout(limit) {
            Ok(line) => Ok(serde_json::from_str(&line)?),
            Err(error) => Err(self.server.explain("the peer does not answer", &error)),
        }
    }

    fn pass(&mut self, verb: &Verb) -> Result<Pass, Box<dyn Error>> {
        match self.ask(verb, self.pass_limit)? {
            Answer::Done { calls_ns, settling_ns, successes } => Ok(Pass {
                calls: calls_ns.into_iter().map(Duration::from_nanos).collect(),
                settling: Duration::from_nanos(settling_ns),
                successes,
            }),
            other => Err(unexpected(&other)),
        }
    }
}

impl Driver for Peer {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn processes(&self) -> Vec<u32> {
        // We wait for it meanwhile.
        vec![self.server.pid()]
    }

    fn put(&mut self, _stage: &Stage, numbers: &[usize]) -> Result<Pass, Box<dyn Error>> {
        self.pass(&Verb::Put(numbers))
    }

    fn get(&mut self, _stage: &mut Stage, numbers: &[usize]) -> Result<Pass, Box<dyn Error>> {
        self.pass(&Verb::Get(numbers))
    }

    fn rest(&mut self) -> Result<(), Box<dyn Error>> {
        self.pass(&Verb::Rest).map(drop)
    }

    fn wake(&mut self) -> Result<(), Box<dyn Error>> {
        self.pass(&Verb::Wake).map(drop)
    }

    fn clear(&mut self, _stage: &Stage) -> Result<(), Box<dyn Error>> {
        self.pass(&Verb::Clear).map(drop)
    }
}
