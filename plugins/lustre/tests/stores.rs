//! Several stores, stores that are only read, durability, and collection from the command line.

mod support;

use cascade_tier::{CloseMode, Library, NewsKind, Status};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use support::{Host, KIB, MIB, Piece, Scratch, config, piece, with};

/// A store with some pieces that somebody left.
fn left(directory: &Path, first: u64) -> Vec<Piece> {
    let mut host = Host::open(&config(directory));
    let pieces: Vec<Piece> =
        (first..first + 6).map(|number| piece(number, 1 + 20 * KIB * (number % 6))).collect();
    host.store_all(&pieces);
    host.close(CloseMode::Leave).unwrap();
    pieces
}

/// Everything in a directory: names, lengths, times.
fn everything(directory: &Path) -> BTreeMap<PathBuf, (u64, std::time::SystemTime)> {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    let look = |entry: fs::DirEntry| {
        let metadata = entry.metadata().unwrap();
        (entry.path(), (metadata.len(), metadata.modified().unwrap()))
    };
    entries.map(look).collect()
}

#[test]
fn a_store_that_is_only_read_serves_and_is_not_touched() {
    let scratch = Scratch::new();
    let pieces = left(&scratch.store(), 0);
    let before = everything(&scratch.store());
    let mut host = Host::open(&with(config(&scratch.store()), json!({"mode": "read_only"})));
    host.listen_until_listed();
    host.has_all(&pieces);
    assert_eq!(host.store(&[piece(100, 10)])[0].status, Status::READ_ONLY);
    let record = host.known[&pieces[0].id];
    assert_eq!(host.remove(&record), Status::READ_ONLY);
    assert_eq!(host.sync(), Status::OK, "there is nothing to sync");
    host.close(CloseMode::Unlink).unwrap();
    assert_eq!(everything(&scratch.store()), before);
}

#[test]
fn reading_makes_no_store_where_there_is_none() {
    let scratch = Scratch::new();
    let host = Host::open(&with(config(&scratch.store()), json!({"mode": "read_only"})));
    host.close(CloseMode::Leave).unwrap();
    assert!(!scratch.store().exists());
}

#[test]
fn further_stores_are_read_beside_the_own_one_and_not_touched() {
    let scratch = Scratch::new();
    let (shared, older) = (scratch.path().join("shared"), scratch.path().join("older"));
    let (of_shared, of_older) = (left(&shared, 100), left(&older, 200));
    let before = (everything(&shared), everything(&older));
    let missing = scratch.path().join("missing");
    let fields = json!({"read_only": [&shared, &older, &missing]});
    let config = with(config(&scratch.store()), fields);
    let mut host = Host::open(&config);
    let own: Vec<Piece> = (0..4).map(|number| piece(number, 50 * KIB)).collect();
    host.store_all(&own);
    host.listen_until_listed();
    for pieces in [&own, &of_shared, &of_older] {
        host.has_all(pieces);
    }
    let foreign = host.known[&of_shared[0].id];
    assert_eq!(host.remove(&foreign), Status::READ_ONLY);
    host.close(CloseMode::Leave).unwrap();
    assert_eq!((everything(&shared), everything(&older)), before);
    assert!(!missing.exists());
    // Extents mean the same to the next handle, before it has heard of anything.
    let mut next = Host::open(&config);
    let extents: Vec<_> = of_older.iter().map(|piece| piece.id).collect();
    next.listen_until_listed();
    assert!(extents.iter().all(|id| next.known.contains_key(id)));
    next.has_all(&of_older);
}

/// How often files were made durable while two containers were filled and a few pieces more were stored.
fn syncs(durability: &str) -> u64 {
    let scratch = Scratch::new();
    let fields = json!({"durability": durability, "container_bytes": 256 * KIB});
    let mut host = Host::open(&with(config(&scratch.store()), fields));
    for number in 0..12 {
        host.store_all(&[piece(number, 60 * KIB)]);
    }
    // Sealing is not waited for by anybody.
    std::thread::sleep(std::time::Duration::from_millis(100));
    let count = host.count("syncs");
    assert_eq!(host.sync(), Status::OK);
    assert!(host.count("syncs") > count, "asked for it, it always syncs");
    count
}

#[test]
fn durability_says_when_to_sync_without_being_asked() {
    assert_eq!(syncs("none"), 0);
    let by_container = syncs("container");
    assert!((2..12).contains(&by_container), "{by_container} syncs");
    assert!(syncs("sync") >= 24, "each store, its bytes and its line");
}

#[test]
fn a_long_manifest_is_gone_on_from_and_everybody_follows() {
    let scratch = Scratch::new();
    let fields = json!({"manifest_bytes": 1024, "container_bytes": 256 * KIB});
    let config = with(config(&scratch.store()), fields);
    let (mut writer, mut reader) = (Host::open(&config), Host::open(&config));
    let pieces: Vec<Piece> = (0..60).map(|number| piece(number, 20 * KIB)).collect();
    for batch in pieces.chunks(5) {
        writer.store_all(batch);
    }
    assert!(scratch.files(".manifest").len() >= 3, "{:?}", scratch.files(".manifest"));
    reader.listen_until("all are known", |host| host.known.len() == pieces.len());
    reader.has_all(&pieces);
    writer.has_all(&pieces);
    assert_eq!(
        writer.news.iter().filter(|news| news.kind == NewsKind::FOUND).count(),
        0,
        "its own are no news"
    );
    writer.close(CloseMode::Leave).unwrap();
    let mut next = Host::open(&config);
    next.listen_until_listed();
    next.has_all(&pieces);
    assert_eq!(next.known.len(), pieces.len());
}

fn collect(config: &Value) -> Value {
    let library = Library::from_entry(cascade_tier_lustre::entry).unwrap();
    serde_json::from_str(&library.collect_garbage(&config.to_string()).unwrap()).unwrap()
}

#[test]
fn the_command_line_collects_what_is_over_the_capacity() {
    let scratch = Scratch::new();
    let mut host = Host::open(&config(&scratch.store()));
    for number in 1000..1100 {
        host.store_all(&[piece(number, 60 * KIB)]);
    }
    host.close(CloseMode::Leave).unwrap();
    let small = with(config(&scratch.store()), json!({"capacity_bytes": 4 * MIB}));
    let before = everything(&scratch.store());
    let would = collect(&with(small.clone(), json!({"dry_run": true})));
    assert_eq!(would["stores"][0]["removed_containers"], 0);
    assert!(would["stores"][0]["bytes"].as_u64().unwrap() > 4 * MIB);
    assert_eq!(everything(&scratch.store()), before, "a dry run touches nothing");
    let did = collect(&small);
    assert!(did["stores"][0]["removed_containers"].as_u64().unwrap() >= 2, "{did}");
    assert!(scratch.bytes() <= 4 * MIB);
    let mut next = Host::open(&small);
    next.listen_until_listed();
    assert!(!next.known.contains_key(&piece(1000, 60 * KIB).id), "the oldest went first");
    let last = piece(1099, 60 * KIB);
    next.has_all(&[last]);
}

#[test]
fn the_command_line_makes_no_store() {
    let scratch = Scratch::new();
    assert_eq!(collect(&config(&scratch.store()))["stores"], json!([]));
    assert!(!scratch.store().exists());
    assert_eq!(collect(&json!({"root": scratch.path()}))["stores"], json!([]));
}
