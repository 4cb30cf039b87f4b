//! `run` as jobs meet it: around a command, beside another node, with clients from elsewhere, at its limits.
//!
//! The shm tier's library must lie beside the program, where `cargo build --workspace` puts it.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take before a test gives up on it. Nothing asserts that it is fast.
const PATIENCE: Duration = Duration::from_secs(60);

/// An instance of its own, with a folder for what a test leaves; both go with it.
struct Place {
    instance: String,
    folder: PathBuf,
}

impl Place {
    /// `None`, and word of it, where there is no tier to load.
    fn new(test: &str) -> Option<Self> {
        let tier = Path::new(env!("CARGO_BIN_EXE_cascade-node")).with_file_name("libcascade_tier_shm.so");
        if !tier.exists() {
            println!("SKIPPED cli_run::{test}: the shm tier is not built: cargo build -p cascade-tier-shm");
            return None;
        }
        let name = format!("run-{}-{test}", std::process::id());
        let folder = std::env::temp_dir().join(format!("cascade-{name}"));
        std::fs::create_dir_all(&folder).expect("a folder for the test");
        Some(Self { instance: name[..name.len().min(32)].to_owned(), folder })
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("s")
    }

    /// The program, under another one if `wrapper` names it, on a socket of the test's.
    fn program_under(&self, wrapper: &[&str], arguments: &[&str]) -> Command {
        let words: Vec<&str> = wrapper
            .iter()
            .copied()
            .chain([env!("CARGO_BIN_EXE_cascade-node")])
            .chain(arguments.iter().copied())
            .collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).current_dir(&self.folder).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("CASCADE_INSTANCE", &self.instance).env("CASCADE_SOCKET", self.socket());
        command.env("CASCADE_SEGMENT__CAPACITY", "16MiB").env("CASCADE_LOG", "info");
        command
    }

    fn program(&self, arguments: &[&str]) -> Command {
        self.program_under(&[], arguments)
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.program(arguments).output().expect("the program starts")
    }

    /// The segment's folder.
    fn segment(&self) -> PathBuf {
        let uid = rustix::process::geteuid().as_raw();
        cascade_core::place::segment_directory(uid, None, &self.instance).into()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
        let _ = std::fs::remove_dir_all(self.segment());
    }
}

/// A running node. Killed with the test.
struct Node(Child);

