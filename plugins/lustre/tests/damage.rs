//! Damage on disk: what it does not hit stays, what it hits is a miss, nothing panics, and no other bytes are ever served.

mod support;

use cascade_tier::{CloseMode, Record, Status};
use serde_json::json;
use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use support::{Host, KIB, Piece, Random, Scratch, config, piece, with};

/// A store with several records of small and large pieces in one sealed container; the pieces, and what names them.
struct Stored {
    scratch: Scratch,
    pieces: Vec<Piece>,
    records: Vec<Record>,
}

impl Stored {
    fn new() -> Stored {
        let scratch = Scratch::new();
        let mut host = Host::open(&config(&scratch.store()));
        let lengths = [100, 5000, 33 * KIB, 40 * KIB + 1, 1, 64, 32 * KIB, 4096];
        let pieces: Vec<Piece> = (0..24).map(|number| piece(number, lengths[number as usize % 8])).collect();
        for batch in pieces.chunks(8) {
            host.store_all(batch);
        }
        let records = pieces.iter().map(|piece| host.known[&piece.id]).collect();
        host.close(CloseMode::Leave).unwrap();
        assert_eq!((scratch.files(".pieces").len(), scratch.files(".manifest").len()), (1, 1));
        Stored { scratch, pieces, records }
    }

    /// A handle that only reads, through the page cache: damage is seen at once.
    fn reader(&self) -> Host {
        let fields = json!({"mode": "read_only", "engine": "buffered"});
        Host::open(&with(config(&self.scratch.store()), fields))
    }

    /// A reader that has heard of all that there is, and what it found, by the numbers of the pieces.
    fn found(&self) -> (Host, HashMap<usize, Record>) {
        let mut host = self.reader();
        host.listen_until_listed();
        let number = |record: &Record| self.pieces.iter().position(|piece| piece.id == record.piece);
        let found = host.known.values().map(|record| (number(record).expect("one of ours"), *record));
        let found = found.collect();
        (host, found)
    }

    /// That each of these loads with its bytes or not at all, and those that must load do.
    fn check(
        &self,
        host: &mut Host,
        found: &HashMap<usize, Record>,
        must: impl Fn(usize) -> bool,
        what: &str,
    ) {
        let numbers: Vec<usize> = found.keys().copied().collect();
        let records: Vec<Record> = numbers.iter().map(|number| found[number]).collect();
        for (number, loaded) in numbers.iter().zip(host.load(&records)) {
            match loaded {
                Ok(bytes) => {
                    assert!(bytes == self.pieces[*number].bytes, "{what}: piece {number} is another")
                }
                Err(status) => {
                    assert!(matches!(status, Status::CORRUPT | Status::NOT_FOUND), "{what}: {status}");
                    assert!(!must(*number), "{what}: piece {number} was not hit and is {status}");
                }
            }
        }
    }

    fn all(&self) -> HashMap<usize, Record> {
        self.records.iter().copied().enumerate().collect()
    }

    /// Whether a piece lies at a byte of the container.
    fn lies_at(&self, number: usize, byte: u64) -> bool {
        let [_, _, offset, length] = self.records[number].extent.words;
        (offset..offset + length).contains(&byte)
    }
}

/// A file that damage is done to, and undone.
struct Victim<'a> {
    path: &'a Path,
    whole: Vec<u8>,
}

