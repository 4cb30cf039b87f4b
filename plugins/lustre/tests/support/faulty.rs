//! The tier on a file system that fails as the file `faults` beside the store says.

use super::Scratch;
use cascade_tier::vtable::Vtable;
use cascade_tier::{
    ABI_VERSION, Capabilities, CloseMode, Completion, Library, Memory, MemoryId, News, Operation, Tier,
    TierError,
};
use cascade_tier_lustre::io::faulty::{Faults, FaultyDirectory, FaultyEngine};
use cascade_tier_lustre::io::{Access, Caching, Depth, Directory, Engine, Pool, PosixDirectory};
use cascade_tier_lustre::{Config, LustreTier, Mount};
use serde_json::Value;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

impl Scratch {
    /// From now on the file system fails so; see `cascade_tier_lustre::io::faulty`.
    pub(crate) fn fail(&self, rules: &Value) {
        let next = self.path().join("faults.next");
        std::fs::write(&next, rules.to_string()).unwrap();
        std::fs::rename(next, self.path().join("faults")).unwrap();
        // Looked at every few milliseconds.
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// The tier whose file system fails.
pub(crate) fn faulty_library() -> Library {
    extern "C" fn entry(host_abi_version: u32) -> *const Vtable {
        static VTABLE: Vtable = Vtable::of::<Faulty>("faulty", "0");
        if host_abi_version == ABI_VERSION { &raw const VTABLE } else { std::ptr::null() }
    }
    Library::from_entry(entry).unwrap()
}

struct FaultyMount(Arc<Faults>);

impl Mount for FaultyMount {
    fn directory(&self, path: &Path, access: Access) -> io::Result<Arc<dyn Directory>> {
        let directory = Arc::new(PosixDirectory::open(path, access, Caching::Avoided)?);
        Ok(Arc::new(FaultyDirectory::new(directory, Arc::clone(&self.0))))
    }

    fn engine(&self) -> io::Result<(Box<dyn Engine>, Option<String>)> {
        let pool = Box::new(Pool::new("pread", Depth { requests: 4, ..Depth::default() })?);
        Ok((Box::new(FaultyEngine::new(pool, Arc::clone(&self.0))?), None))
    }
}

struct Faulty(LustreTier);

impl Tier for Faulty {
    fn probe(config: &str) -> Result<String, TierError> {
        LustreTier::probe(config)
    }

    fn open(config: &str) -> Result<Faulty, TierError> {
        let config = Config::parse(config)?;
        let control: PathBuf = config.directory.with_file_name("faults");
        LustreTier::open_on(config, Arc::new(FaultyMount(Faults::new(control)))).map(Faulty)
    }

    fn close(self, mode: CloseMode) -> Result<(), TierError> {
        self.0.close(mode)
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    fn register_memory(&mut self, memory: &Memory) -> Result<MemoryId, TierError> {
        self.0.register_memory(memory)
    }

    fn submit(&mut self, operations: &[Operation]) -> Result<usize, TierError> {
        self.0.submit(operations)
    }

    fn poll(&mut self, completions: &mut [Completion]) -> Result<usize, TierError> {
        self.0.poll(completions)
    }

    fn event_fd(&self) -> Option<BorrowedFd<'_>> {
        self.0.event_fd()
    }

    fn news(&mut self, news: &mut [News]) -> Result<usize, TierError> {
        self.0.news(news)
    }

    fn cancel(&mut self, request_id: u64) -> Result<(), TierError> {
        self.0.cancel(request_id)
    }

    fn stats(&self) -> String {
        self.0.stats()
    }
}
