//! Bits that flip in shared memory: a verified get never returns wrong bytes, nothing panics, and the node lives on or says
//! why it does not.
//!
//! `CASCTEST_FLIPS` sets how many bits flip, `CASCTEST_SEED` which.

use cascade_core::segment::HEADER_BYTES;
use cascade_core::view::WORD_BYTES;
use serde_json::Value;
use support::flips::Flipper;
use support::node::pause;
use support::seed::number;
use support::{Actor, Node, Seed, Setup, content};

const PIECES: u64 = 300;

fn node(name: &str) -> Node {
    // Little capacity for many pieces: the flips meet evictions, recuts and full buckets.
    Setup::new(name).set("segment.capacity=8MiB").set("segment.clients_max=8").start()
}

fn loaded(node: &Node, seed: &mut Seed) -> [Actor; 2] {
    [(); 2].map(|()| {
        let mut actor = node.actor();
        // What is filled in place is sealed as it lies there, flipped or not; what is copied, as it was put.
        actor.expect(&format!("load_copies {} {PIECES}", seed.next_u64()), "ok");
        actor
    })
}

/// Views and fills are not verified, so their bytes may be flipped; what a get returned may not.
fn assert_no_wrong_get(actor: &mut Actor) {
    let tally: Value = serde_json::from_str(&actor.ask("halt")).unwrap();
    println!("{tally}");
    assert_eq!(tally["wrong"], 0, "{tally}");
    assert!(tally["hits"].as_u64().unwrap() > 0, "{tally}");
}

/// Flips bits of a file while clients work, and tells what the node counted.
fn flips_under_load(name: &str, file: &str, from: u64) -> Value {
    let seed = &mut Seed::of_environment(from);
    let mut node = node(name);
    let mut actors = loaded(&node, seed);
    pause(200);
    let flipper = Flipper::open(&node.directory().join(file));
    let flips = number("CASCTEST_FLIPS", 10_000);
    for n in 0..flips {
        flipper.flip(seed, 0);
        if n % 50 == 0 {
            pause(10);
        }
    }
    for actor in &mut actors {
        assert_no_wrong_get(actor);
    }
    assert!(node.is_alive(), "{}", node.log());
    let counters = node.status()["counters"].clone();
    println!("{counters}");
    // What is damaged stays damaged until the segment ends; a new one is whole.
    drop(actors);
    assert!(node.stop().success(), "{}", node.log());
    node.restart();
    let mut client = node.actor();
    for n in 0..content::CHAIN {
        client.expect(&format!("put_wait {n}"), "fresh");
        client.expect(&format!("get {n}"), "hit");
    }
    counters
}

#[test]
fn flips_in_the_arena_are_misses_that_are_counted() {
    let counters = flips_under_load("arena", "arena-0", 11);
    assert!(counters["corrupt_pieces"].as_u64().unwrap() > 0);
}

#[test]
fn flips_in_the_metadata_are_misses_that_are_counted() {
    let counters = flips_under_load("meta", "meta", 12);
    assert!(counters["damaged_slots"].as_u64().unwrap() > 0);
}

#[test]
fn flips_in_the_pages_of_clients_harm_no_bytes() {
    flips_under_load("pages", "pages", 13);
}

#[test]
fn flips_in_what_a_dead_node_left_are_repaired_or_left_out() {
    let seed = &mut Seed::of_environment(14);
    let mut node = node("dead");
    let flips = number("CASCTEST_FLIPS", 10_000);
    let rounds = 10;
    let mut adopted = 0;
    for round in 0..rounds {
        let mut client = node.actor();
        for n in 0..PIECES {
            let said = client.ask(&format!("put_wait {n}"));
            assert!(!said.starts_with("error"), "round {round}: {said}");
        }
        client.expect("reserve 1000", "half filled");
        client.expect("pin 0", "hit");
        node.kill();
        for (file, share) in [("meta", 2), ("arena-0", 4), ("pages", 4)] {
            let flipper = Flipper::open(&node.directory().join(file));
            // Every other round spares the header, so that there is a segment to take up.
            let first = if file == "meta" && round % 2 == 0 { HEADER_BYTES / WORD_BYTES } else { 0 };
            for _ in 0..flips / rounds / share {
                flipper.flip(seed, first);
            }
        }
        // Its client reads on from what it has mapped.
        for n in 0..PIECES {
            assert_ne!(client.ask(&format!("get {n}")), "wrong");
        }
        node.restart();
        adopted += u64::from(node.status()["adopted"] == true);
        for n in 0..PIECES {
            assert_ne!(client.ask(&format!("get {n}")), "wrong");
        }
        client.ask("commit");
        client.kill();
        // What is damaged stays out until the segment ends: each round begins with a whole one.
        assert!(node.stop().success(), "{}", node.log());
        node.restart();
    }
    println!("{adopted} of {rounds} segments were adopted");
    assert!(adopted >= rounds / 2);
    assert!(node.is_alive());
}