impl<'a> Victim<'a> {
    fn new(path: &'a Path) -> Victim<'a> {
        Victim { path, whole: fs::read(path).unwrap() }
    }

    fn len(&self) -> u64 {
        self.whole.len() as u64
    }

    fn flip(&self, bit: u64) {
        let file = OpenOptions::new().write(true).open(self.path).unwrap();
        let byte = self.whole[bit as usize / 8] ^ 1 << (bit % 8);
        file.write_all_at(&[byte], bit / 8).unwrap();
    }

    fn cut(&self, length: u64) {
        OpenOptions::new().write(true).open(self.path).unwrap().set_len(length).unwrap();
    }

    fn restore(&self) {
        fs::write(self.path, &self.whole).unwrap();
    }

    fn restore_byte(&self, bit: u64) {
        let file = OpenOptions::new().write(true).open(self.path).unwrap();
        file.write_all_at(&self.whole[bit as usize / 8..=bit as usize / 8], bit / 8).unwrap();
    }
}

#[test]
fn a_flipped_bit_in_a_container_costs_at_most_the_piece_that_it_is_in() {
    let stored = Stored::new();
    let paths = stored.scratch.files(".pieces");
    let container = Victim::new(&paths[0]);
    let (mut host, found) = stored.found();
    assert_eq!(found.len(), stored.pieces.len());
    let mut random = Random(1);
    for _ in 0..8000 {
        let bit = random.below(container.len() * 8);
        container.flip(bit);
        stored.check(&mut host, &found, |number| !stored.lies_at(number, bit / 8), &format!("bit {bit}"));
        container.restore_byte(bit);
    }
    stored.check(&mut host, &found, |_| true, "undone");
}

#[test]
fn a_flipped_bit_in_a_manifest_costs_at_most_one_piece() {
    let stored = Stored::new();
    let paths = stored.scratch.files(".manifest");
    let manifest = Victim::new(&paths[0]);
    let mut random = Random(2);
    for _ in 0..1000 {
        let bit = random.below(manifest.len() * 8);
        manifest.flip(bit);
        let (mut host, found) = stored.found();
        assert!(found.len() + 1 >= stored.pieces.len(), "bit {bit} costs more than one piece");
        stored.check(&mut host, &found, |_| true, &format!("bit {bit}"));
        manifest.restore_byte(bit);
    }
}

#[test]
fn a_flipped_bit_in_a_container_without_a_manifest_costs_what_its_block_names() {
    let stored = Stored::new();
    fs::remove_file(&stored.scratch.files(".manifest")[0]).unwrap();
    let paths = stored.scratch.files(".pieces");
    let container = Victim::new(&paths[0]);
    let (mut host, found) = stored.found();
    assert_eq!(found.len(), stored.pieces.len(), "the footer names all");
    stored.check(&mut host, &found, |_| true, "by the footer");
    let mut random = Random(3);
    // The footer is at the end, the heads are where records begin: half of the flips go there.
    for round in 0..1000 {
        let bit = if round % 2 == 0 {
            random.below(container.len() * 8)
        } else {
            (container.len() - 1 - random.below(8192)) * 8 + random.below(8)
        };
        container.flip(bit);
        let (mut host, found) = stored.found();
        assert!(found.len() + 1 >= stored.pieces.len(), "bit {bit}: {} are left", found.len());
        let must = |number| !stored.lies_at(number, bit / 8);
        stored.check(&mut host, &found, must, &format!("bit {bit}"));
        container.restore_byte(bit);
    }
}

#[test]
fn a_container_without_footer_and_manifest_is_read_from_head_to_head() {
    let stored = Stored::new();
    fs::remove_file(&stored.scratch.files(".manifest")[0]).unwrap();
    let paths = stored.scratch.files(".pieces");
    let container = Victim::new(&paths[0]);
    container.cut(container.len() - 8192);
    let (mut host, found) = stored.found();
    assert_eq!(found.len(), stored.pieces.len());
    stored.check(&mut host, &found, |_| true, "by the heads");
    // A damaged head costs the pieces that it names, and hides no other record.
    container.flip(0);
    let (mut host, found) = stored.found();
    assert_eq!(found.len(), 16);
    stored.check(&mut host, &found, |_| true, "without the first head");
}

#[test]
fn a_container_cut_anywhere_keeps_what_lies_before() {
    let stored = Stored::new();
    let paths = stored.scratch.files(".pieces");
    let container = Victim::new(&paths[0]);
    let boundaries = stored.records.iter().flat_map(|record| {
        let [_, _, offset, length] = record.extent.words;
        let end = offset + length;
        [offset, end, end.next_multiple_of(4096), offset / 4096 * 4096]
    });
    let mut cuts: Vec<u64> = boundaries.flat_map(|byte| [byte.saturating_sub(1), byte, byte + 1]).collect();
    cuts.extend([0, 1, 127, 128, container.len() - 1, container.len() - 4096, container.len() - 4097]);
    cuts.sort_unstable();
    cuts.dedup();
    let (mut host, found) = stored.found();
    let manifests = stored.scratch.files(".manifest");
    let manifest = Victim::new(&manifests[0]);
    for cut in cuts {
        container.cut(cut);
        let lies_before = |number: usize| {
            let [_, _, offset, length] = stored.records[number].extent.words;
            offset + length <= cut
        };
        stored.check(&mut host, &found, lies_before, &format!("cut at {cut}"));
        // And when nothing but the container is left.
        fs::remove_file(&manifests[0]).unwrap();
        let (mut alone, named) = stored.found();
        stored.check(&mut alone, &named, lies_before, &format!("cut at {cut}, no manifest"));
        for number in (0..stored.pieces.len()).filter(|&number| lies_before(number)) {
            assert!(named.contains_key(&number), "cut at {cut}: piece {number} is not found");
        }
        manifest.restore();
        container.restore();
    }
}

#[test]
fn a_manifest_cut_anywhere_keeps_the_lines_before() {
    let stored = Stored::new();
    let paths = stored.scratch.files(".manifest");
    let manifest = Victim::new(&paths[0]);
    let lines = manifest.len() / 128;
    for line in 0..=lines {
        for cut in [(line * 128).saturating_sub(1), line * 128, (line * 128 + 1).min(manifest.len())] {
            manifest.cut(cut);
            let (mut host, found) = stored.found();
            // The first line says that the container was opened, the next ones name its pieces.
            let whole = (cut / 128).saturating_sub(1).min(stored.pieces.len() as u64);
            // With no line of it left, the container tells itself.
            let expected = if cut < 128 { stored.pieces.len() as u64 } else { whole };
            assert_eq!(found.len() as u64, expected, "cut at {cut}");
            stored.check(&mut host, &found, |_| true, &format!("cut at {cut}"));
            manifest.restore();
        }
    }
}

#[test]
fn files_that_are_gone_are_misses_and_the_rest_is_there() {
    let stored = Stored::new();
    let mut writer = Host::open(&config(&stored.scratch.store()));
    writer.listen_until_listed();
    let more: Vec<Piece> = (100..110).map(|number| piece(number, 50 * KIB)).collect();
    writer.store_all(&more);
    // A purge takes the first container away, under a handle that knows of it.
    let first = stored.scratch.files(".pieces");
    let gone = first.iter().find(|path| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with(&format!("{:016x}", stored.records[0].extent.words[0]))
    });
    fs::remove_file(gone.unwrap()).unwrap();
    let loaded = writer.load(&stored.records);
    assert!(loaded.iter().all(|loaded| *loaded == Err(Status::NOT_FOUND)), "{loaded:?}");
    writer.listen_until("the purge is told", |host| host.known.len() == more.len());
    writer.has_all(&more);
    assert_eq!(writer.count("lost_pieces"), stored.pieces.len() as u64);
    writer.close(CloseMode::Leave).unwrap();
    let (mut host, found) = stored.reader_of(&more);
    assert_eq!(found, more.len());
    host.has_all(&more);
}

