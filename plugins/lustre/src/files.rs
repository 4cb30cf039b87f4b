//! The containers that are open for reading. A bounded number: descriptors are few.

use crate::format::ContainerId;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// So many containers stay open.
const OPEN_MAX: usize = 256;

/// The open containers.
#[derive(Debug, Default)]
pub(crate) struct Files {
    open: HashMap<ContainerId, Open>,
    uses: u64,
}

#[derive(Debug)]
struct Open {
    file: Arc<OwnedFd>,
    last_use: u64,
}

impl Files {
    pub(crate) fn get(&mut self, container: ContainerId) -> Option<Arc<OwnedFd>> {
        self.uses += 1;
        let open = self.open.get_mut(&container)?;
        open.last_use = self.uses;
        Some(Arc::clone(&open.file))
    }

    /// Keeps a file open, and gives back the one that was longest without use if there are too many. It stays open as long as
    /// a transfer has it.
    #[must_use = "who drops a file may wait for the file system"]
    pub(crate) fn insert(&mut self, container: ContainerId, file: Arc<OwnedFd>) -> Option<Arc<OwnedFd>> {
        self.uses += 1;
        let replaced = self.open.insert(container, Open { file, last_use: self.uses });
        if self.open.len() <= OPEN_MAX {
            return replaced.map(|open| open.file);
        }
        let (&oldest, _) = self.open.iter().min_by_key(|(_, open)| open.last_use)?;
        self.remove(oldest)
    }

    #[must_use = "who drops a file may wait for the file system"]
    pub(crate) fn remove(&mut self, container: ContainerId) -> Option<Arc<OwnedFd>> {
        self.open.remove(&container).map(|open| open.file)
    }

    #[cfg(test)]
    fn count(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_that_was_longest_without_use_is_closed_first() {
        let file = || Arc::new(OwnedFd::from(std::fs::File::open("/dev/null").unwrap()));
        let id = |sequence| ContainerId { writer: 1, sequence };
        let mut files = Files::default();
        for sequence in 0..OPEN_MAX as u32 {
            assert!(files.insert(id(sequence), file()).is_none());
        }
        assert!(files.get(id(0)).is_some());
        assert!(files.insert(id(1_000_000), file()).is_some());
        assert_eq!(files.count(), OPEN_MAX);
        assert!(files.get(id(0)).is_some(), "it was used lately");
        assert!(files.get(id(1)).is_none(), "nothing was longer without use");
    }
}
