//! `ls`, `du`, `verify` on real stores: whole, empty, missing, damaged, of another version, closed to us.
//!
//! The tier's library must lie beside the program, where `cargo build --workspace` puts it.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use cascade_core::checksum::Crc32c;
use cascade_core::key::{BlockKey, wrapped_key};
use cascade_core::piece::{PieceId, seal};
use cascade_tier::{Action, CloseMode, Library, Memory, MemoryRange, OpenTier, Operation, Place, Status};
use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take before a test gives up on it. Nothing asserts that it is fast.
const PATIENCE: Duration = Duration::from_secs(60);

const PIECE_BYTES: usize = 100_000;

/// A folder with a store in it, gone with the test.
struct Store {
    folder: PathBuf,
    tier: PathBuf,
}

/// One piece as it was stored.
struct Stored {
    id: PieceId,
    parent: BlockKey,
    depth: u32,
    bytes: Vec<u8>,
}

impl Store {
    /// A folder for one; `None`, and word of it, where there is no tier to load.
    fn new(test: &str) -> Option<Self> {
        let tier = Path::new(env!("CARGO_BIN_EXE_cascade-node")).with_file_name("libcascade_tier_lustre.so");
        if !tier.exists() {
            println!("SKIPPED cli_store::{test}: the tier is not built: cargo build -p cascade-tier-lustre");
            return None;
        }
        let folder = std::env::temp_dir().join(format!("cascade-cli-store-{}-{test}", std::process::id()));
        fs::create_dir_all(folder.join("store")).expect("a folder for the test");
        let store = Self { folder, tier };
        store.open_to(0o700);
        Some(store)
    }

    fn directory(&self) -> PathBuf {
        self.folder.join("store")
    }

    fn open_to(&self, mode: u32) {
        fs::set_permissions(self.directory(), fs::Permissions::from_mode(mode)).expect("our own folder");
    }

    /// What a node would leave there.
    fn fill(&self, pieces: &[Stored]) {
        let config = serde_json::json!({ "directory": self.directory(), "container_bytes": 1 << 20, "capacity_bytes": 64 << 20 });
        let library = Library::load(&self.tier).expect("the tier loads");
        let mut tier = library.open(&config.to_string()).expect("the store opens");
        for (number, piece) in pieces.iter().enumerate() {
            let mut bytes = piece.bytes.clone();
            let memory = Memory::new("piece", bytes.len() as u64).at(bytes.as_mut_ptr());
            // SAFETY: the buffer lives until the memory is forgotten, and nobody else touches it.
            let id = unsafe { tier.register_memory(&memory) }.expect("the tier takes memory");
            let length = bytes.len() as u64;
            let checksum = seal(&piece.id, length).update(&bytes).value();
            let action = Action::Store {
                source: MemoryRange::new(id, 0, length),
                piece: piece.id.into(),
                checksum,
                place: Place { parent: *piece.parent.as_bytes(), depth: piece.depth },
            };
            perform(&mut tier, number as u64, action);
            tier.forget_memory(id).expect("nothing uses it");
        }
        tier.close(CloseMode::Leave).expect("the store closes");
    }

    /// The containers, the longest first.
    fn containers(&self) -> Vec<PathBuf> {
        let mut found = self.files("pieces");
        found.sort_by_key(|path| std::cmp::Reverse(path.metadata().unwrap().len()));
        found
    }

