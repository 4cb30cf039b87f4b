//! Where blocks come from and go to: one file in memory, mapped here and by clients that are other programs.
//!
//! First all sources, then all targets, block after block. The bytes of a block follow from its number and the round, so an
//! answer of an earlier round is a wrong one. Every page is present before anything is timed.

use crate::content::Content;
use cascade_client::{BlockKey, PieceId};
use memmap2::{MmapMut, MmapOptions};
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::random::mix;

/// What a target holds before it is got: the content of no block.
const NOTHING: u8 = 0xa5;

/// Sources and targets of all blocks of a measurement.
pub(crate) struct Stage {
    path: PathBuf,
    map: MmapMut,
    pub(crate) block_bytes: usize,
    pub(crate) blocks: usize,
    round: u64,
}

impl Stage {
    /// Makes it in a folder, which should lie in memory.
    ///
    /// # Errors
    /// There is no room.
    pub(crate) fn new(folder: &Path, block_bytes: usize, blocks: usize) -> io::Result<Self> {
        let path = folder.join("stage");
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        // Allocated, not only named: a page that cannot be had later would be a SIGBUS.
        let bytes = 2 * blocks * block_bytes;
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes as u64)?;
        // SAFETY: the folder is private to this run, and who maps the file writes the targets only while we wait for him.
        let map = unsafe { MmapOptions::new().len(bytes).map_mut(&file) }?;
        let mut stage = Self { path, map, block_bytes, blocks, round: 0 };
        stage.fill(0);
        stage.wipe();
        Ok(stage)
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of all blocks.
    pub(crate) fn total_bytes(&self) -> usize {
        self.blocks * self.block_bytes
    }

    /// The piece that a block is in this round.
    pub(crate) fn piece(&self, number: usize) -> PieceId {
        // Every word depends on both: contents follow from the words one by one.
        let word = |salt: u64| mix(number as u64 ^ self.round << 32 ^ salt << 60);
        PieceId::sole(BlockKey::from_words([0, 1, 2, 3].map(word)))
    }

    /// Makes the sources of a round.
    pub(crate) fn fill(&mut self, round: u64) {
        self.round = round;
        for number in 0..self.blocks {
            let content = self.content(number);
            let start = number * self.block_bytes;
            content.fill(&mut self.map[start..start + self.block_bytes]);
        }
    }

    /// Takes from the targets what was got.
    pub(crate) fn wipe(&mut self) {
        let total_bytes = self.total_bytes();
        self.map[total_bytes..].fill(NOTHING);
    }

    /// What a block is put from.
    pub(crate) fn source(&self, number: usize) -> &[u8] {
        &self.map[number * self.block_bytes..][..self.block_bytes]
    }

    /// Where a block is got to.
    pub(crate) fn target(&mut self, number: usize) -> &mut [u8] {
        let start = self.total_bytes() + number * self.block_bytes;
        &mut self.map[start..start + self.block_bytes]
    }

    /// All targets, one behind the other.
    pub(crate) fn targets(&mut self) -> &mut [u8] {
        let total_bytes = self.total_bytes();
        &mut self.map[total_bytes..]
    }

    /// Each source with its target.
    pub(crate) fn pairs(&mut self) -> impl Iterator<Item = (&[u8], &mut [u8])> {
        let (sources, targets) = self.map.split_at_mut(self.blocks * self.block_bytes);
        sources.chunks_exact(self.block_bytes).zip(targets.chunks_exact_mut(self.block_bytes))
    }

    /// Bytes in the targets that are not those that were put. Looks at every one.
    pub(crate) fn wrong_bytes(&self) -> u64 {
        let targets = self.map[self.total_bytes()..].chunks_exact(self.block_bytes);
        targets.enumerate().map(|(number, target)| self.content(number).wrong_bytes(target)).sum()
    }

    fn content(&self, number: usize) -> Content {
        Content::of(&self.piece(number).key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(folder: &tempfile::TempDir) -> Stage {
        Stage::new(folder.path(), 8192, 3).expect("there is room")
    }

    #[test]
    fn what_was_not_got_is_wrong_and_what_was_got_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut stage = stage(&folder);
        assert!(stage.wrong_bytes() > 3 * 8000, "nothing was got");
        stage.pairs().for_each(|(source, target)| target.copy_from_slice(source));
        assert_eq!(stage.wrong_bytes(), 0);
        stage.target(1)[17] ^= 1;
        assert_eq!(stage.wrong_bytes(), 1);
    }

    #[test]
    fn an_answer_of_an_earlier_round_or_of_another_block_is_wrong() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut stage = stage(&folder);
        stage.pairs().for_each(|(source, target)| target.copy_from_slice(source));
        stage.fill(1);
        assert!(stage.wrong_bytes() > 3 * 8000);
        let other = stage.source(1).to_vec();
        stage.target(0).copy_from_slice(&other);
        assert!(stage.wrong_bytes() > 3 * 8000);
    }

    #[test]
    fn nobody_else_may_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let mode = std::fs::metadata(stage(&folder).path()).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
