//! A file system that fails: each failure is a miss, or a tier that takes nothing for a while, and goes by when the cause does.
#![cfg(feature = "faults")]

mod support;

use cascade_tier::{CloseMode, Status};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use support::{Host, KIB, Piece, Scratch, config, faulty_library, piece, with};

/// How long operations may take that are expected to be too late.
const SHORT: Option<Duration> = Some(Duration::from_millis(100));

fn open(scratch: &Scratch, fields: Value) -> Host {
    let fields = with(json!({"close_wait_ms": 60_000}), fields);
    Host::open_in(&faulty_library(), &with(config(&scratch.store()), fields))
}

fn pieces(first: u64) -> Vec<Piece> {
    (first..first + 4).map(|number| piece(number, 100 + 40 * KIB * (number % 2))).collect()
}

/// A host with some pieces.
fn with_pieces(scratch: &Scratch) -> (Host, Vec<Piece>) {
    let mut host = open(scratch, json!({}));
    host.listen_until_listed();
    let pieces = pieces(0);
    host.store_all(&pieces);
    (host, pieces)
}

fn statuses(host: &mut Host, pieces: &[Piece]) -> Vec<Status> {
    pieces.iter().map(|piece| host.get(piece).unwrap().err().unwrap_or(Status::OK)).collect()
}

#[test]
fn reads_that_fail_are_misses_until_they_work_again() {
    let scratch = Scratch::new();
    let (mut host, pieces) = with_pieces(&scratch);
    for (error, status) in [
        ("EIO", Status::IO),
        ("ESHUTDOWN", Status::IO),
        ("ESTALE", Status::NOT_FOUND),
        ("ENOENT", Status::NOT_FOUND),
    ] {
        scratch.fail(&json!([{"on": ["read"], "fault": {"error": error}}]));
        assert_eq!(statuses(&mut host, &pieces), [status; 4], "{error}");
        scratch.fail(&json!([]));
        host.has_all(&pieces);
    }
}

#[test]
fn a_read_that_ends_early_is_a_miss() {
    let scratch = Scratch::new();
    let (mut host, pieces) = with_pieces(&scratch);
    scratch.fail(&json!([{"on": ["read"], "fault": "short"}]));
    assert_eq!(statuses(&mut host, &pieces[1..2]), [Status::NOT_FOUND]);
    scratch.fail(&json!([]));
    host.has_all(&pieces);
}

#[test]
fn a_full_disk_or_quota_turns_it_read_only_until_there_is_room() {
    for (call, error) in [("write", "ENOSPC"), ("write", "EDQUOT"), ("create", "EDQUOT"), ("create", "EROFS")]
    {
        let scratch = Scratch::new();
        let (mut host, old) = with_pieces(&scratch);
        scratch.fail(&json!([{"on": [call], "file": ".pieces", "fault": {"error": error}}]));
        // Until the open container is full, if it is the making of one that fails.
        let refused = (100..1000)
            .map(|number| host.store(&[piece(number, 40 * KIB)])[0].status)
            .find(|&status| status != Status::OK);
        assert_eq!(refused, Some(Status::READ_ONLY), "{call} {error}");
        host.has_all(&old);
        scratch.fail(&json!([]));
        let patience = Instant::now() + Duration::from_secs(60);
        while host.store(&[piece(7, 50 * KIB)])[0].status != Status::OK {
            assert!(Instant::now() < patience, "it does not come back: {}", host.stats());
        }
        host.has_all(&[piece(7, 50 * KIB)]);
        host.close(CloseMode::Leave).unwrap();
    }
}

#[test]
fn a_write_that_fails_or_ends_early_costs_its_pieces_alone() {
    for fault in [json!({"error": "EIO"}), json!("short")] {
        let scratch = Scratch::new();
        let (mut host, old) = with_pieces(&scratch);
        scratch.fail(&json!([{"on": ["write"], "fault": fault}]));
        assert_eq!(host.store(&pieces(100))[0].status, Status::IO);
        scratch.fail(&json!([]));
        let new = pieces(200);
        host.store_all(&new);
        host.has_all(&old);
        host.has_all(&new);
        host.close(CloseMode::Leave).unwrap();
        let mut next = open(&scratch, json!({}));
        next.listen_until_listed();
        assert_eq!(next.known.len(), old.len() + new.len());
        next.has_all(&old);
        next.has_all(&new);
    }
}

