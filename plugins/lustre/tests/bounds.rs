//! The capacity of a store that many write, and who makes room in it.

mod support;

use cascade_tier::{CloseMode, NewsKind, Status};
use cascade_tier_lustre::format::Line;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use support::{Host, KIB, MIB, Piece, Random, Scratch, config, piece, with};

const WRITERS: u64 = 8;
const CAPACITY: u64 = 24 * MIB;

fn shared(directory: &Path) -> Value {
    let fields = json!({"capacity_bytes": CAPACITY, "container_bytes": 256 * KIB, "grace_ms": 1000});
    with(config(directory), fields)
}

/// Stores pieces until so many bytes are in, and now and then loads one that it knows of, which must be there.
fn write_and_read(config: &Value, number: u64, stored_bytes: &AtomicU64, enough: u64) -> Host {
    let mut host = Host::open(config);
    let mut random = Random(number);
    let mut next = number << 32;
    while stored_bytes.load(Ordering::Relaxed) < enough {
        let pieces: Vec<Piece> =
            (0..4).map(|index| piece(next + index, 1 + random.below(70 * KIB))).collect();
        next += 4;
        for (piece, completion) in pieces.iter().zip(host.store(&pieces)) {
            match completion.status {
                Status::OK => {
                    stored_bytes.fetch_add(piece.bytes.len() as u64, Ordering::Relaxed);
                }
                // The collector is at work.
                Status::NO_SPACE => std::thread::sleep(std::time::Duration::from_millis(5)),
                other => panic!("a store is {other}: {}", host.stats()),
            }
        }
        host.listen();
        let known: Vec<_> = host.known.values().copied().collect();
        if !known.is_empty() {
            let record = known[random.below(known.len() as u64) as usize];
            let mut key = [0; 8];
            key.copy_from_slice(&record.piece.key[..8]);
            let expected = piece(u64::from_le_bytes(key), record.length_bytes);
            // It was not told as lost, so it is there.
            let loaded = host.load(&[record]).pop().expect("one was asked for");
            assert!(loaded.as_ref() == Ok(&expected.bytes), "{record:?}: {:?}", loaded.err());
        }
    }
    host
}

/// How many claims to collect there are that were not given back.
fn claims(scratch: &Scratch) -> usize {
    let claims = scratch.files("").into_iter().filter(|path| path.to_string_lossy().contains("collector."));
    let lines = claims.filter_map(|path| Line::decode(&fs::read(path).ok()?).ok());
    lines.filter(|line| !matches!(line, Line::Claim { renewals: 0, .. })).count()
}

#[test]
fn eight_writers_keep_to_the_capacity_with_one_collector_and_no_live_piece_is_lost() {
    let scratch = Scratch::new();
    let config = shared(&scratch.store());
    let (stored_bytes, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let hosts: Vec<Host> = std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let (mut most_bytes, mut most_claims) = (0, 0);
            while !is_over.load(Ordering::Relaxed) {
                most_bytes = most_bytes.max(scratch.bytes());
                most_claims = most_claims.max(claims(&scratch));
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            (most_bytes, most_claims)
        });
        let writers: Vec<_> = (0..WRITERS)
            .map(|number| {
                let (config, stored_bytes) = (&config, &stored_bytes);
                scope.spawn(move || write_and_read(config, number, stored_bytes, 2 * CAPACITY))
            })
            .collect();
        let hosts = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        is_over.store(true, Ordering::Relaxed);
        let (most_bytes, most_claims) = watcher.join().unwrap();
        assert!(most_bytes <= CAPACITY / 100 * 105, "{most_bytes} bytes of {CAPACITY}");
        assert!(most_bytes >= CAPACITY / 2, "{most_bytes} bytes of {CAPACITY}: it was never near");
        // One who dies between making a claim and looking around may leave a second for an instant.
        assert!((1..=2).contains(&most_claims), "{most_claims} claims at once");
        hosts
    });
    let collected: u64 = hosts.iter().map(|host| host.count("collected_containers")).sum();
    assert!(collected > 0, "twice the capacity went through");
    for host in hosts {
        host.close(CloseMode::Leave).unwrap();
    }
}

