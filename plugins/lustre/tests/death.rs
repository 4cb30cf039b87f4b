//! Writers that are killed: what they were told is durable is there, and the rest is there or a miss.

mod support;

use cascade_tier::{CloseMode, Status};
use serde_json::json;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use support::{Host, KIB, Piece, Random, Scratch, config, piece, with};

const ROLE: &str = "CASCADE_TEST_STORE";

/// The piece of a number, as every process here knows it.
fn numbered(number: u64) -> Piece {
    piece(number, 1 + Random(number).below(90 * KIB))
}

/// Plays the writer, if this process was started for that: stores from a number on until it is killed, and says what is synced.
#[test]
fn roles() {
    let Ok(argument) = std::env::var(ROLE) else { return };
    let (store, first) = argument.split_once('*').expect("a store and a number");
    let mut host = Host::open(&with(config(store.as_ref()), json!({"capacity_bytes": 1_u64 << 40})));
    let mut next: u64 = first.parse().expect("a number");
    loop {
        let batch: Vec<Piece> = (next..next + 5).map(numbered).collect();
        host.store_all(&batch);
        next += 5;
        if next.is_multiple_of(3) {
            assert_eq!(host.sync(), Status::OK);
            println!("\nsynced {next}");
        }
    }
}

#[test]
fn what_was_synced_is_there_after_any_kill() {
    let scratch = Scratch::new();
    let mut random = Random(0xdead);
    let (mut first, mut synced) = (0, Vec::new());
    for kill in 0..25 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "roles", "--nocapture"])
            .env(ROLE, format!("{}*{first}", scratch.store().display()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Somewhere between its first sync and some later one.
        let (mut end, mut unheard) = (first, random.below(4) + 1);
        while unheard > 0
            && let Some(Ok(line)) = lines.next()
        {
            if let Some(number) = line.strip_prefix("synced ") {
                (end, unheard) = (number.parse().unwrap(), unheard - 1);
            }
        }
        std::thread::sleep(std::time::Duration::from_micros(random.below(5000)));
        child.kill().unwrap();
        // What it said before it died counts; a last line may be torn.
        let whole = lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("synced ")?.parse().ok());
        end = whole.filter(|number| (end..end + 100_000).contains(number)).last().unwrap_or(end);
        child.wait().unwrap();
        assert!(end > first, "kill {kill}: it synced something");
        synced.extend((first..end).map(numbered));
        first = end + 1000;
        let mut reader = Host::open(&with(config(&scratch.store()), json!({"mode": "read_only"})));
        reader.listen_until_listed();
        reader.has_all(&synced);
        // Whatever else was told loads with its bytes, or not at all.
        let others: Vec<_> = reader.known.values().copied().collect();
        for (record, loaded) in others.iter().zip(reader.load(&others)) {
            let mut number = [0; 8];
            number.copy_from_slice(&record.piece.key[..8]);
            if let Ok(bytes) = loaded {
                assert!(bytes == numbered(u64::from_le_bytes(number)).bytes, "kill {kill}: a wrong byte");
            }
        }
        reader.close(CloseMode::Leave).unwrap();
    }
}