impl Node {
    /// Starts it and waits until clients may attach.
    fn start(mut command: Command) -> Self {
        let mut node =
            Self(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the node starts"));
        let mut line = String::new();
        BufReader::new(node.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("ready "), "{line:?}");
        node
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    fn code(mut self) -> Option<i32> {
        until("the node ends", || self.0.try_wait().unwrap()).code()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < give_up, "{what}: in vain");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_living_nodes_socket_is_not_taken_and_the_refused_node_leaves_nothing() {
    let Some(place) = Place::new("a_living_nodes_socket_is_not_taken_and_the_refused_node_leaves_nothing")
    else {
        return;
    };
    let node = Node::start(place.program(&["run"]));
    let Some(other) = Place::new("other") else { return };
    let mut second = other.program(&["run"]);
    let output = second.env("CASCADE_SOCKET", place.socket()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    for words in ["unset CASCADE_SOCKET", place.socket().to_str().unwrap()] {
        assert!(said.contains(words), "{said}");
    }
    assert!(!other.segment().exists());
    let status = place.output(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).expect("the first node answers");
    assert_eq!(status["pid"], node.0.id());
}

#[test]
fn a_node_inside_of_a_nodes_command_is_told_what_to_do() {
    let Some(place) = Place::new("a_node_inside_of_a_nodes_command_is_told_what_to_do") else { return };
    let me = env!("CARGO_BIN_EXE_cascade-node");
    let inner = format!("{}i", &place.instance[..place.instance.len().min(31)]);
    let output = place.output(&["run", "--", me, "run", "--instance", &inner]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("a command inside of `cascade-node run` inherits it"),
        "{}",
        stderr(&output)
    );
    assert!(!place.segment().exists());
}

#[test]
fn a_command_that_cannot_be_started_leaves_nothing_in_shared_memory() {
    let Some(place) = Place::new("a_command_that_cannot_be_started_leaves_nothing_in_shared_memory") else {
        return;
    };
    let output = place.output(&["run", "--", "/no/such/command"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("/no/such/command"));
    assert!(!place.segment().exists());
    assert!(!place.socket().exists());
}

/// A command that, asked to end, first puts a block; it writes how that went.
const LAST_PUT: &str = r#"
    trap '"$0" put @last last >verdict 2>&1; echo $? >>verdict; exit 7' TERM
    echo here >started
    while :; do sleep 0.02; done
"#;

#[test]
fn a_command_that_is_asked_to_end_is_served_to_its_end() {
    let Some(place) = Place::new("a_command_that_is_asked_to_end_is_served_to_its_end") else { return };
    std::fs::write(place.folder.join("last"), "last words").unwrap();
    let me = env!("CARGO_BIN_EXE_cascade-node");
    let mut command = place.program(&["run", "--", "sh", "-c", LAST_PUT, me]);
    let node = Node(command.stderr(Stdio::null()).spawn().unwrap());
    until("the command starts", || place.folder.join("started").exists().then_some(()));
    node.signal(Signal::TERM);
    assert_eq!(node.code(), Some(7), "the command's code is the node's");
    let verdict =
        std::fs::read_to_string(place.folder.join("verdict")).expect("the command came to its last put");
    assert_eq!(verdict.lines().last(), Some("0"), "{verdict}");
    assert!(!place.segment().exists());
}

#[test]
fn a_second_signal_ends_the_node_though_its_command_stays() {
    let Some(place) = Place::new("a_second_signal_ends_the_node_though_its_command_stays") else { return };
    let deaf = "trap '' TERM; echo $$ >started; while [ -e started ]; do sleep 0.02; done";
    let node = Node(place.program(&["run", "--", "sh", "-c", deaf]).stderr(Stdio::null()).spawn().unwrap());
    until("the command starts", || {
        std::fs::read_to_string(place.folder.join("started")).ok().filter(|pid| !pid.is_empty())
    });
    node.signal(Signal::TERM);
    // The node still serves; that it has read the first signal is seen by nothing else than its log.
    assert_eq!(place.output(&["status"]).status.code(), Some(0));
    node.signal(Signal::INT);
    assert_eq!(node.code(), Some(1));
    assert!(!place.segment().exists());
    // The command ends when this goes.
    std::fs::remove_file(place.folder.join("started")).unwrap();
}

#[test]
fn clients_of_other_pid_namespaces_are_served() {
    const NAME: &str = "clients_of_other_pid_namespaces_are_served";
    let Some(place) = Place::new(NAME) else { return };
    let mut elsewhere = vec!["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"];
    if !rustix::process::geteuid().is_root() {
        elsewhere.splice(1..1, ["--user", "--map-current-user"]);
    }
    let can = Command::new(elsewhere[0]).args(&elsewhere[1..]).arg("true").stderr(Stdio::null()).status();
    if !can.is_ok_and(|status| status.success()) {
        println!("SKIPPED cli_run::{NAME}: this machine lets nobody make a PID namespace");
        return;
    }
    std::fs::write(place.folder.join("block"), "from afar").unwrap();
    // Client below the node; then both in namespaces that do not see each other.
    let beside: [(&[&str], &str); 2] = [(&[], "@below"), (&elsewhere, "@sibling")];
    for (around_node, key) in beside {
        let node = Node::start(place.program_under(around_node, &["run"]));
        for arguments in [&["status"][..], &["put", key, "block"], &["get", key]] {
            let output = place.program_under(&elsewhere, arguments).output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", stderr(&output));
        }
        drop(node);
        until("its place is free", || UnixStream::connect(place.socket()).is_err().then_some(()));
    }
}

#[test]
fn a_crowd_at_the_door_keeps_nobody_out() {
    let Some(place) = Place::new("a_crowd_at_the_door_keeps_nobody_out") else { return };
    let few = ["sh", "-c", "ulimit -n 100; exec \"$@\"", "sh"];
    let _node = Node::start(place.program_under(&few, &["run"]));
    let crowd: Vec<UnixStream> = (0..200).filter_map(|_| UnixStream::connect(place.socket()).ok()).collect();
    assert!(crowd.len() >= 100);
    let output = place.output(&["status"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn the_node_takes_the_descriptors_that_it_may_have_and_its_command_as_many_as_before() {
    let Some(place) =
        Place::new("the_node_takes_the_descriptors_that_it_may_have_and_its_command_as_many_as_before")
    else {
        return;
    };
    let limits = ["sh", "-c", "ulimit -S -n 200; ulimit -H -n 500; exec \"$@\"", "sh"];
    let look = "ulimit -S -n; sed -n 's/^Max open files *\\([0-9]*\\) .*/\\1/p' /proc/$PPID/limits";
    let output = place.program_under(&limits, &["run", "--", "sh", "-c", look]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "200\n500\n", "{}", stderr(&output));
}

#[test]
fn top_prints_a_page_about_a_node_at_work() {
    let Some(place) = Place::new("top_prints_a_page_about_a_node_at_work") else { return };
    let _node = Node::start(place.program(&["run"]));
    std::fs::write(place.folder.join("block"), "some bytes").unwrap();
    assert_eq!(place.output(&["put", "@block", "block"]).status.code(), Some(0));
    assert_eq!(place.output(&["get", "@block"]).status.code(), Some(0));
    let output = place.output(&["top", "--once", "--interval", "0.1"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let page = String::from_utf8_lossy(&output.stdout);
    for words in ["tiers", "memory", "of 16 MiB", "read by clients", "nowhere", "jobs", " 1 blocks"] {
        assert!(page.contains(words), "{words}: {page}");
    }
    // What the commands counted outlives them.
    let hits = page.lines().find(|line| line.contains("hits")).expect("a line of hits");
    assert!(hits.contains(" %"), "{page}");
    let status: serde_json::Value =
        serde_json::from_slice(&place.output(&["status", "--json"]).stdout).unwrap();
    assert_eq!((&status["traffic"]["hits"], &status["traffic"]["puts"]), (&1.into(), &1.into()));
}

#[test]
fn what_was_put_is_matched_over_all_tiers_and_got() {
    let Some(place) = Place::new("what_was_put_is_matched_over_all_tiers_and_got") else { return };
    let _node = Node::start(place.program(&["run"]));
    std::fs::write(place.folder.join("block"), "of a chain").unwrap();
    assert_eq!(place.output(&["put", "@a", "block"]).status.code(), Some(0));
    assert_eq!(
        place.output(&["put", "@b", "block", "--parent", "@a", "--depth", "1"]).status.code(),
        Some(0)
    );
    let said = |arguments: &[&str]| {
        let output = place.output(arguments);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(said(&["match", "@a", "@b", "@c"]), (Some(0), "2 of 3 blocks\n".into()));
    assert_eq!(said(&["match", "@c", "@a"]), (Some(3), "0 of 2 blocks\n".into()));
    let answer: serde_json::Value =
        serde_json::from_str(&said(&["match", "@a", "@c", "--json"]).1).expect("it is JSON");
    let expected = serde_json::json!({ "blocks": 2, "matched_blocks": 1, "memory_blocks": 1, "tiers": [] });
    assert_eq!(answer, expected);
    for within in ["0", "5"] {
        assert_eq!(said(&["get", "@b", "--within", within]), (Some(0), "of a chain".into()));
        let missed = place.output(&["get", "@c", "--within", within]);
        assert_eq!(
            (missed.status.code(), stderr(&missed)),
            (Some(3), "error: miss: it is not there\n".into())
        );
    }
    let (code, told) = said(&["stat", "@b"]);
    assert_eq!(code, Some(0));
    assert!(
        told.contains("rank 0 group 0: 10 bytes, depth 1, checksum ") && told.contains(" in arena 0 slot "),
        "{told}"
    );
    assert_eq!(said(&["stat", "@c"]).0, Some(3));
    assert_eq!(place.output(&["get", "@b", "--within", "soon"]).status.code(), Some(2));
}
