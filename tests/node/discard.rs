//! Pieces that are dropped at once, whoever claims them: discarded ones and corrupt ones.

use std::collections::HashSet;

use cascade_core::sync::Ordering;
use serde_json::Value;
use support::flips::Flipper;
use support::{Node, Setup, content, until};

const CAPACITY_BYTES: u64 = 8 << 20;
const TAIL: u64 = content::CHAIN - 1;

/// A node that holds the chain of piece 0.
fn node(name: &str) -> Node {
    let node = Setup::new(name).set(&format!("segment.capacity={CAPACITY_BYTES}")).start();
    let mut client = node.actor();
    for n in 0..content::CHAIN {
        client.expect(&format!("put_wait {n}"), "fresh");
    }
    node
}

/// Waits until nothing is left but these pieces: every other slot is free.
fn await_nothing_but(node: &Node, pieces: &HashSet<u64>) {
    let resident_bytes: u64 = pieces.iter().map(|&n| content::len_bytes(n) as u64).sum();
    until("every other slot is free", || {
        let status = node.status();
        let bytes = |name: &str| status[name].as_u64().unwrap();
        let nobody = status["clients"].as_array().is_some_and(Vec::is_empty);
        (nobody && bytes("free_bytes") + resident_bytes == bytes("backed_bytes")).then_some(())
    });
    assert_eq!(node.counter("resident_bytes"), resident_bytes);
}

/// Changes a byte of a piece where it lies.
fn damage(node: &Node, n: u64) {
    let arena = Flipper::open(&node.directory().join("arena-0"));
    let first = u64::from_le_bytes(*content::bytes(n).first_chunk().unwrap());
    let word = arena.words().iter().find(|word| word.load(Ordering::Relaxed) == first);
    word.expect("the piece is there").fetch_xor(1, Ordering::Relaxed);
}

#[test]
fn a_discarded_piece_is_put_anew_while_a_view_of_the_old_one_lives() {
    let node = node("discard");
    let (mut viewer, mut other) = (node.actor(), node.actor());
    viewer.expect(&format!("pin {TAIL}"), "hit");
    other.expect(&format!("discard {TAIL}"), "dropped");
    other.expect(&format!("discard {TAIL}"), "absent");
    viewer.expect(&format!("get {TAIL}"), "miss Absent");
    viewer.expect("views", "right");
    other.expect(&format!("put_wait {TAIL}"), "fresh");
    viewer.expect(&format!("get {TAIL}"), "hit");
    // Whatever of that length is evicted and written anew, the view's slot is not.
    other.flood(TAIL, 1000, 2 * CAPACITY_BYTES);
    viewer.expect("views", "right");
    assert_eq!(node.counter("discarded_pieces"), 1);
}

#[test]
fn the_slot_of_a_discarded_piece_comes_back_with_its_last_claim() {
    let node = node("back");
    let (mut viewer, mut other) = (node.actor(), node.actor());
    viewer.expect("pin 0", "hit");
    viewer.expect("pin 0", "hit");
    other.expect("discard 0", "dropped");
    other.kill();
    viewer.expect("views", "right");
    viewer.kill();
    await_nothing_but(&node, &(1..content::CHAIN).collect());
    node.actor().expect("put_wait 0", "fresh");
}

#[test]
fn what_hangs_below_a_discarded_piece_is_one_chain_again_with_the_next_of_its_name() {
    let node = node("below");
    let mut client = node.actor();
    client.expect("discard 5", "dropped");
    client.expect(&format!("match {TAIL}"), "5");
    client.expect("get 6", "hit");
    client.expect("put_wait 5", "fresh");
    client.expect(&format!("match {TAIL}"), &format!("{}", TAIL + 1));
    // The same with a claim below.
    client.expect("hold 6", "hit");
    client.expect("discard 2", "dropped");
    client.expect("match 6", "2");
    client.expect("get 2", "miss Absent");
    client.expect("get 6", "hit");
    client.expect("put_wait 2", "fresh");
    client.expect("match 6", "7");
    drop(client);
    await_nothing_but(&node, &(0..content::CHAIN).collect());
}

#[test]
fn a_corrupt_piece_that_is_claimed_makes_way_for_a_whole_one() {
    let mut node = node("corrupt");
    let (mut viewer, mut other) = (node.actor(), node.actor());
    viewer.expect(&format!("pin {TAIL}"), "hit");
    damage(&node, TAIL);
    other.expect(&format!("get {TAIL}"), "miss Corrupt");
    until("the node has looked for itself", || (node.counter("corrupt_pieces") == 1).then_some(()));
    other.expect(&format!("get {TAIL}"), "miss Absent");
    other.expect(&format!("put_wait {TAIL}"), "fresh");
    viewer.expect(&format!("get {TAIL}"), "hit");
    // The claim is still there, and the next node does not take the old one for the new one.
    node.kill();
    node.restart();
    assert_eq!(node.status()["adopted"], true);
    other.expect(&format!("get {TAIL}"), "hit");
    assert_eq!(node.counter("corrupt_pieces"), 0);
    drop((viewer, other));
    await_nothing_but(&node, &(0..content::CHAIN).collect());
}

#[test]
fn a_discarded_piece_does_not_come_back_with_the_next_node() {
    let mut node = node("gone");
    let (mut viewer, mut other) = (node.actor(), node.actor());
    viewer.expect(&format!("pin {TAIL}"), "hit");
    other.expect(&format!("discard {TAIL}"), "dropped");
    node.kill();
    node.restart();
    let status: Value = node.status();
    assert_eq!((&status["adopted"], &status["pieces"]), (&true.into(), &TAIL.into()), "{status}");
    other.expect(&format!("get {TAIL}"), "miss Absent");
    other.expect(&format!("put_wait {TAIL}"), "fresh");
    viewer.expect("views", "right");
    drop((viewer, other));
    await_nothing_but(&node, &(0..content::CHAIN).collect());
}

#[test]
fn what_was_discarded_while_there_was_no_node_is_dropped_by_the_next() {
    let mut node = node("posted");
    let mut client = node.actor();
    client.expect("get 7", "hit");
    node.kill();
    client.expect("patience 10", "ok");
    // The flush behind it finds nobody; the request stays in the ring.
    client.expect("discard 7", "error NodeLost");
    node.restart();
    until("the next node has heard it", || (node.counter("discarded_pieces") == 1).then_some(()));
    client.expect("patience 60000", "ok");
    client.expect("put_wait 7", "fresh");
}
