//! Little memory: a small /dev/shm, one that others fill, a control group at its limit. The answer is an error or a smaller
//! arena that is said, never a signal.

use std::process::Command;

use serde_json::Value;
use support::sandbox::{ControlGroup, skip, small_shm, works};
use support::{Actor, Node, Scratch, Setup};

const MIB: u64 = 1 << 20;
/// Pieces that are far more than what fits in any of these tests.
const PIECES: u64 = 3000;

fn words(wrapper: &[String]) -> Vec<&str> {
    wrapper.iter().map(String::as_str).collect()
}

/// A node whose size is its own choice, under a wrapper, with its socket where the test reaches it.
fn setup(name: &str, scratch: &Scratch, wrapper: &[String]) -> Setup {
    Setup::new(name)
        .set("segment.capacity=auto")
        .set("segment.grow_step=1MiB")
        .at_socket(&scratch.path().join("node.sock"))
        .under(&words(wrapper))
}

/// Puts pieces `first..`, far more than fit: whatever memory there is, each put finds room in it, and what is read is right.
/// A piece may be evicted as soon as it is put, so most gets hit and none is wrong.
fn fill(client: &mut Actor, first: u64) {
    let mut hits = 0;
    for n in first..PIECES {
        assert_eq!(client.ask(&format!("put_wait {n}")), "fresh", "piece {n}");
        match client.ask(&format!("get {n}")).as_str() {
            "hit" => hits += 1,
            said => assert_eq!(said, "miss Absent", "piece {n}"),
        }
    }
    assert!(hits > (PIECES - first) / 2, "{hits} hits");
}

fn bytes(status: &Value, name: &str) -> u64 {
    status[name].as_u64().unwrap()
}

/// Runs a command in the mount namespace of a node.
fn inside(node: &Node, script: &str) {
    let pid = node.pid().as_raw_nonzero().to_string();
    let entered = Command::new("nsenter").args(["--mount", "--target", &pid, "sh", "-c", script]).status();
    assert!(entered.is_ok_and(|status| status.success()), "{script}");
}

#[test]
fn a_small_shm_gets_a_small_arena_and_serves() {
    let (name, wrapper) = ("a_small_shm_gets_a_small_arena_and_serves", small_shm(32, ""));
    if !works(&words(&wrapper)) {
        return skip(name, "this machine lets nobody mount a small file system");
    }
    let scratch = Scratch::new();
    let mut node = setup("small", &scratch, &wrapper).start();
    let status = node.status();
    assert!((4 * MIB..32 * MIB).contains(&bytes(&status, "capacity_bytes")), "{status}");
    fill(&mut node.actor(), 0);
    assert!(node.is_alive());
    assert!(node.counter("evicted_blocks") > 0);
}

#[test]
fn a_shm_that_is_too_small_is_an_error_that_says_so() {
    let (name, wrapper) = ("a_shm_that_is_too_small_is_an_error_that_says_so", small_shm(1, ""));
    if !works(&words(&wrapper)) {
        return skip(name, "this machine lets nobody mount a small file system");
    }
    let scratch = Scratch::new();
    let refused = setup("tiny", &scratch, &wrapper).try_start().unwrap_err();
    assert_eq!(refused.status.code(), Some(1), "{}", refused.said);
    assert!(refused.said.contains("MiB") || refused.said.contains("memory"), "{}", refused.said);
}

#[test]
fn more_than_shm_has_is_refused_with_both_figures() {
    let (name, wrapper) = ("more_than_shm_has_is_refused_with_both_figures", small_shm(32, ""));
    if !works(&words(&wrapper)) {
        return skip(name, "this machine lets nobody mount a small file system");
    }
    let scratch = Scratch::new();
    let setup = setup("greedy", &scratch, &wrapper).set("segment.capacity=64MiB");
    let refused = setup.try_start().unwrap_err();
    assert_eq!(refused.status.code(), Some(1), "{}", refused.said);
    assert!(refused.said.contains("64 MiB of shared memory"), "{}", refused.said);
}

#[test]
fn a_shm_that_others_filled_before_is_an_error_or_a_smaller_arena() {
    let name = "a_shm_that_others_filled_before_is_an_error_or_a_smaller_arena";
    for left in [1, 4, 12] {
        let wrapper = small_shm(32, &format!("fallocate -l {}m /dev/shm/others && ", 32 - left));
        if !works(&words(&wrapper)) {
            return skip(name, "this machine lets nobody mount a small file system");
        }
        let scratch = Scratch::new();
        match setup("filled", &scratch, &wrapper).try_start() {
            Ok(mut node) => {
                assert!(bytes(&node.status(), "capacity_bytes") < left * MIB);
                fill(&mut node.actor(), 0);
                assert!(node.is_alive());
            }
            Err(refused) => assert_eq!(refused.status.code(), Some(1), "{left} MiB: {}", refused.said),
        }
    }
}