#[test]
fn the_number_of_files_is_bounded() {
    let scratch = Scratch::new();
    let fields = json!({"inodes_max": 20, "container_bytes": 64 * KIB, "grace_ms": 20});
    let mut host = Host::open(&with(config(&scratch.store()), fields));
    let mut stored = 0;
    for number in 0..2000 {
        if host.store(&[piece(number, 20 * KIB)])[0].status.is_ok() {
            stored += 1;
        }
        assert!(scratch.files("").len() <= 20);
        host.listen();
        if stored >= 120 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert!(stored >= 120, "room was made: {}", host.stats());
    assert!(host.count("collected_containers") > 0);
}

/// Fills a store over its high watermark, and waits until it is below again.
fn fill_until_collected(host: &mut Host, first: u64) -> u64 {
    let mut number = first;
    let before = host.count("collected_containers");
    while host.count("collected_containers") == before {
        host.store(&[piece(number, 60 * KIB)]);
        number += 1;
        host.listen();
        assert!(number < first + 100_000, "nothing is ever collected: {}", host.stats());
    }
    number
}

fn small(directory: &Path) -> Value {
    let fields = json!({"capacity_bytes": 4 * MIB, "container_bytes": 256 * KIB, "claim_expiry_ms": 200});
    with(config(directory), fields)
}

#[test]
fn the_oldest_go_first_and_the_host_is_told_before() {
    let scratch = Scratch::new();
    let mut host = Host::open(&small(&scratch.store()));
    let old: Vec<Piece> = (0..4).map(|number| piece(number, 60 * KIB)).collect();
    host.store_all(&old);
    let record = host.known[&old[0].id];
    fill_until_collected(&mut host, 100);
    host.listen_until("the oldest is told as lost", |host| !host.known.contains_key(&old[0].id));
    let lost: Vec<_> = host.news.iter().filter(|news| news.kind == NewsKind::LOST).collect();
    assert!(lost.iter().any(|news| news.record.piece == old[0].id && news.record.extent == record.extent));
    assert_eq!(host.load(&[record]), [Err(Status::NOT_FOUND)]);
}

#[test]
fn a_piece_that_is_loaded_again_and_again_outlives_its_container() {
    let scratch = Scratch::new();
    let mut host = Host::open(&small(&scratch.store()));
    let loved = piece(7, 20 * KIB);
    host.store_all(std::slice::from_ref(&loved));
    host.store_all(&(10..13).map(|number| piece(number, 60 * KIB)).collect::<Vec<_>>());
    let first = host.known[&loved.id].extent;
    let mut next = 100;
    for _ in 0..3 {
        host.has_all(std::slice::from_ref(&loved));
        next = fill_until_collected(&mut host, next);
        host.listen_until("the piece is told anew", |host| host.known.contains_key(&loved.id));
    }
    host.has_all(std::slice::from_ref(&loved));
    assert_ne!(host.known[&loved.id].extent, first);
    assert!(host.count("rewritten_pieces") >= 1);
}

#[test]
fn a_collector_that_died_is_replaced() {
    let scratch = Scratch::new();
    let mut host = Host::open(&small(&scratch.store()));
    host.store_all(&[piece(1, 60 * KIB)]);
    let claim = scratch.store().join("collector.00000003");
    fs::write(&claim, Line::Claim { writer: 0xdead, renewals: 5 }.encode()).unwrap();
    fill_until_collected(&mut host, 100);
    assert!(!claim.exists(), "a newer claim took its place");
}

#[test]
fn what_a_killed_writer_left_is_sealed_and_collected() {
    let scratch = Scratch::new();
    let fields = json!({"container_bytes": MIB, "capacity_bytes": 4 * MIB});
    let config = with(small(&scratch.store()), fields);
    let mut killed = Host::open(&config);
    let left: Vec<Piece> = (0..2).map(|number| piece(number, 60 * KIB)).collect();
    killed.store_all(&left);
    assert_eq!(killed.sync(), Status::OK);
    let manifest = scratch.files(".manifest").remove(0);
    let lines = fs::metadata(&manifest).unwrap().len();
    killed.close(CloseMode::Leave).unwrap();
    // What it would have said in the end it did not say.
    fs::OpenOptions::new().write(true).open(&manifest).unwrap().set_len(lines).unwrap();
    let mut host = Host::open(&config);
    host.listen_until_listed();
    host.has_all(&left);
    assert!(host.stats()["store"]["bytes"].as_u64().unwrap() >= MIB, "all that it reserved is taken");
    fill_until_collected(&mut host, 100);
    let writer = u64::from_str_radix(&name_of(&manifest)[..16], 16).unwrap();
    let is_sealed = |line: &[u8]| {
        matches!(Line::decode(line), Ok(Line::Sealed { container, bytes })
            if container.writer == writer && (1..MIB).contains(&bytes))
    };
    let mut number = 1000;
    // It is taken for dead when it has been silent for long enough.
    while !scratch.files(".manifest").iter().any(|path| fs::read(path).unwrap().chunks(128).any(is_sealed)) {
        number = fill_until_collected(&mut host, number);
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
fn a_full_store_says_so_and_only_to_stores() {
    let scratch = Scratch::new();
    let fields = json!({"capacity_bytes": 8 * MIB, "container_bytes": MIB, "grace_ms": 600_000});
    let mut host = Host::open(&with(config(&scratch.store()), fields));
    let mut last = Status::OK;
    for number in 0..1000 {
        last = host.store(&[piece(number, 200 * KIB)])[0].status;
        if last != Status::OK {
            break;
        }
    }
    assert_eq!(last, Status::NO_SPACE);
    let there = host.known.values().next().copied().expect("some went in");
    assert!(host.load(&[there])[0].is_ok());
    assert_eq!(host.sync(), Status::OK);
}

#[test]
fn removed_bytes_are_not_on_the_disk_any_more() {
    let scratch = Scratch::new();
    let mut host = Host::open(&config(&scratch.store()));
    let pieces = [piece(1, 100), piece(2, 50 * KIB), piece(3, 100)];
    host.store_all(&pieces);
    for removed in &pieces[..2] {
        let record = host.known[&removed.id];
        assert_eq!(host.remove(&record), Status::OK);
        assert_eq!(host.remove(&record), Status::NOT_FOUND);
        assert_eq!(host.load(&[record]), [Err(Status::NOT_FOUND)]);
        let path = scratch.files(".pieces").remove(0);
        let mut bytes = vec![1; removed.bytes.len()];
        fs::File::open(path).unwrap().read_exact_at(&mut bytes, record.extent.words[2]).unwrap();
        assert!(bytes.iter().all(|&byte| byte == 0));
    }
    host.has_all(&pieces[2..]);
}
