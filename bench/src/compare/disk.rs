//! The disk's floor: a file of the same bytes, written and read past the page cache.

use super::floor::{Moved, gbps};
use super::stage::Stage;
use rustix::fs::OFlags;
use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Transfers under way at once, but for the read that is one at a time.
const DEPTH: usize = 8;
/// What O_DIRECT wants at most: transfers begin and end there.
const SECTOR_BYTES: usize = 4096;

/// What the disk did in one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DiskFloor {
    /// With its sync.
    pub(crate) write: Moved,
    /// One at a time, and several.
    pub(crate) reads: [Moved; 2],
}

/// The file.
pub(crate) struct Disk {
    file: File,
}

impl Disk {
    /// Makes the file in a folder.
    ///
    /// # Errors
    /// A file system that has no way past its cache, or blocks that do not fit its sectors: then nothing is the disk's figure.
    pub(crate) fn new(folder: &Path, block_bytes: usize) -> Result<Self, Box<dyn Error>> {
        if !block_bytes.is_multiple_of(SECTOR_BYTES) {
            return Err(format!(
                "blocks of {block_bytes} bytes cannot go past the page cache: give a multiple of {SECTOR_BYTES}"
            )
            .into());
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).custom_flags(OFlags::DIRECT.bits() as i32);
        let file = options.open(folder.join("floor")).map_err(|error| {
            format!("{} has no disk below it ({error}): name another folder with --folder", folder.display())
        })?;
        Ok(Self { file })
    }

    /// Writes all blocks and reads them, which leaves them in the targets.
    ///
    /// # Errors
    /// A transfer failed.
    pub(crate) fn take(&self, stage: &mut Stage) -> io::Result<DiskFloor> {
        let (block_bytes, blocks, total_bytes) = (stage.block_bytes, stage.blocks, stage.total_bytes());
        let at = |number: usize| (number * block_bytes) as u64;
        let written = |number: usize| self.file.write_all_at(stage.source(number), at(number));
        let write = moved(blocks, total_bytes, DEPTH, written, || self.file.sync_all())?;
        let mut read = |depth| {
            let targets: Vec<_> = stage.targets().chunks_exact_mut(block_bytes).map(Mutex::new).collect();
            let read = |number: usize| {
                let mut target = targets[number].try_lock().expect("each number is taken once");
                self.file.read_exact_at(&mut target, at(number))
            };
            moved(blocks, total_bytes, depth, read, || Ok(()))
        };
        Ok(DiskFloor { write, reads: [read(1)?, read(DEPTH)?] })
    }
}

/// Moves every block once, so many at a time; `end` belongs to it.
fn moved(
    blocks: usize,
    total_bytes: usize,
    depth: usize,
    transfer: impl Fn(usize) -> io::Result<()> + Sync,
    end: impl FnOnce() -> io::Result<()>,
) -> io::Result<Moved> {
    let next = AtomicUsize::new(0);
    let work = || -> io::Result<f64> {
        let mut fastest_gbps = 0.0;
        loop {
            // Relaxed: it hands out numbers, and orders nothing else.
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= blocks {
                return Ok(fastest_gbps);
            }
            let start = Instant::now();
            transfer(number)?;
            fastest_gbps = f64::max(fastest_gbps, gbps(total_bytes / blocks, start));
        }
    };
    let start = Instant::now();
    let fastest: io::Result<Vec<f64>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..depth).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().expect("a worker does not panic")).collect()
    });
    end()?;
    let gbps = gbps(total_bytes, start);
    Ok(Moved { gbps, fastest_gbps: fastest?.into_iter().fold(gbps, f64::max) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder beside this program, where a disk is: that for temporary files may lie in memory.
    fn folder() -> tempfile::TempDir {
        let here = std::env::current_exe().expect("a test knows its program");
        tempfile::tempdir_in(here.parent().expect("it lies in a folder")).expect("a folder")
    }

    #[test]
    fn the_disk_takes_all_blocks_and_gives_them_back() {
        let folder = folder();
        let mut stage = Stage::new(folder.path(), 1 << 20, 5).expect("there is room");
        let disk = match Disk::new(folder.path(), stage.block_bytes) {
            Ok(disk) => disk,
            Err(why) => return println!("SKIPPED bench::disk: {why}"),
        };
        for round in 0..2 {
            stage.fill(round);
            stage.wipe();
            let floor = disk.take(&mut stage).expect("it is ours");
            assert_eq!(stage.wrong_bytes(), 0);
            for moved in [floor.write, floor.reads[0], floor.reads[1]] {
                assert!(moved.gbps > 0.0 && moved.fastest_gbps >= moved.gbps);
            }
        }
    }

    #[test]
    fn blocks_that_no_disk_moves_are_refused() {
        let error = Disk::new(folder().path(), 5000).err().expect("no multiple of a sector").to_string();
        assert!(error.contains("multiple of 4096"), "{error}");
    }
}
