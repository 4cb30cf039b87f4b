//! What a tier runs on: directories of a file system, and an engine for their bytes. The real one, or one that tests spoil.

use crate::config::Config;
use crate::io::{self as files, Access, Depth, Directory, Engine, PosixDirectory};
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Directories and an engine.
pub trait Mount: Send + Sync {
    /// Opens a store's directory; for writing it is made where it is missing. May wait for the file system.
    ///
    /// # Errors
    /// What the file system says, or why the directory is not to be used.
    fn directory(&self, path: &Path, access: Access) -> io::Result<Arc<dyn Directory>>;

    /// Starts an engine, without a look at any file system. And why it is not what was wanted.
    ///
    /// # Errors
    /// What the system says.
    fn engine(&self) -> io::Result<(Box<dyn Engine>, Option<String>)>;
}

/// The file systems of this machine.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    config: Arc<Config>,
}

impl Machine {
    pub(crate) fn new(config: Arc<Config>) -> Machine {
        Machine { config }
    }
}

impl Mount for Machine {
    fn directory(&self, path: &Path, access: Access) -> io::Result<Arc<dyn Directory>> {
        let mut directory = PosixDirectory::open(path, access, self.config.engine.caching())?;
        if let Some(stripe) = self.config.stripe {
            directory = directory.striped(stripe);
        }
        Ok(files::shared(directory))
    }

    fn engine(&self) -> io::Result<(Box<dyn Engine>, Option<String>)> {
        let depth = Depth { requests: self.config.queue_depth, ..Depth::default() };
        let chosen = self.config.engine.start(depth)?;
        Ok((chosen.engine, chosen.no_ring))
    }
}