#[test]
fn a_manifest_that_cannot_be_written_is_written_later() {
    let scratch = Scratch::new();
    let (mut host, mut all) = with_pieces(&scratch);
    for (fault, status) in [(json!({"error": "ENOSPC"}), Status::READ_ONLY), (json!("short"), Status::IO)] {
        scratch.fail(&json!([{"on": ["write_at"], "fault": fault}]));
        let new = pieces(100 + all.len() as u64);
        host.store_all(&new);
        all.extend(new);
        assert_eq!(host.sync(), status);
        scratch.fail(&json!([]));
        assert_eq!(host.sync(), Status::OK);
    }
    host.close(CloseMode::Leave).unwrap();
    let mut next = open(&scratch, json!({}));
    next.listen_until_listed();
    assert_eq!(next.known.len(), all.len());
    next.has_all(&all);
    assert_eq!(next.count("bad_lines"), 0, "what was torn was mended");
}

#[test]
fn what_cannot_be_made_durable_is_not_said_to_be() {
    let scratch = Scratch::new();
    let (mut host, _) = with_pieces(&scratch);
    scratch.fail(&json!([{"on": ["sync_names"], "fault": {"error": "EIO"}}]));
    assert_eq!(host.sync(), Status::IO);
    host.store_all(&pieces(100));
    scratch.fail(&json!([{"on": ["sync"], "fault": {"error": "EIO"}}]));
    assert_eq!(host.sync(), Status::IO);
    scratch.fail(&json!([]));
    assert_eq!(host.sync(), Status::OK);
}

#[test]
fn a_store_that_has_to_be_durable_waits_for_that_up_to_its_deadline() {
    let scratch = Scratch::new();
    let mut host = open(&scratch, json!({"durability": "sync"}));
    host.store_all(&pieces(0));
    scratch.fail(&json!([{"on": ["sync"], "fault": "hang"}]));
    host.deadline = SHORT;
    assert_eq!(host.store(&pieces(100))[0].status, Status::EXPIRED);
    scratch.fail(&json!([]));
    host.deadline = None;
    host.store_all(&pieces(200));
}

#[test]
fn while_names_hang_what_is_open_is_read_and_written() {
    let scratch = Scratch::new();
    let (mut host, there) = with_pieces(&scratch);
    let elsewhere = pieces(50);
    let mut other = open(&scratch, json!({}));
    other.store_all(&elsewhere);
    other.close(CloseMode::Leave).unwrap();
    host.listen_until("it knows of the other's", |host| host.known.len() == 8);
    let calls = ["list", "open", "create", "read_at", "write_at", "remove", "look", "sync"];
    scratch.fail(&json!([{"on": calls, "fault": "hang"}]));
    // The keeper looks around by itself, and hangs.
    std::thread::sleep(Duration::from_millis(50));
    host.has_all(&there);
    let new = pieces(100);
    host.store_all(&new);
    host.has_all(&new);
    host.deadline = SHORT;
    assert_eq!(host.sync(), Status::EXPIRED);
    assert_eq!(statuses(&mut host, &elsewhere), [Status::EXPIRED; 4], "their container is not open");
    let record = host.known[&new[0].id];
    assert_eq!(host.remove(&record), Status::EXPIRED);
    host.has_all(&there);
    scratch.fail(&json!([]));
    host.deadline = None;
    host.has_all(&elsewhere);
    assert_eq!(host.sync(), Status::OK);
}

