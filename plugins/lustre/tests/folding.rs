//! What many jobs leave, one after the other: few manifests, however many they were.

mod support;

use cascade_tier::{CloseMode, NewsKind, Status};
use serde_json::json;
use std::fs;
use support::{Host, KIB, Piece, Scratch, config, piece, with};

/// Opens a handle, stores a piece, and leaves it; so many times.
fn jobs(scratch: &Scratch, numbers: std::ops::Range<u64>) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for number in numbers {
        let mut host = Host::open(&config(&scratch.store()));
        let piece = piece(number, 100 + 10 * KIB * (number % 5));
        host.store_all(std::slice::from_ref(&piece));
        host.close(CloseMode::Leave).unwrap();
        pieces.push(piece);
    }
    pieces
}

#[test]
fn manifests_of_the_dead_are_folded_and_nothing_is_lost_or_told_twice() {
    let scratch = Scratch::new();
    let mut early = Host::open(&config(&scratch.store()));
    early.listen_until_listed();
    let mut pieces = jobs(&scratch, 0..30);
    let removed = pieces.remove(3);
    early.listen_until("all are known", |host| host.known.len() == 30);
    let record = early.known[&removed.id];
    assert_eq!(early.remove(&record), Status::OK);
    early.listen_until("the manifests are folded", |_| scratch.files(".manifest").len() < 10);
    pieces.extend(jobs(&scratch, 30..45));
    early.listen_until("the later ones are known", |host| host.known.len() == pieces.len());
    early.has_all(&pieces);
    let found = early.news.iter().filter(|news| news.kind == NewsKind::FOUND).count();
    let lost = early.news.iter().filter(|news| news.kind == NewsKind::LOST).count();
    assert_eq!((found, lost), (45, 0), "each is told once");
    assert!(!scratch.files(".folded").is_empty());

    let mut late = Host::open(&config(&scratch.store()));
    late.listen_until_listed();
    assert_eq!(late.known.len(), pieces.len());
    late.has_all(&pieces);
    assert_eq!(late.load(&[record]), [Err(Status::NOT_FOUND)], "what was removed stays removed");
    // A removal of a folded piece is told as any other.
    let second = late.known[&pieces[0].id];
    assert_eq!(late.remove(&second), Status::OK);
    early.listen_until("the removal is told", |host| !host.known.contains_key(&pieces[0].id));
}

#[test]
fn a_folding_that_was_cut_short_costs_nothing() {
    let scratch = Scratch::new();
    let pieces = jobs(&scratch, 0..7);
    let manifests: Vec<_> =
        scratch.files(".manifest").iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    // Folded, and then as if the collector had died before it took the old ones away.
    let more = jobs(&scratch, 7..12);
    let mut host = Host::open(&config(&scratch.store()));
    host.store_all(&[piece(1000, 10)]);
    host.listen_until("the manifests are folded", |_| !scratch.files(".folded").is_empty());
    host.close(CloseMode::Leave).unwrap();
    for (path, bytes) in &manifests {
        fs::write(path, bytes).unwrap();
    }
    fs::write(scratch.store().join("00000000000000ff.new"), b"half a manifest").unwrap();
    let mut reader = Host::open(&with(config(&scratch.store()), json!({"mode": "read_only"})));
    reader.listen_until_listed();
    assert_eq!(reader.news.iter().filter(|news| news.kind == NewsKind::FOUND).count(), 13);
    reader.has_all(&pieces);
    reader.has_all(&more);
}
