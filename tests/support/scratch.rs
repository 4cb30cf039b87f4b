//! A folder of one's own, gone with the test.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// The folder.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// A folder that only its owner may enter, with a short path, as sockets need it.
    ///
    /// # Panics
    /// If there is no room for it.
    #[expect(clippy::new_without_default, reason = "it makes a folder: nobody wants one by default")]
    pub fn new() -> Self {
        Self::in_folder(&std::env::temp_dir())
    }

    /// As [`Scratch::new`], in another folder than that for temporary files.
    ///
    /// # Panics
    /// If there is no room for it.
    pub fn in_folder(folder: &Path) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("casctest-{}-{number}", std::process::id()));
        fs::create_dir(&path).expect("the folder takes another");
        let scratch = Self(path);
        scratch.open_to(0o700);
        scratch
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Sets who may enter.
    ///
    /// # Panics
    /// If it is gone.
    pub fn open_to(&self, mode: u32) {
        fs::set_permissions(&self.0, fs::Permissions::from_mode(mode)).expect("it is one's own folder");
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