#[test]
fn a_shm_that_others_fill_later_stops_growth_and_nothing_else() {
    let name = "a_shm_that_others_fill_later_stops_growth_and_nothing_else";
    let wrapper = small_shm(48, "");
    if !works(&words(&wrapper)) || !works(&["nsenter", "--mount=/proc/self/ns/mnt", "true"]) {
        return skip(name, "this machine lets nobody enter a mount namespace");
    }
    let scratch = Scratch::new();
    let mut node = setup("later", &scratch, &wrapper).start();
    let mut client = node.actor();
    client.expect("put_wait 0", "fresh");
    let before = node.status();
    assert!(
        bytes(&before, "backed_bytes") < bytes(&before, "capacity_bytes"),
        "it grows as it is used: {before}"
    );
    inside(&node, "fallocate -l 48m /dev/shm/others || head -c 48m /dev/zero > /dev/shm/others || true");
    fill(&mut client, 1);
    let status = node.status();
    assert!(node.is_alive());
    assert!(bytes(&status["counters"], "refused_growths") > 0, "{status}");
    assert!(bytes(&status, "backed_bytes") < bytes(&status, "capacity_bytes"), "{status}");
    // Another client, whose page needs memory that is not there, is told so, or let in; nobody dies of it.
    let mut late = Actor::start();
    let said = late.ask(&format!("attach {}", node.socket().display()));
    assert!(said.starts_with("attached") || said == "error Refused", "{said}");
    // Room again: it goes on growing.
    inside(&node, "rm /dev/shm/others");
    support::until("the arena grows again", || {
        client.ask(&format!("put_wait {}", PIECES + node.counter("puts_fresh")));
        (bytes(&node.status(), "backed_bytes") > bytes(&status, "backed_bytes")).then_some(())
    });
    late.attach(node.socket());
    late.expect(&format!("put_wait {}", 100 * PIECES), "fresh");
}

#[test]
fn a_control_group_bounds_the_arena_and_nobody_is_killed() {
    let name = "a_control_group_bounds_the_arena_and_nobody_is_killed";
    let group = match ControlGroup::new("bounds", 96 * MIB) {
        Ok(group) => group,
        Err(why) => return skip(name, &why),
    };
    let scratch = Scratch::new();
    let refused =
        setup("over", &scratch, &group.wrapper()).set("segment.capacity=256MiB").try_start().unwrap_err();
    assert!(refused.said.contains("256 MiB of shared memory"), "{}", refused.said);
    let mut node = setup("cgroup", &scratch, &group.wrapper()).start();
    assert!(bytes(&node.status(), "capacity_bytes") < 96 * MIB);
    fill(&mut node.actor(), 0);
    assert!(node.is_alive());
    drop(node);
    assert_eq!(group.oom_kills(), 0);
}

#[test]
fn a_control_group_at_its_limit_stops_growth_and_nobody_is_killed() {
    let name = "a_control_group_at_its_limit_stops_growth_and_nobody_is_killed";
    let group = match ControlGroup::new("limit", 128 * MIB) {
        Ok(group) => group,
        Err(why) => return skip(name, &why),
    };
    let scratch = Scratch::new();
    // What others of the group take lies in /dev/shm as well, so that it cannot be reclaimed.
    let others = Scratch::in_folder("/dev/shm".as_ref());
    let mut node = setup("limit", &scratch, &group.wrapper()).start();
    let mut client = node.actor();
    client.expect("put_wait 0", "fresh");
    let wrapper = group.wrapper();
    let take = format!("head -c 104m /dev/zero > {}/taken || true", others.path().display());
    let taken = Command::new(&wrapper[0]).args(&wrapper[1..]).args(["sh", "-c", &take]).status();
    assert!(taken.is_ok());
    let killed_others = group.oom_kills();
    fill(&mut client, 1);
    assert!(node.is_alive());
    let status = node.status();
    assert!(bytes(&status, "backed_bytes") < bytes(&status, "capacity_bytes"), "{status}");
    assert!(bytes(&status["counters"], "refused_growths") > 0, "{status}");
    drop((client, node));
    assert_eq!(group.oom_kills(), killed_others, "nobody is killed for what the node takes");
}
