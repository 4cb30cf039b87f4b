//! Clients that die, forget and fork: what they held comes back, and nobody sees what they left half done.

use cascade_core::page::RING_ENTRIES;
use rustix::process::Signal;
use serde_json::Value;
use support::{Actor, Node, Setup, content, until};

const CAPACITY_BYTES: u64 = 8 << 20;
const FLOOD_BYTES: u64 = 2 * CAPACITY_BYTES;

fn small(name: &str) -> Node {
    Setup::new(name).set(&format!("segment.capacity={CAPACITY_BYTES}")).set("segment.clients_max=4").start()
}

fn await_death(node: &Node) {
    until("the node buried its client", || (node.counter("deaths") > 0).then_some(()));
}

/// Bytes that no piece and no grant takes, once the node has granted all that it wants.
fn free_bytes(status: &Value) -> u64 {
    status["free_bytes"].as_u64().unwrap()
}

#[test]
fn pins_and_holds_of_a_killed_client_are_back() {
    let node = small("pins");
    let (mut owner, mut reader) = (node.actor(), node.actor());
    for n in 0..2 * content::CHAIN {
        owner.expect(&format!("put_wait {n}"), "fresh");
    }
    owner.expect("pin 3", "hit");
    owner.expect(&format!("hold {}", 2 * content::CHAIN - 1), "hit");
    let tail = 2 * content::CHAIN - 1;
    reader.flood(3, 10_000, FLOOD_BYTES);
    reader.flood(tail, 20_000, FLOOD_BYTES);
    owner.expect("views", "right");
    reader.expect("get 3", "hit");
    reader.expect(&format!("match {tail}"), &content::CHAIN.to_string());
    owner.kill();
    await_death(&node);
    reader.flood(3, 30_000, FLOOD_BYTES);
    reader.expect("get 3", "miss Absent");
    reader.flood(tail, 40_000, FLOOD_BYTES);
    reader.expect(&format!("get {tail}"), "miss Absent");
}

#[test]
fn a_half_filled_slot_of_a_killed_client_is_back_and_never_seen() {
    let node = small("half");
    let mut reader = node.actor();
    reader.expect("put_wait 1", "fresh");
    let before = until("the node granted what it wants", || {
        let (first, second) = (node.status(), node.status());
        (first["free_bytes"] == second["free_bytes"] && first["backed_bytes"] == CAPACITY_BYTES)
            .then_some(first)
    });
    let mut owner = node.actor();
    for n in 20..60 {
        owner.expect(&format!("reserve {n}"), "half filled");
    }
    assert!(free_bytes(&node.status()) < free_bytes(&before));
    owner.kill();
    await_death(&node);
    until("all slots are back", || (free_bytes(&node.status()) == free_bytes(&before)).then_some(()));
    for n in 20..60 {
        reader.expect(&format!("get {n}"), "miss Absent");
        reader.expect(&format!("match {n}"), "0");
    }
    assert_eq!(node.status()["clients"].as_array().unwrap().len(), 1);
}

/// A client posts commits that its frozen node does not see, and is killed.
fn posted_and_killed(node: &Node) -> Vec<u64> {
    let mut owner = node.actor();
    owner.expect("put_wait 1", "fresh");
    let twins: Vec<u64> = content::twins(1, 2).take(3).collect();
    node.freeze();
    for n in &twins {
        owner.expect(&format!("put {n}"), "posted");
    }
    owner.kill();
    twins
}

#[test]
fn the_whole_commits_of_a_killed_client_are_published() {
    let node = small("commits");
    let twins = posted_and_killed(&node);
    node.thaw();
    await_death(&node);
    let mut reader = node.actor();
    for n in &twins {
        reader.expect(&format!("get {n}"), "hit");
    }
}

#[test]
fn the_whole_commits_of_a_client_that_died_with_its_node_are_published() {
    let mut node = small("both-died");
    let twins = posted_and_killed(&node);
    node.kill();
    node.restart();
    let mut reader = node.actor();
    for n in &twins {
        reader.expect(&format!("get {n}"), "hit");
    }
    assert_eq!(node.status()["clients"].as_array().unwrap().len(), 1);
}