#[test]
fn opening_and_closing_wait_for_no_file_system() {
    let scratch = Scratch::new();
    let (host, _) = with_pieces(&scratch);
    host.close(CloseMode::Leave).unwrap();
    scratch.fail(&json!([{"fault": "hang"}]));
    let mut host = open(&scratch, json!({"close_wait_ms": 50}));
    host.deadline = SHORT;
    assert_eq!(host.store(&pieces(100))[0].status, Status::EXPIRED);
    assert_eq!(host.sync(), Status::EXPIRED);
    host.listen();
    assert!(!host.is_listed);
    assert_eq!(host.stats()["store"]["state"], "opening");
    let error = host.close(CloseMode::Leave).unwrap_err();
    assert_eq!(error.status, Status::FENCED, "{error}");
    scratch.fail(&json!([]));
}

#[test]
fn a_store_that_comes_later_is_taken_up_then() {
    let scratch = Scratch::new();
    scratch.fail(&json!([{"on": ["list"], "fault": {"error": "EIO"}}]));
    let mut host = open(&scratch, json!({}));
    assert_eq!(host.store(&pieces(0))[0].status, Status::FENCED);
    assert_eq!(host.stats()["store"]["state"], "failed");
    scratch.fail(&json!([]));
    host.listen_until_listed();
    host.store_all(&pieces(100));
}

#[test]
fn a_purge_under_our_hands_is_told() {
    let scratch = Scratch::new();
    let (host, there) = with_pieces(&scratch);
    host.close(CloseMode::Leave).unwrap();
    let mut next = open(&scratch, json!({}));
    next.listen_until_listed();
    scratch.fail(&json!([{"on": ["open"], "file": ".pieces", "fault": "vanish"}]));
    assert_eq!(statuses(&mut next, &there[..1]), [Status::NOT_FOUND]);
    next.listen_until("all of the container are told as lost", |host| host.known.is_empty());
}

#[test]
fn latency_and_throttling_cost_time_and_nothing_else() {
    let scratch = Scratch::new();
    let (mut host, old) = with_pieces(&scratch);
    scratch.fail(&json!([
        {"on": ["read"], "fault": {"latency_ms": 20}},
        {"on": ["write"], "fault": {"bytes_per_s": 5_000_000}},
        {"on": ["write_at", "open", "list"], "fault": {"latency_ms": 20}},
    ]));
    let new = pieces(100);
    host.store_all(&new);
    host.has_all(&old);
    host.has_all(&new);
    assert_eq!(host.sync(), Status::OK);
}

#[test]
fn rare_failures_of_everything_serve_no_wrong_byte() {
    let scratch = Scratch::new();
    let (mut host, _) = with_pieces(&scratch);
    scratch.fail(&json!([
        {"on": ["read"], "fault": {"error": "EIO"}, "one_in": 3},
        {"on": ["read"], "fault": "short", "one_in": 4},
        {"on": ["write"], "fault": {"error": "EIO"}, "one_in": 5},
        {"on": ["write"], "fault": "short", "one_in": 7},
        {"on": ["write_at"], "fault": "short", "one_in": 3},
        {"on": ["open", "list", "read_at", "create"], "fault": {"error": "ESTALE"}, "one_in": 4},
    ]));
    let all: Vec<Piece> = (0..40).flat_map(|batch| pieces(1000 + 4 * batch)).collect();
    for batch in all.chunks(4) {
        host.store(batch);
        host.listen();
        // After a failure it takes nothing for a moment.
        std::thread::sleep(Duration::from_millis(10));
        for piece in batch {
            if let Some(Ok(bytes)) = host.get(piece) {
                assert!(bytes == piece.bytes, "{:?} has other bytes", piece.id);
            }
        }
    }
    scratch.fail(&json!([]));
    let there: Vec<Piece> = all.iter().filter(|piece| host.known.contains_key(&piece.id)).cloned().collect();
    assert!(!there.is_empty());
    host.has_all(&there);
    host.close(CloseMode::Leave).unwrap();
    let mut next = open(&scratch, json!({}));
    next.listen_until_listed();
    next.has_all(&there);
}
