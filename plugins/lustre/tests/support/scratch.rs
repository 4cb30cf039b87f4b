//! A folder that goes with the test.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder in memory, where damage is done quickly.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(format!("/dev/shm/cascade-lustre-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Where the store goes.
    pub(crate) fn store(&self) -> PathBuf {
        self.0.join("store")
    }

    /// The files of the store whose names end so.
    pub(crate) fn files(&self, suffix: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.store()).map(|entries| entries.flatten().collect::<Vec<_>>());
        let mut paths: Vec<PathBuf> = entries.unwrap_or_default().iter().map(|entry| entry.path()).collect();
        paths.retain(|path| path.to_string_lossy().ends_with(suffix));
        paths.sort();
        paths
    }

    /// What the files of the store take.
    pub(crate) fn bytes(&self) -> u64 {
        self.files("").iter().filter_map(|path| path.metadata().ok()).map(|metadata| metadata.len()).sum()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
