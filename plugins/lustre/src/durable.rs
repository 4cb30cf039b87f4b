//! What is not known to be durable, and who waits for that.
//!
//! Invariant: nobody is told that something is durable before its bytes, its lines and the names of both were synced.

use crate::format::ContainerId;
use crate::io::Directory;
use crate::voice::Voice;
use cascade_tier::Completion;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// So many files wait to be synced, where nobody asks for it; then the oldest is: it has long been written.
const FILES_MAX: usize = 64;

/// What is not known to be durable.
#[derive(Debug, Default)]
pub(crate) struct Durable {
    files: BTreeMap<ContainerId, Arc<OwnedFd>>,
    /// Names were made.
    is_name_new: bool,
    /// What to answer when all is durable.
    answers: Vec<Completion>,
    /// It is time to make everything durable, whoever waits.
    is_due: bool,
}

impl Durable {
    /// Bytes were written to a container.
    pub(crate) fn wrote(&mut self, container: ContainerId, file: Arc<OwnedFd>) {
        self.files.insert(container, file);
    }

    /// A container was made.
    pub(crate) fn made(&mut self) {
        self.is_name_new = true;
    }

    /// A container was deleted.
    pub(crate) fn forget(&mut self, container: ContainerId) {
        self.files.remove(&container);
    }

    /// Somebody waits for everything to be durable.
    pub(crate) fn await_all(&mut self, answers: impl IntoIterator<Item = Completion>) {
        self.answers.extend(answers);
    }

    /// Everything is to be durable soon, though nobody waits.
    pub(crate) fn want(&mut self) {
        self.is_due = true;
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.is_due || !self.answers.is_empty()
    }

    /// Who waits; nobody afterwards.
    pub(crate) fn take_answers(&mut self) -> Vec<Completion> {
        std::mem::take(&mut self.answers)
    }

    /// Makes everything durable; how many calls that took.
    pub(crate) fn sync(&mut self, directory: &dyn Directory, voice: &mut Voice) -> io::Result<u64> {
        let mut count = 0;
        while let Some((&container, file)) = self.files.first_key_value() {
            directory.sync(file)?;
            self.files.remove(&container);
            count += 1;
        }
        voice.sync(directory)?;
        self.is_name_new |= voice.takes_new_name();
        if self.is_name_new {
            directory.sync_names()?;
            self.is_name_new = false;
        }
        self.is_due = false;
        Ok(count + 1)
    }

    /// Syncs the oldest files if too many are kept for it. Our containers come in the order of their numbers.
    pub(crate) fn relieve(&mut self, directory: &dyn Directory) -> io::Result<()> {
        while self.files.len() > FILES_MAX
            && let Some((_, file)) = self.files.pop_first()
        {
            directory.sync(&file)?;
        }
        Ok(())
    }
}
