//! What the tests of the shared-memory tier share: a scratch folder and the usual calls.

#![allow(dead_code, reason = "each test file uses its part")]

use cascade_tier::{Action, Completion, Library, Memory, MemoryRange, OpenTier, Operation, TierError};
use rustix::event::{PollFd, PollFlags, poll};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) const MIB: u64 = 1 << 20;

/// A folder on /dev/shm that goes with the test.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(format!("/dev/shm/cascade-test-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        Scratch(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn segment(&self) -> PathBuf {
        self.0.join("segment")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn library() -> Library {
    Library::from_entry(cascade_tier_shm::entry).unwrap()
}

/// Three regions: `meta` 64 KiB, `pages` 64 KiB, `arena-0` 8 MiB.
pub(crate) fn config(directory: &Path) -> Value {
    json!({
        "directory": directory,
        "regions": [
            {"name": "meta", "bytes": 65536},
            {"name": "pages", "bytes": 65536},
            {"name": "arena-0", "bytes": 8 * MIB},
        ],
        "owner": {"instance": "test", "host": "here"},
        "owner_wait_ms": 0,
    })
}

pub(crate) fn try_open(config: &Value) -> Result<OpenTier, TierError> {
    library().open(&config.to_string())
}

pub(crate) fn open(config: &Value) -> OpenTier {
    try_open(config).unwrap()
}

pub(crate) fn stats(tier: &OpenTier) -> Value {
    serde_json::from_str(&tier.stats().unwrap()).unwrap()
}

/// Submits one operation and waits for its completion on the event descriptor.
pub(crate) fn perform(tier: &mut OpenTier, action: Action) -> Completion {
    assert_eq!(tier.submit(&[Operation::new(1, action)]).unwrap(), 1);
    let mut completions = Vec::new();
    while tier.poll(&mut completions).unwrap() == 0 {
        let event = tier.event_fd().unwrap().unwrap();
        poll(&mut [PollFd::new(&event, PollFlags::IN)], None).unwrap();
    }
    assert_eq!(completions.len(), 1);
    completions[0]
}

pub(crate) fn allocate(tier: &mut OpenTier, memory: u16, offset: u64, length: u64) -> Completion {
    perform(tier, Action::Allocate { range: MemoryRange::new(memory, offset, length) })
}

pub(crate) fn export(tier: &OpenTier, name: &str) -> Memory {
    tier.exports().unwrap().into_iter().find(|memory| memory.name() == name).unwrap()
}

/// Writes into an exported region, as a client would through its mapping.
pub(crate) fn write(tier: &OpenTier, name: &str, offset: u64, bytes: &[u8]) {
    let memory = export(tier, name);
    assert!(offset + bytes.len() as u64 <= memory.length_bytes);
    // SAFETY: the range lies in the region, which the tier keeps mapped; no other thread uses it.
    unsafe { memory.cpu_pointer.add(offset as usize).copy_from(bytes.as_ptr(), bytes.len()) };
}

/// Reads from an exported region.
pub(crate) fn read(tier: &OpenTier, name: &str, offset: u64, length: usize) -> Vec<u8> {
    let memory = export(tier, name);
    assert!(offset + length as u64 <= memory.length_bytes);
    // SAFETY: the range lies in the region, which the tier keeps mapped; no other thread uses it.
    unsafe { std::slice::from_raw_parts(memory.cpu_pointer.add(offset as usize), length) }.to_vec()
}
