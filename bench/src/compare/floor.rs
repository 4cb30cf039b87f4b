//! What the machine gives of itself: the copies and the disk that no system can beat.
//!
//! Taken in the same rounds as the system, over the same bytes: a floor of another minute is that of another machine where
//! others are at work too.

use super::page_cache;
use super::stage::Stage;
use crate::plain::Plain;
use rustix::fs::OFlags;
use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Reads under way at once in the deep one of the two reads.
pub(crate) const DEPTH: usize = 8;
/// What O_DIRECT wants at most: transfers begin and end there.
const SECTOR_BYTES: usize = 4096;

/// All blocks moved in one way, GB/s.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moved {
    /// Of all together.
    pub(crate) gbps: f64,
    /// The same, or that of the fastest block: nobody is faster, however busy the machine was meanwhile.
    pub(crate) fastest_gbps: f64,
}

/// Copies every source to its target, in each way of [`Plain::ALL`].
pub(crate) fn copies(stage: &mut Stage) -> [Moved; 2] {
    let (total_bytes, block_bytes) = (stage.total_bytes(), stage.block_bytes);
    Plain::ALL.map(|plain| {
        let mut fastest_gbps = 0.0;
        let start = Instant::now();
        for (source, target) in stage.pairs() {
            let start = Instant::now();
            plain.copy(std::iter::once((target, source)));
            fastest_gbps = f64::max(fastest_gbps, gbps(block_bytes, start));
        }
        Moved { gbps: gbps(total_bytes, start), fastest_gbps }
    })
}

/// A file of the same bytes, read past the page cache.
pub(crate) struct Disk {
    path: PathBuf,
}

impl Disk {
    /// Writes the file, all of it to the disk.
    ///
    /// # Errors
    /// No room, or a file system that cannot read past its cache: then nothing there is a disk's figure.
    pub(crate) fn new(folder: &Path, stage: &Stage) -> Result<Self, Box<dyn Error>> {
        if !stage.block_bytes.is_multiple_of(SECTOR_BYTES) {
            return Err(format!(
                "blocks of {} bytes cannot be read past the page cache: give a multiple of {SECTOR_BYTES}",
                stage.block_bytes
            )
            .into());
        }
        let path = folder.join("floor");
        let file = File::create_new(&path)?;
        for number in 0..stage.blocks {
            file.write_all_at(stage.source(number), (number * stage.block_bytes) as u64)?;
        }
        drop(file);
        let disk = Self { path };
        disk.open().map_err(|error| {
            format!("{} has no disk below it ({error}): name another folder with --folder", folder.display())
        })?;
        Ok(disk)
    }

    /// Reads every block once into the targets, so many reads at a time.
    ///
    /// # Errors
    /// A read failed.
    pub(crate) fn read(&self, stage: &mut Stage, depth: usize) -> Result<Moved, Box<dyn Error>> {
        page_cache::drop_below(self.path.parent().expect("it lies in a folder"))?;
        let file = self.open()?;
        let (total_bytes, block_bytes) = (stage.total_bytes(), stage.block_bytes);
        let targets: Vec<_> =
            stage.targets().chunks_exact_mut(block_bytes).map(std::sync::Mutex::new).collect();
        let next = AtomicUsize::new(0);
        let start = Instant::now();
        let read = || -> io::Result<f64> {
            let mut fastest_gbps = 0.0;
            loop {
                // Relaxed: it hands out numbers, and orders nothing else.
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(target) = targets.get(number) else { return Ok(fastest_gbps) };
                let mut target = target.try_lock().expect("each number is taken once");
                let start = Instant::now();
                file.read_exact_at(&mut target, (number * block_bytes) as u64)?;
                fastest_gbps = f64::max(fastest_gbps, gbps(block_bytes, start));
            }
        };
        let fastest: io::Result<Vec<f64>> = std::thread::scope(|scope| {
            let readers: Vec<_> = (0..depth).map(|_| scope.spawn(read)).collect();
            readers.into_iter().map(|reader| reader.join().expect("a reader does not panic")).collect()
        });
        let gbps = gbps(total_bytes, start);
        Ok(Moved { gbps, fastest_gbps: fastest?.into_iter().fold(gbps, f64::max) })
    }

    fn open(&self) -> io::Result<File> {
        OpenOptions::new().read(true).custom_flags(OFlags::DIRECT.bits() as i32).open(&self.path)
    }
}

fn gbps(bytes: usize, since: Instant) -> f64 {
    bytes as f64 / 1e9 / since.elapsed().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_leave_the_right_bytes() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut stage = Stage::new(folder.path(), 1 << 20, 3).expect("there is room");
        assert!(copies(&mut stage).into_iter().all(|way| way.gbps > 0.0 && way.fastest_gbps > 0.0));
        assert_eq!(stage.wrong_bytes(), 0);
    }

    #[test]
    fn the_disk_is_read_whole_at_either_depth() {
        // Beside this program, where a disk is: folders for temporary files may lie in memory.
        let here = std::env::current_exe().expect("a test knows its program");
        let folder = tempfile::tempdir_in(here.parent().expect("it lies in a folder")).expect("a folder");
        let mut stage = Stage::new(folder.path(), 1 << 20, 5).expect("there is room");
        let inner = folder.path().join("disk");
        std::fs::create_dir(&inner).expect("a folder");
        let disk = match Disk::new(&inner, &stage) {
            Ok(disk) => disk,
            Err(why) => return println!("SKIPPED bench::floor: {why}"),
        };
        for depth in [1, DEPTH] {
            stage.wipe();
            let read = disk.read(&mut stage, depth).expect("it is ours");
            assert!(read.gbps > 0.0 && read.fastest_gbps >= read.gbps);
            assert_eq!(stage.wrong_bytes(), 0);
        }
    }

    #[test]
    fn blocks_that_no_disk_reads_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let stage = Stage::new(folder.path(), 5000, 1).expect("there is room");
        let error = Disk::new(folder.path(), &stage).err().expect("no multiple of a sector").to_string();
        assert!(error.contains("multiple of 4096"), "{error}");
    }
}
