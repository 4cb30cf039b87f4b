//! What the metadata server of the file system is asked for: little for a put, and the same for a start, however much is there.

mod support;

use cascade_tier::CloseMode;
use serde_json::{Value, json};
use std::path::Path;
use support::{Host, KIB, MIB, Piece, Scratch, config, piece, with};

fn operations(host: &Host) -> u64 {
    host.stats()["store"]["metadata_operations"].as_u64().expect("they are counted")
}

/// As many pieces to a container as there are of 2 MiB in one of 256 MiB.
fn scaled(directory: &Path) -> Value {
    let fields = json!({
        "capacity_bytes": 1024 * MIB,
        "container_bytes": 4 * MIB + 128 * KIB,
        "refresh_ms": 200,
        "grace_ms": 1000,
    });
    with(config(directory), fields)
}

#[test]
fn a_steady_put_costs_a_hundredth_of_a_metadata_operation() {
    let scratch = Scratch::new();
    let mut host = Host::open(&scaled(&scratch.store()));
    let batch =
        |first: u64| (first..first + 31).map(|number| piece(number, 32 * KIB)).collect::<Vec<Piece>>();
    host.store_all(&batch(0));
    // A newcomer looks around more often.
    std::thread::sleep(std::time::Duration::from_millis(2500));
    let mut first = 31;
    let (before, puts) = (operations(&host), 31 * 160);
    while first < 31 + puts {
        host.store_all(&batch(first));
        first += 31;
    }
    let spent = operations(&host) - before;
    let containers = scratch.files(".pieces").len() as u64;
    assert!(containers >= 30, "{containers} containers");
    assert!(spent >= containers - 2, "each container is made");
    assert!(spent as f64 <= 0.01 * puts as f64, "{spent} operations for {puts} puts");
}

#[test]
fn a_start_costs_the_same_however_many_containers_there_are() {
    let scratch = Scratch::new();
    let store = |containers: u64, first: u64| {
        let fields = json!({"container_bytes": 64 * KIB});
        let mut host = Host::open(&with(config(&scratch.store()), fields));
        let pieces: Vec<Piece> = (first..first + containers).map(|number| piece(number, 48 * KIB)).collect();
        host.store_all(&pieces);
        host.close(CloseMode::Leave).unwrap();
    };
    let start = || {
        let fields = json!({"mode": "read_only", "refresh_ms": 60_000, "grace_ms": 60_000});
        let mut host = Host::open(&with(config(&scratch.store()), fields));
        host.listen_until_listed();
        (operations(&host), host.known.len())
    };
    store(10, 0);
    let (few, known) = start();
    assert_eq!(known, 10);
    // Taken away but for its pieces, so that there are as many manifests as before.
    store(200, 1000);
    let (many, known) = start();
    assert_eq!(known, 210);
    assert_eq!(many, few + 1, "the one more manifest is opened");
    assert!(few <= 8, "{few} operations for a start");
}
