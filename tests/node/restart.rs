//! Nodes killed at any instant while clients live on, nodes that freeze, and what their successors find.
//!
//! `CASCTEST_KILLS` sets how often each node is killed, `CASCTEST_SEED` when.

use cascade_core::page::{PAGE_BYTES, PAGE_WORDS};
use cascade_core::sync::Ordering;
use cascade_core::view::WORD_BYTES;
use serde_json::Value;
use support::flips::Flipper;
use support::node::pause;
use support::seed::number;
use support::{Actor, Node, Seed, Setup, content, until};

fn tally(actor: &mut Actor) -> Value {
    let tally: Value = serde_json::from_str(&actor.ask("halt")).unwrap();
    println!("{tally}");
    for bad in ["wrong", "wrong_views"] {
        assert_eq!(tally[bad], 0, "{tally}");
    }
    assert_eq!(tally["other_errors"], serde_json::json!([]));
    assert!(tally["rounds"].as_u64().unwrap() > 0 && tally["hits"].as_u64().unwrap() > 0, "{tally}");
    tally
}

/// Kills the node at a random instant, often while it still starts, and starts it again.
fn kill_and_restart(node: &mut Node, seed: &mut Seed, segment_id: &Value) {
    pause(seed.below(120));
    node.kill();
    while seed.below(4) == 0 {
        node.spawn();
        pause(seed.below(40));
        node.kill();
    }
    node.restart();
    let status = node.status();
    assert_eq!(status["adopted"], true, "{status}");
    assert_eq!(&status["segment_id"], segment_id);
}

/// All clients dead: whatever is not resident is free, to the byte.
fn assert_nothing_leaked(node: &Node, pieces: u64) {
    let status = until("all clients are buried", || {
        let status = node.status();
        status["clients"].as_array().unwrap().is_empty().then_some(status)
    });
    let client = node.client();
    let resident = (0..pieces).filter(|&n| client.contains(&content::piece(n)).unwrap());
    let resident_bytes: u64 = resident.map(|n| content::len_bytes(n) as u64).sum();
    let [free, backed] = ["free_bytes", "backed_bytes"].map(|name| status[name].as_u64().unwrap());
    assert_eq!(free + resident_bytes, backed, "slots are lost: {status}");
    assert_eq!(status["counters"]["resident_bytes"], resident_bytes);
}

fn killed_under_load(mut node: Node, pieces: u64, kills: u64, seed: &mut Seed) -> Vec<Value> {
    let segment_id = node.status()["segment_id"].clone();
    let mut actors = [node.actor(), node.actor()];
    for actor in &mut actors {
        actor.expect(&format!("load {} {pieces}", seed.next_u64()), "ok");
    }
    for _ in 0..kills {
        kill_and_restart(&mut node, seed, &segment_id);
    }
    let tallies = actors.each_mut().map(tally);
    drop(actors);
    assert_nothing_leaked(&node, pieces);
    tallies.into()
}

#[test]
fn what_a_killed_node_acknowledged_is_served_by_the_next() {
    let seed = &mut Seed::of_environment(1);
    // 400 pieces of 25 KiB on the average: all fit, so nothing that was acknowledged may ever miss.
    let node = Setup::new("kills").set("segment.capacity=64MiB").start();
    for tally in killed_under_load(node, 400, number("CASCTEST_KILLS", 40), seed) {
        assert_eq!(tally["lost"], 0, "{tally}");
        assert!(tally["acknowledged"].as_u64().unwrap() > 0, "{tally}");
    }
}

#[test]
fn a_node_killed_while_it_evicts_leaves_nothing_wrong_and_nothing_lost() {
    let seed = &mut Seed::of_environment(2);
    let node = Setup::new("evicting").set("segment.capacity=8MiB").start();
    killed_under_load(node, 1000, number("CASCTEST_KILLS", 40) / 2, seed);
}