    fn files(&self, kind: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.directory()).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|found| found == kind)).collect()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cascade-node"));
        command.args(arguments).env_clear().current_dir(&self.folder).env("CASCADE_DIR", self.directory());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the program starts")
    }

    fn json(&self, arguments: &[&str], code: i32) -> serde_json::Value {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}{}", stdout(&output), stderr(&output));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// What every file of it holds.
    fn content(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let entries = fs::read_dir(self.directory()).unwrap().map(|entry| entry.unwrap().path());
        let mut content: Vec<_> = entries.map(|path| (path.clone(), fs::read(path).unwrap())).collect();
        content.sort();
        content
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = fs::set_permissions(self.directory(), fs::Permissions::from_mode(0o700));
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn perform(tier: &mut OpenTier, request: u64, action: Action) {
    assert_eq!(tier.submit(&[Operation::new(request, action)]).expect("the tier lives"), 1);
    let completion = until("the tier answers", || {
        let mut completions = Vec::new();
        tier.poll(&mut completions).expect("the tier lives");
        completions.pop()
    });
    assert_eq!(completion.status, Status::OK, "{action:?}");
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < give_up, "{what}: in vain");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn root(name: &str) -> BlockKey {
    wrapped_key(&BlockKey::ROOT, name.as_bytes())
}

fn bytes(seed: usize) -> Vec<u8> {
    (0..PIECE_BYTES).map(|at| (at * 7 + seed * 131 + at / 251) as u8).collect()
}

/// A chain of so many blocks in a namespace, with the namespace's description before it.
fn chain(tenant: &str, blocks: usize) -> Vec<Stored> {
    let root = root(tenant);
    let description =
        serde_json::json!({ "cascade": 1, "model": "org/model", "dtype": "bfloat16", "tenant": tenant });
    let description = Stored {
        id: PieceId::description(root),
        parent: BlockKey::ROOT,
        depth: 0,
        bytes: description.to_string().into_bytes(),
    };
    let mut parent = root;
    let blocks = (0..blocks).map(|index| {
        let key = wrapped_key(&parent, &index.to_le_bytes());
        let id = PieceId { key, rank: 0, group: 0 };
        let stored = Stored { id, parent, depth: index as u32 + 1, bytes: bytes(index) };
        parent = key;
        stored
    });
    std::iter::once(description).chain(blocks).collect()
}

/// A block that is in no chain.
fn single(name: &str) -> Stored {
    Stored {
        id: PieceId { key: root(name), rank: 3, group: 1 },
        parent: BlockKey::ROOT,
        depth: 0,
        bytes: bytes(99),
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn ls_lists_every_piece_with_where_it_stands() {
    let Some(store) = Store::new("ls_lists_every_piece_with_where_it_stands") else { return };
    let mut pieces = chain("alice", 12);
    pieces.push(single("loose"));
    store.fill(&pieces);
    let output = store.run(&["ls", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let lines: Vec<serde_json::Value> =
        stdout(&output).lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect();
    assert_eq!(lines.len(), pieces.len());
    for Stored { id, parent, depth, bytes } in &pieces {
        let line = lines.iter().find(|line| line["key"] == id.key.to_string()).expect("the piece is listed");
        assert_eq!((&line["rank"], &line["group"]), (&id.rank.into(), &id.group.into()));
        assert_eq!((&line["bytes"], &line["depth"]), (&bytes.len().into(), &(*depth).into()));
        let named = (*parent != BlockKey::ROOT).then(|| parent.to_string());
        assert_eq!(line["parent"], serde_json::json!(named));
        assert!(line["age_s"].as_u64().expect("an age") < 3600, "{line}");
    }
    let table = stdout(&store.run(&["ls"]));
    assert!(table.starts_with("KEY "), "{table}");
    assert_eq!(table.lines().count(), pieces.len() + 1);
    assert_eq!(stdout(&store.run(&["ls", "--limit", "4"])).lines().count(), 4 + 1);
}

#[test]
fn ls_and_du_tell_namespaces_apart() {
    let Some(store) = Store::new("ls_and_du_tell_namespaces_apart") else { return };
    let (alice, bob) = (chain("alice", 5), chain("bob", 3));
    let orphan =
        Stored { id: single("lost").id, parent: root("collected long ago"), depth: 7, bytes: bytes(1) };
    store.fill(&alice);
    // Another writer, later.
    store.fill(&bob.into_iter().chain([single("loose"), orphan]).collect::<Vec<_>>());

    let of_alice = stdout(&store.run(&["ls", "--json", "--namespace", "@alice"]));
    assert_eq!(of_alice.lines().count(), alice.len());
    assert!(alice.iter().all(|piece| of_alice.contains(&piece.id.key.to_string())));
    let nobody = store.run(&["ls", "--namespace", "@carol"]);
    assert_eq!((nobody.status.code(), stdout(&nobody).as_str()), (Some(3), ""));

    let report = store.json(&["du", "--json"], 0);
    let namespaces = report["namespaces"].as_array().expect("a list");
    let tenants: Vec<&str> =
        namespaces.iter().map(|line| line["description"]["tenant"].as_str().unwrap()).collect();
    assert_eq!(tenants, ["alice", "bob"], "the largest first");
    assert_eq!(namespaces[0]["root"], root("alice").to_string());
    assert_eq!((&namespaces[0]["blocks"], &namespaces[1]["pieces"]), (&6.into(), &4.into()));
    let described = alice[0].bytes.len() as u64;
    assert_eq!(namespaces[0]["bytes"], 5 * PIECE_BYTES as u64 + described);
    assert_eq!(report["without_namespace"]["pieces"], 1);
    assert_eq!(report["beginning_elsewhere"]["pieces"], 1);
    assert_eq!(report["total"]["pieces"], 6 + 4 + 2);
    let page = stdout(&store.run(&["du"]));
    assert!(page.contains(&format!("{} org/model, bfloat16, tenant alice", root("alice"))), "{page}");
    assert!(page.contains("no namespace") && page.contains("in all; 2 containers"), "{page}");
}

#[test]
fn verify_finds_a_sound_store_sound_and_writes_nothing_there() {
    let Some(store) = Store::new("verify_finds_a_sound_store_sound_and_writes_nothing_there") else { return };
    let pieces = chain("alice", 30);
    store.fill(&pieces);
    let before = store.content();
    let report = store.json(&["verify", "--json"], 0);
    assert_eq!((&report["pieces"], &report["good"]), (&31.into(), &31.into()));
    assert_eq!(
        (&report["corrupt"], &report["missing"], &report["damaged_lines"]),
        (&0.into(), &0.into(), &0.into())
    );
    let sum: usize = pieces.iter().map(|piece| piece.bytes.len()).sum();
    assert_eq!(report["bytes"], sum);
    let page = stdout(&store.run(&["verify"]));
    assert!(page.starts_with("31 pieces, ") && page.contains("31 good, 0 corrupt, 0 missing"), "{page}");
    for command in ["ls", "du"] {
        assert_eq!(store.run(&[command]).status.code(), Some(0));
    }
    assert!(store.content() == before, "looking changes nothing");
}

#[test]
fn verify_names_what_is_damaged_and_counts_the_rest_as_good() {
    let Some(store) = Store::new("verify_names_what_is_damaged_and_counts_the_rest_as_good") else { return };
    let pieces = chain("alice", 30);
    store.fill(&pieces);
    let containers = store.containers();
    assert!(containers.len() >= 3, "several containers: {containers:?}");
    // One bit in the bytes of a piece, and one container gone.
    let flipped = &pieces[2].bytes[5000..5064];
    let hit = containers.iter().find_map(|path| {
        let content = fs::read(path).unwrap();
        let at = content.windows(flipped.len()).position(|window| window == flipped)?;
        Some((path.clone(), at as u64, content[at]))
    });
    let (path, at, byte) = hit.expect("the piece lies in one of them");
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_at(&[byte ^ 0x10], at).unwrap();
    let gone = containers.iter().find(|other| **other != path).unwrap();
    fs::remove_file(gone).unwrap();

    let report = store.json(&["verify", "--json"], 1);
    let count = |name: &str| report[name].as_u64().expect("a count");
    assert_eq!(count("corrupt"), 1, "{report}");
    assert!(count("missing") >= 5, "{report}");
    assert_eq!(count("good") + count("corrupt") + count("missing"), 31);
    let named = report["damaged"].as_array().expect("a list");
    assert_eq!(named.len() as u64, count("corrupt") + count("missing"));
    let corrupt = named.iter().find(|piece| piece["status"] == "corrupt").expect("it is named");
    assert_eq!(corrupt["key"], pieces[2].id.key.to_string());
    let page = store.run(&["verify"]);
    assert_eq!(page.status.code(), Some(1));
    assert!(stdout(&page).contains(&format!("corrupt: {}", pieces[2].id.key)), "{}", stdout(&page));
}

#[test]
fn damaged_lines_of_manifests_are_told_and_cost_no_other_piece() {
    let Some(store) = Store::new("damaged_lines_of_manifests_are_told_and_cost_no_other_piece") else {
        return;
    };
    store.fill(&chain("alice", 6));
    let manifest = store.files("manifest").pop().expect("a manifest");
    let length = manifest.metadata().unwrap().len();
    let file = fs::OpenOptions::new().write(true).open(&manifest).unwrap();
    // Somewhere in the middle, so in the line of a piece.
    file.write_at(&[0x5a; 8], length / 2).unwrap();
    let report = store.json(&["verify", "--json"], 1);
    assert_eq!((&report["good"], &report["damaged_lines"]), (&6.into(), &1.into()), "{report}");
}

#[test]
fn a_store_without_pieces_is_empty_and_no_error() {
    let Some(store) = Store::new("a_store_without_pieces_is_empty_and_no_error") else { return };
    store.fill(&[]);
    // Nobody wrote: the folder was only looked at, and made a store.
    assert!(store.directory().join("cascade.store").exists());
    let output = store.run(&["ls"]);
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(3), ""));
    assert!(stderr(&output).contains("nothing is in"), "{}", stderr(&output));
    assert_eq!(store.json(&["du", "--json"], 0)["total"]["pieces"], 0);
    assert_eq!(store.json(&["verify", "--json"], 0)["pieces"], 0);
}

#[test]
fn what_is_no_store_is_refused_and_left_as_it_is() {
    let Some(store) = Store::new("what_is_no_store_is_refused_and_left_as_it_is") else { return };
    fs::write(store.directory().join("notes.txt"), "mine").unwrap();
    let missing = store.folder.join("nowhere");
    for command in ["ls", "du", "verify"] {
        let output = store.run(&[command]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains("it is no store"), "{}", stderr(&output));
        let output = store.run(&[command, "--store", missing.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1));
        for words in ["nowhere: No such file", "--store DIR"] {
            assert!(stderr(&output).contains(words), "{}", stderr(&output));
        }
    }
    assert_eq!(store.content().len(), 1);
    assert!(!missing.exists());
}

#[test]
fn no_store_at_all_is_wrong_usage_with_what_to_do() {
    let Some(store) = Store::new("no_store_at_all_is_wrong_usage_with_what_to_do") else { return };
    for command in ["ls", "du", "verify"] {
        let output =
            store.command(&[command]).env_remove("CASCADE_DIR").output().expect("the program starts");
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains("--store DIR"), "{}", stderr(&output));
    }
}

#[test]
fn a_store_of_another_version_is_refused_with_both_versions() {
    let Some(store) = Store::new("a_store_of_another_version_is_refused_with_both_versions") else { return };
    store.fill(&chain("alice", 2));
    let marker = store.directory().join("cascade.store");
    let mut line = fs::read(&marker).unwrap();
    relabel(&mut line, 9999);
    fs::write(&marker, &line).unwrap();
    let before = store.content();
    for command in ["ls", "du", "verify"] {
        let output = store.run(&[command]);
        assert_eq!(output.status.code(), Some(1));
        for words in ["version 9999", "this program reads version 1"] {
            assert!(stderr(&output).contains(words), "{}", stderr(&output));
        }
    }
    assert!(store.content() == before);
}

#[test]
fn a_folder_that_others_may_enter_is_refused_with_the_remedy() {
    let Some(store) = Store::new("a_folder_that_others_may_enter_is_refused_with_the_remedy") else { return };
    store.fill(&chain("alice", 1));
    store.open_to(0o755);
    let output = store.run(&["du"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("chmod 700"), "{}", stderr(&output));
}

#[test]
fn a_reader_that_goes_away_ends_ls_quietly() {
    let Some(store) = Store::new("a_reader_that_goes_away_ends_ls_quietly") else { return };
    store.fill(&chain("alice", 3));
    let mut child = store
        .command(&["ls"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
}

#[test]
fn a_store_that_hangs_is_waited_for_and_ctrl_c_ends_the_waiting() {
    let Some(store) = Store::new("a_store_that_hangs_is_waited_for_and_ctrl_c_ends_the_waiting") else {
        return;
    };
    store.fill(&chain("alice", 1));
    // Whoever opens this waits for somebody at its other end.
    let pipe = store.directory().join("0123456789abcdef.manifest");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    for command in ["ls", "du", "verify"] {
        let mut child = store.command(&[command]).stderr(Stdio::piped()).spawn().expect("the program starts");
        let pid = Pid::from_child(&child);
        until("it watches for signals", || has_blocked_interrupts(&child).then_some(()));
        assert!(child.try_wait().unwrap().is_none(), "{command} waits");
        kill_process(pid, Signal::INT).unwrap();
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(130), "{command}: {}", stderr(&output));
    }
}

fn has_blocked_interrupts(child: &Child) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:"));
    let blocked = blocked.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    blocked & 1 << (Signal::INT.as_raw() - 1) != 0
}

/// Gives a line another version, and the checksum that goes with it (core/docs/layout.md).
fn relabel(line: &mut [u8], version: u16) {
    line[6..8].copy_from_slice(&version.to_le_bytes());
    let sum = Crc32c::EMPTY.update(&line[4..]).value();
    line[..4].copy_from_slice(&sum.to_le_bytes());
}