impl Stored {
    /// A reader, and how many of these it found.
    fn reader_of(&self, pieces: &[Piece]) -> (Host, usize) {
        let mut host = self.reader();
        host.listen_until_listed();
        let found = pieces.iter().filter(|piece| host.known.contains_key(&piece.id)).count();
        (host, found)
    }
}

#[test]
fn a_store_of_another_version_is_left_alone_and_said() {
    let stored = Stored::new();
    let marker = stored.scratch.store().join("cascade.store");
    let mut bytes = fs::read(&marker).unwrap();
    bytes[6] = 9;
    let sum = cascade_core::checksum::Crc32c::EMPTY.update(&bytes[4..]).value();
    bytes[..4].copy_from_slice(&sum.to_le_bytes());
    fs::write(&marker, &bytes).unwrap();
    let before: Vec<_> = stored.scratch.files("");
    let mut host = Host::open(&config(&stored.scratch.store()));
    let status = host.store(&[piece(1, 100)])[0].status;
    assert_eq!(status, Status::FENCED);
    assert_eq!(host.load(&stored.records[..1]), [Err(Status::FENCED)]);
    let stats = host.stats();
    let warning = stats["store"]["warnings"][0].as_str().unwrap();
    assert!(warning.contains("version 9") && warning.contains("version 1"), "{warning}");
    host.close(CloseMode::Unlink).unwrap();
    assert_eq!(stored.scratch.files(""), before, "it is left as it was");
}

#[test]
fn a_damaged_marker_costs_nothing() {
    let stored = Stored::new();
    let marker = stored.scratch.store().join("cascade.store");
    for bytes in [vec![], vec![0; 128], b"something else".to_vec()] {
        fs::write(&marker, bytes).unwrap();
        assert_eq!(stored.found().1.len(), stored.pieces.len());
    }
    assert_eq!(stored.all().len(), stored.pieces.len());
}
