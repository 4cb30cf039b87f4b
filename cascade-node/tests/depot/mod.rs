//! A store in a folder of a test's own, filled as a node would fill it, and the program over it.

#![allow(dead_code, reason = "each test uses its part of it")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use cascade_core::key::{BlockKey, wrapped_key};
use cascade_core::piece::{PieceId, seal};
use cascade_tier::{Action, CloseMode, Library, Memory, MemoryRange, OpenTier, Operation, Place, Status};
use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take before a test gives up on it. Nothing asserts that it is fast.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const PIECE_BYTES: usize = 100_000;

/// A folder with a store in it, gone with the test.
pub(crate) struct Store {
    pub(crate) folder: PathBuf,
    tier: PathBuf,
    instance: String,
}

/// A running node. Stopped cleanly with the test, or killed where that takes too long.
pub(crate) struct Node(Child);

impl Node {
    /// Stops it, and waits for its end.
    pub(crate) fn stop(mut self) {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        let status = until("the node ends", || self.0.try_wait().unwrap());
        assert_eq!(status.code(), Some(0));
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// One piece as it was stored.
pub(crate) struct Stored {
    pub(crate) id: PieceId,
    pub(crate) parent: BlockKey,
    pub(crate) depth: u32,
    pub(crate) bytes: Vec<u8>,
}

impl Store {
    /// A folder for one; `None`, and word of it, where there is no tier to load.
    pub(crate) fn new(test: &str) -> Option<Self> {
        let tier = Path::new(env!("CARGO_BIN_EXE_cascade-node")).with_file_name("libcascade_tier_lustre.so");
        if !tier.exists() {
            println!("SKIPPED {test}: the tier is not built: cargo build -p cascade-tier-lustre");
            return None;
        }
        // Short, for there is a socket in it.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let instance = format!("cli-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(format!("cascade-{instance}"));
        fs::create_dir_all(folder.join("store")).expect("a folder for the test");
        let store = Self { folder, tier, instance };
        store.open_to(0o700);
        Some(store)
    }

    pub(crate) fn directory(&self) -> PathBuf {
        self.folder.join("store")
    }

    pub(crate) fn open_to(&self, mode: u32) {
        fs::set_permissions(self.directory(), fs::Permissions::from_mode(mode)).expect("our own folder");
    }

    /// What a node would leave there.
    pub(crate) fn fill(&self, pieces: &[Stored]) {
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
    pub(crate) fn containers(&self) -> Vec<PathBuf> {
        let mut found = self.files("pieces");
        found.sort_by_key(|path| std::cmp::Reverse(path.metadata().unwrap().len()));
        found
    }

    pub(crate) fn files(&self, kind: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.directory()).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|found| found == kind)).collect()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cascade-node"));
        command.args(arguments).env_clear().current_dir(&self.folder);
        command.env("CASCADE_DIR", self.directory()).env("CASCADE_LUSTRE__CONTAINER", "1MiB");
        command.env("CASCADE_INSTANCE", &self.instance).env("CASCADE_SOCKET", self.folder.join("s"));
        command.env("CASCADE_SEGMENT__CAPACITY", "16MiB");
        command
    }

    /// A node over the store, ready, and with all of the store known to it.
    pub(crate) fn node(&self) -> Node {
        let mut command = self.command(&["run"]);
        command.env("CASCADE_LUSTRE__REFRESH_MS", "100");
        let mut node = Node(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts"));
        let mut line = String::new();
        BufReader::new(node.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("ready "), "{line:?}");
        until("the store is listed", || {
            let status = self.json(&["status", "--json"], 0);
            (status["tiers"]["lustre"]["listed"] == true).then_some(())
        });
        node
    }

    /// Has the running node take a piece.
    pub(crate) fn put(&self, piece: &Stored) {
        let file = self.folder.join("piece");
        fs::write(&file, &piece.bytes).unwrap();
        let PieceId { key, rank, group } = piece.id;
        let (key, rank, group) = (key.to_string(), rank.to_string(), group.to_string());
        let (parent, depth) = (piece.parent.to_string(), piece.depth.to_string());
        let mut arguments = vec!["put", &key, "piece", "--rank", &rank, "--group", &group, "--depth", &depth];
        if piece.parent != BlockKey::ROOT {
            arguments.extend(["--parent", &parent]);
        }
        let output = self.run(&arguments);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }

    /// Whether the running node gives the piece back; its bytes are compared.
    pub(crate) fn has(&self, piece: &Stored) -> bool {
        let PieceId { key, rank, group } = piece.id;
        let (key, rank, group) = (key.to_string(), rank.to_string(), group.to_string());
        let output = self.run(&["get", &key, "--rank", &rank, "--group", &group]);
        match output.status.code() {
            Some(0) => assert!(output.stdout == piece.bytes, "other bytes came back"),
            Some(3) => return false,
            _ => panic!("{}", stderr(&output)),
        }
        true
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the program starts")
    }

    pub(crate) fn json(&self, arguments: &[&str], code: i32) -> serde_json::Value {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}{}", stdout(&output), stderr(&output));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// What every file of it holds.
    pub(crate) fn content(&self) -> Vec<(PathBuf, Vec<u8>)> {
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
        let uid = rustix::process::geteuid().as_raw();
        let _ = fs::remove_dir_all(cascade_core::place::segment_directory(uid, None, &self.instance));
    }
}

pub(crate) fn perform(tier: &mut OpenTier, request: u64, action: Action) {
    assert_eq!(tier.submit(&[Operation::new(request, action)]).expect("the tier lives"), 1);
    let completion = until("the tier answers", || {
        let mut completions = Vec::new();
        tier.poll(&mut completions).expect("the tier lives");
        completions.pop()
    });
    assert_eq!(completion.status, Status::OK, "{action:?}");
}

pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < give_up, "{what}: in vain");
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub(crate) fn root(name: &str) -> BlockKey {
    wrapped_key(&BlockKey::ROOT, name.as_bytes())
}

/// Bytes that are no other seed's, not even in part.
pub(crate) fn bytes(seed: usize) -> Vec<u8> {
    let mut state = (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let next = || {
        // xorshift64 (Marsaglia, 2003).
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(PIECE_BYTES).collect()
}

/// A chain of so many blocks in a namespace, with the namespace's description before it.
pub(crate) fn chain(tenant: &str, blocks: usize) -> Vec<Stored> {
    let root = root(tenant);
    let salt = 1000 * tenant.bytes().map(usize::from).sum::<usize>();
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
        let stored = Stored { id, parent, depth: index as u32 + 1, bytes: bytes(index + salt) };
        parent = key;
        stored
    });
    std::iter::once(description).chain(blocks).collect()
}

/// A block that is in no chain.
pub(crate) fn single(name: &str) -> Stored {
    Stored {
        id: PieceId { key: root(name), rank: 3, group: 1 },
        parent: BlockKey::ROOT,
        depth: 0,
        bytes: bytes(99),
    }
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
