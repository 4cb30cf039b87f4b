//! How long a start takes that finds many pieces: manifests are read and the news told to a host that takes them up.
//!
//! `cargo run --release -p cascade-tier-lustre --example rebuild [PIECES [MANIFESTS [FOLDER]]]` prints one line of JSON.

use cascade_tier::{CloseMode, Library, News, NewsKind, PieceId, Place, Record};
use cascade_tier_lustre::format::{ContainerId, FileName, LINE_BYTES, Line, Location};
use serde_json::json;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

const PIECES_PER_CONTAINER: u64 = 127;
const PIECE_BYTES: u64 = 2 << 20;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, otherwise: u64| {
        arguments.get(index).map_or(otherwise, |text| text.parse().expect("a number"))
    };
    let (pieces, manifests) = (number(0, 1_000_000), number(1, 8));
    let folder = arguments.get(2).map_or_else(std::env::temp_dir, PathBuf::from);
    let store = folder.join(format!("cascade-rebuild-{}", std::process::id()));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&store).expect("the folder can be made");
    for writer in 1..=manifests {
        write_manifest(&store, writer, pieces / manifests);
    }
    fs::write(store.join("cascade.store"), Line::Store { made_unix_s: 0 }.encode()).expect("there is room");
    let seconds = (0..3).map(|_| rebuild(&store, pieces / manifests * manifests)).fold(f64::MAX, f64::min);
    fs::remove_dir_all(&store).expect("it is ours");
    let bytes = pieces * LINE_BYTES as u64;
    println!(
        "{}",
        json!({"pieces": pieces, "manifests": manifests, "manifest_bytes": bytes, "best_of_3_s": seconds})
    );
}

fn write_manifest(store: &Path, writer: u64, pieces: u64) {
    let name = FileName::Manifest(writer).to_string();
    let mut file = BufWriter::new(File::create(store.join(name)).expect("there is room"));
    let mut put = |line: Line| file.write_all(&line.encode()).expect("there is room");
    for number in 0..pieces {
        let container = ContainerId { writer, sequence: (number / PIECES_PER_CONTAINER) as u32 };
        let at = number % PIECES_PER_CONTAINER;
        if at == 0 {
            put(Line::Opened { container, reserved_bytes: 256 << 20, opened_unix_s: 1 });
        }
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_le_bytes());
        key[8..16].copy_from_slice(&writer.to_le_bytes());
        let location = Location::checked(container, 4096 + at * PIECE_BYTES, PIECE_BYTES).expect("it fits");
        put(Line::Stored(Record {
            piece: PieceId { key, rank: 0, group: 0 },
            checksum: number as u32,
            length_bytes: PIECE_BYTES,
            place: Place { parent: key, depth: 1 },
            stored_unix_s: 1,
            extent: location.to_extent(),
        }));
        if at == PIECES_PER_CONTAINER - 1 {
            put(Line::Sealed { container, bytes: 256 << 20 });
        }
    }
    put(Line::Closed { unix_s: 2 });
}

/// Opens the store as a host does, takes up the news, and says how long it took until all were told.
fn rebuild(store: &Path, pieces: u64) -> f64 {
    let library = Library::from_entry(cascade_tier_lustre::entry).expect("it is linked");
    let config = json!({"directory": store, "mode": "read_only", "capacity_bytes": 1_u64 << 60});
    let start = Instant::now();
    let mut tier = library.open(&config.to_string()).expect("it opens");
    let mut news = vec![News::default(); 4096];
    let mut found = 0;
    loop {
        let count = tier.news(&mut news).expect("it has news");
        found += news[..count].iter().filter(|news| news.kind == NewsKind::FOUND).count() as u64;
        if news[..count].iter().any(|news| news.kind == NewsKind::LISTED) {
            break;
        }
        if count == 0 {
            std::thread::sleep(std::time::Duration::from_micros(100));
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    assert_eq!(found, pieces, "all are told");
    tier.close(CloseMode::Leave).expect("it closes");
    seconds
}