#[test]
fn views_fills_and_holds_of_living_clients_outlive_their_node() {
    let mut node = Setup::new("outlive").set("segment.capacity=8MiB").start();
    let mut client = node.actor();
    for n in 0..content::CHAIN {
        client.expect(&format!("put_wait {n}"), "fresh");
    }
    let tail = content::CHAIN - 1;
    client.expect("pin 2", "hit");
    client.expect(&format!("hold {tail}"), "hit");
    client.expect("reserve 100", "half filled");
    node.kill();
    client.expect("views", "right");
    client.expect("get 1", "hit");
    node.restart();
    // Before the client says a word to the new node, others press on what it claims.
    let mut other = node.actor();
    other.flood(2, 1000, 16 << 20);
    other.flood(tail, 2000, 16 << 20);
    client.expect("views", "right");
    client.expect(&format!("match {tail}"), &content::CHAIN.to_string());
    client.expect("commit", "fresh");
    other.expect("get 100", "hit");
    other.expect("get 2", "hit");
}

#[test]
fn what_died_with_the_node_is_buried_by_the_next() {
    let mut node = Node::start("both");
    let mut client = node.actor();
    client.expect("put_wait 0", "fresh");
    client.expect("reserve 5", "half filled");
    client.expect("pin 0", "hit");
    node.freeze();
    client.kill();
    node.kill();
    node.restart();
    let mut reader = node.actor();
    reader.expect("get 0", "hit");
    reader.expect("get 5", "miss Absent");
    drop(reader);
    assert_nothing_leaked(&node, 10);
}

#[test]
fn a_burial_that_its_node_did_not_finish_is_finished_by_the_next() {
    let mut node = Node::start("burial");
    let mut client = node.actor();
    client.expect("put_wait 0", "fresh");
    client.expect("reserve 5", "half filled");
    let page = node.status()["clients"][0]["page"].as_u64().unwrap() as usize;
    node.freeze();
    client.kill();
    node.kill();
    // A node empties the page first, then takes the slots back one by one; this one died in between.
    let pages = Flipper::open(&node.directory().join("pages"));
    for word in &pages.words()[page * PAGE_BYTES / WORD_BYTES..][..PAGE_WORDS] {
        word.store(0, Ordering::Relaxed);
    }
    node.restart();
    assert_nothing_leaked(&node, 10);
}

#[test]
fn a_client_without_a_node_reads_on_and_fails_the_rest_at_its_deadline() {
    let mut node = Node::start("no-node");
    let mut client = node.actor();
    client.expect("put_wait 0", "fresh");
    node.kill();
    client.expect("patience 100", "ok");
    client.expect("get 0", "hit");
    client.expect("pin 0", "hit");
    client.expect("views", "right");
    client.expect("put_wait 1", "error NodeLost");
    client.expect("patience 60000", "ok");
    node.restart();
    client.expect("put_wait 1", "present");
    client.expect("put_wait 2", "fresh");
}

#[test]
fn a_frozen_node_stops_no_reader_and_a_thawed_one_serves_on() {
    let node = Node::start("frozen");
    let (mut client, mut other) = (node.actor(), node.actor());
    for n in 0..content::CHAIN {
        client.expect(&format!("put_wait {n}"), "fresh");
    }
    node.freeze();
    client.expect("patience 100", "ok");
    for n in 0..content::CHAIN {
        client.expect(&format!("get {n}"), "hit");
        other.expect(&format!("get {n}"), "hit");
    }
    client.expect("match 7", "8");
    client.expect("hold 7", "hit");
    client.expect("pin 0", "hit");
    // Of this size the client has slots at hand: the commit is posted, its verdict does not come.
    let twin = content::twins(7, 100).next().unwrap();
    client.expect(&format!("put_wait {twin}"), "error Deadline");
    // Nobody gets in either, and nobody waits longer than he said he would.
    let mut late = Actor::start();
    late.expect("patience 100", "ok");
    late.expect(&format!("attach {}", node.socket().display()), "error Deadline");
    node.thaw();
    client.expect("patience 60000", "ok");
    client.expect("views", "right");
    // What was posted to the frozen node it did when it came to it, before anything that came later.
    client.expect("put_wait 99", "fresh");
    other.expect(&format!("get {twin}"), "hit");
    late.expect("patience 60000", "ok");
    late.attach(node.socket());
    late.expect("get 0", "hit");
    // Who gave up before he was let in holds no page.
    assert_eq!(node.status()["clients"].as_array().unwrap().len(), 3);
}
