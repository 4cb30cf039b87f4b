//! What a dead node left and its successor cannot take up: it starts afresh, says so, and clients find it.

use std::path::Path;

use cascade_core::segment::LAYOUT_VERSION;
use cascade_core::sync::Ordering;
use serde_json::Value;
use support::flips::Flipper;
use support::{Node, Setup};

/// Kills a node, has its files changed, starts it again: afresh, with living clients going over to it.
fn starts_afresh(name: &str, change: impl FnOnce(&Path)) -> Node {
    let mut node = Setup::new(name).set("segment.capacity=8MiB").start();
    let mut client = node.actor();
    client.expect("put_wait 0", "fresh");
    client.expect("pin 0", "hit");
    let before = client.ask("segment");
    node.kill();
    change(&node.directory());
    node.restart();
    let status = node.status();
    assert_eq!(status["adopted"], false, "{status}");
    assert_ne!(status["segment_id"], Value::from(before));
    client.expect("put_wait 1", "fresh");
    client.expect("get 1", "hit");
    client.expect("get 0", "miss Absent");
    // What the client still maps of the old one is whole.
    client.expect("views", "right");
    node
}

fn set_word(directory: &Path, word: usize, change: impl FnOnce(u64) -> u64) {
    let meta = Flipper::open(&directory.join("meta"));
    let word = &meta.words()[word];
    word.store(change(word.load(Ordering::Relaxed)), Ordering::Relaxed);
}

fn change_owner(directory: &Path, change: impl FnOnce(&mut Value)) {
    let path = directory.join("owner");
    let mut owner: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut owner);
    std::fs::write(&path, owner.to_string()).unwrap();
}

#[test]
fn a_segment_of_another_layout_version_is_left_alone() {
    let node = starts_afresh("version", |directory| set_word(directory, 1, |version| version + 1));
    let said = format!("layout version {}", LAYOUT_VERSION + 1);
    assert!(node.log().contains(&said), "{}", node.log());
}

#[test]
fn a_file_that_is_no_segment_is_left_alone() {
    starts_afresh("magic", |directory| set_word(directory, 0, |_| 0));
}

#[test]
fn a_header_that_contradicts_itself_is_left_alone() {
    starts_afresh("geometry", |directory| set_word(directory, 16, |chunk_bytes| chunk_bytes << 1));
}

#[test]
fn a_segment_of_another_boot_is_left_alone() {
    starts_afresh("boot", |directory| change_owner(directory, |owner| owner["boot_id"] = "another".into()));
}

#[test]
fn a_segment_that_was_never_finished_is_left_alone() {
    starts_afresh("unfinished", |directory| change_owner(directory, |owner| owner["ready"] = false.into()));
}

#[test]
fn a_segment_whose_owner_record_is_torn_is_left_alone() {
    starts_afresh("torn", |directory| std::fs::write(directory.join("owner"), "{\"pid\": 1").unwrap());
}

#[test]
fn a_segment_that_lacks_a_file_is_left_alone() {
    starts_afresh("lacking", |directory| std::fs::remove_file(directory.join("arena-0")).unwrap());
}

#[test]
fn a_segment_whose_files_have_other_sizes_is_left_alone() {
    starts_afresh("short", |directory| {
        // Another file in its place: the old one is still mapped, and nobody's mapping is ever cut off.
        let pages = directory.join("pages");
        std::fs::remove_file(&pages).unwrap();
        std::fs::write(pages, [0; 4096]).unwrap();
    });
}
