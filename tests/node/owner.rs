//! One node an instance; what it leaves when it stops, and what may be collected when it does not.

use std::path::Path;
use std::sync::Barrier;
use std::thread;

use serde_json::Value;
use support::node::Refused;
use support::sandbox::{skip, works};
use support::{Node, Scratch, Setup};

fn gc(setup: &Setup) -> Value {
    let output = setup.command("gc").arg("--json").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn names(report: &Value, what: &str, directory: &Path) -> bool {
    report[what].as_array().unwrap().iter().any(|entry| entry["directory"] == directory.to_str().unwrap())
}

#[test]
fn a_second_node_on_the_instance_is_refused_and_told_who_has_it() {
    let node = Node::start("second");
    let refused = node.setup().clone().try_start().unwrap_err();
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.said.contains(&format!("pid {}", node.pid().as_raw_nonzero())), "{}", refused.said);
    assert!(refused.said.contains(node.setup().instance()), "{}", refused.said);
    // The first one did not notice.
    let mut client = node.actor();
    client.expect("put_wait 0", "fresh");
    client.expect("get 0", "hit");
}

/// Starts all of them in one instant. The one that serves; all others were refused and told who that is.
fn race(setups: Vec<Setup>) -> Node {
    let start = Barrier::new(setups.len());
    let ended: Vec<Result<Node, Refused>> = thread::scope(|scope| {
        let starters = setups.into_iter().map(|setup| {
            scope.spawn(|| {
                start.wait();
                setup.try_start()
            })
        });
        let starters: Vec<_> = starters.collect();
        starters.into_iter().map(|starter| starter.join().unwrap()).collect()
    });
    let (serving, refused): (Vec<_>, Vec<_>) = ended.into_iter().partition(Result::is_ok);
    let mut serving: Vec<Node> = serving.into_iter().flatten().collect();
    assert_eq!(serving.len(), 1, "{refused:?}");
    let node = serving.remove(0);
    let owner = format!("pid {}", node.pid().as_raw_nonzero());
    for refused in refused.into_iter().filter_map(Result::err) {
        assert_eq!(refused.status.code(), Some(1), "{}", refused.said);
        assert!(refused.said.contains(&owner), "{owner}: {}", refused.said);
    }
    node
}

#[test]
fn of_nodes_that_start_at_once_on_one_instance_one_serves() {
    let setup = Setup::new("race").set("segment.capacity=8MiB");
    let mut killed = Vec::new();
    for round in 0..6 {
        let mut node = race(vec![setup.clone(); 8]);
        assert_eq!(node.status()["adopted"], round > 0);
        node.actor().expect("put_wait 0", if round == 0 { "fresh" } else { "present" });
        // What it leaves is what the next ones find.
        node.kill();
        killed.push(node);
    }
}

#[test]
fn of_nodes_that_start_at_once_on_one_socket_one_serves() {
    let scratch = Scratch::new();
    let socket = scratch.path().join("node.sock");
    for _ in 0..12 {
        let setups = (0..8).map(|_| Setup::new("socket").set("segment.capacity=8MiB").at_socket(&socket));
        let mut node = race(setups.collect());
        // The others found a socket, or none; this one is what clients find, and it is still there.
        node.actor().expect("put_wait 0", "fresh");
        assert!(node.is_alive());
        node.kill();
        assert!(socket.exists(), "a killed node leaves its socket to the next round");
    }
}

#[test]
fn a_frozen_node_still_owns_its_instance() {
    let node = Node::start("frozen-owner");
    let mut client = node.actor();
    client.expect("put_wait 0", "fresh");
    node.freeze();
    let refused = node.setup().clone().try_start().unwrap_err();
    assert!(refused.said.contains(&format!("pid {}", node.pid().as_raw_nonzero())), "{}", refused.said);
    node.thaw();
    client.expect("put_wait 1", "fresh");
}

#[test]
fn a_clean_stop_leaves_nothing_and_its_clients_keep_their_views() {
    let mut node = Node::start("stop");
    let mut client = node.actor();
    client.expect("put_wait 0", "fresh");
    client.expect("pin 0", "hit");
    let directory = node.directory();
    assert!(directory.join("meta").exists());
    assert!(node.stop().success());
    assert!(!directory.exists());
    client.expect("views", "right");
    client.expect("patience 100", "ok");
    client.expect("put_wait 1", "error NodeLost");
}

#[test]
fn a_client_finds_the_node_that_starts_after_a_clean_stop() {
    let mut node = Node::start("again");
    let mut client = node.actor();
    client.expect("put_wait 0", "fresh");
    let before = client.ask("segment");
    assert!(node.stop().success());
    node.restart();
    client.expect("put_wait 0", "fresh");
    assert_ne!(client.ask("segment"), before);
    client.expect("get 0", "hit");
}

#[test]
fn collecting_takes_what_a_dead_node_left_and_nothing_of_the_living() {
    let living = Node::start("living");
    let mut dead = Node::start("dead");
    let mut client = dead.actor();
    client.expect("put_wait 0", "fresh");
    dead.kill();
    let report = gc(living.setup());
    assert!(names(&report, "kept", &living.directory()), "{report}");
    assert!(names(&report, "kept", &dead.directory()), "a client lives: {report}");
    client.expect("get 0", "hit");
    client.kill();
    let report = gc(living.setup());
    assert!(names(&report, "removed", &dead.directory()), "{report}");
    assert!(!dead.directory().exists());
    assert!(living.directory().join("meta").exists());
    living.actor().expect("put_wait 0", "fresh");
}

#[test]
fn collecting_from_another_pid_namespace_removes_no_live_segment() {
    let wrapper: &[&str] = if rustix::process::geteuid().is_root() {
        &["unshare", "--pid", "--fork", "--mount-proc"]
    } else {
        &["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    };
    let name = "collecting_from_another_pid_namespace_removes_no_live_segment";
    if !works(wrapper) {
        return skip(name, "this machine lets nobody make a PID namespace");
    }
    let node = Node::start("namespace");
    let mut orphaned = Node::start("orphaned");
    let mut client = orphaned.actor();
    client.expect("put_wait 0", "fresh");
    orphaned.kill();
    // A process of a user namespace looks like root there: its own user's folder is named in full.
    if !rustix::process::geteuid().is_root() {
        return skip(name, "a mapped root collects root's segments: run it as root");
    }
    let report = gc(&node.setup().clone().under(wrapper));
    assert!(names(&report, "kept", &node.directory()), "{report}");
    assert!(names(&report, "kept", &orphaned.directory()), "{report}");
    node.actor().expect("put_wait 0", "fresh");
    client.expect("get 0", "hit");
}