#[test]
fn a_killed_client_with_a_full_ring_is_gone_like_any_other() {
    let node = small("full-ring");
    let (mut owner, mut reader) = (Actor::start(), node.actor());
    let socket = node.socket().display().to_string();
    owner.expect(&format!("raw {socket}"), "ok");
    node.freeze();
    owner.expect("flood", &RING_ENTRIES.to_string());
    owner.kill();
    node.thaw();
    await_death(&node);
    reader.expect("put_wait 0", "fresh");
    assert_eq!(node.counter("confused_clients"), 0);
    assert_eq!(node.status()["clients"].as_array().unwrap().len(), 1);
}

#[test]
fn a_client_that_forgets_its_pins_stops_nobody_else() {
    let node = small("forgetful");
    let (mut hoarder, mut writer) = (node.actor(), node.actor());
    // It pins what it can, until its budget ends that, and never lets go.
    let mut said = String::new();
    for n in (0..).take_while(|n| *n < 4096) {
        hoarder.ask(&format!("put_wait {n}"));
        said = hoarder.ask(&format!("pin {n}"));
        if said == "miss PinBudget" {
            hoarder.expect(&format!("get {n}"), "hit");
            break;
        }
    }
    assert_eq!(said, "miss PinBudget");
    writer.flood(0, 10_000, FLOOD_BYTES);
    assert!(node.counter("evicted_blocks") > 0);
    hoarder.expect("views", "right");
}

#[test]
fn a_forked_child_gets_the_error_and_its_parent_keeps_its_data() {
    let node = small("fork");
    let mut parent = node.actor();
    parent.expect("put_wait 0", "fresh");
    parent.expect("put_wait 1", "fresh");
    parent.expect("pin 0", "hit");
    parent.expect("hold 1", "hit");
    parent.expect("reserve 2", "half filled");
    // The child drops all that it inherited; that touches nothing of its parent's.
    assert_eq!(parent.fork(), "error Forked");
    parent.expect("commit", "fresh");
    let mut writer = node.actor();
    writer.flood(0, 10_000, FLOOD_BYTES);
    writer.flood(1, 20_000, FLOOD_BYTES);
    parent.expect("views", "right");
    parent.expect("get 0", "hit");
    parent.expect("get 1", "hit");
}

#[test]
fn a_killed_client_whose_forked_child_lives_is_dead() {
    let node = small("heir");
    let (mut parent, mut reader) = (node.actor(), node.actor());
    parent.expect("put_wait 0", "fresh");
    parent.expect("pin 0", "hit");
    parent.expect("reserve 2", "half filled");
    assert_eq!(parent.fork(), "error Forked");
    // The child has the socket open, and every descriptor; it does not count.
    parent.kill();
    await_death(&node);
    reader.flood(0, 10_000, FLOOD_BYTES);
    reader.expect("get 0", "miss Absent");
    reader.expect("get 2", "miss Absent");
    assert_eq!(node.status()["clients"].as_array().unwrap().len(), 1);
}

#[test]
fn a_frozen_client_keeps_what_it_claims() {
    let node = small("frozen-client");
    let (mut sleeper, mut writer) = (node.actor(), node.actor());
    sleeper.expect("put_wait 0", "fresh");
    sleeper.expect("pin 0", "hit");
    sleeper.signal(Signal::STOP);
    writer.flood(0, 10_000, FLOOD_BYTES);
    sleeper.signal(Signal::CONT);
    sleeper.expect("views", "right");
    sleeper.expect("put_wait 5", "fresh");
    assert_eq!(node.counter("deaths"), 0);
}

#[test]
fn clients_that_come_and_die_leave_their_pages_to_others() {
    let node = small("pages");
    for round in 0..12 {
        let mut client = node.actor();
        client.expect(&format!("put_wait {round}"), "fresh");
        client.expect(&format!("pin {round}"), "hit");
        client.kill();
        // Four pages, so the fifth client needs one that was another's.
        until("the node buried its client", || (node.counter("deaths") > round).then_some(()));
    }
    let status = node.status();
    assert_eq!(status["clients"].as_array().unwrap().len(), 0);
    assert_eq!(status["pieces"], 12);
    let taken: u64 = (0..12).map(|n| content::len_bytes(n) as u64).sum();
    assert_eq!(free_bytes(&status) + taken, status["backed_bytes"].as_u64().unwrap());
}
