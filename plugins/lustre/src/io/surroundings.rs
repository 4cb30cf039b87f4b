//! What a directory is on, for `doctor`, `plugins` and whoever chooses where a store goes. Looking makes nothing that stays.

use super::lustre::LUSTRE_SUPER_MAGIC;
use super::{Depth, Ring, direct};
use rustix::fs::{self, Mode, OFlags};
use serde::Serialize;
use std::io;
use std::path::{Path, PathBuf};

/// What the magic numbers of `statfs` are called. Sources: linux/magic.h, and each file system's own headers.
const FILE_SYSTEMS: [(u64, &str); 20] = [
    (LUSTRE_SUPER_MAGIC, "lustre"),
    (0xEF53, "ext4"),
    (0x5846_5342, "xfs"),
    (0x9123_683E, "btrfs"),
    (0x2FC1_2FC1, "zfs"),
    (0xF2F5_2010, "f2fs"),
    (0xCA45_1A4E, "bcachefs"),
    (0x0102_1994, "tmpfs"),
    (0x8584_58F6, "ramfs"),
    (0x794C_7630, "overlay"),
    (0x6969, "nfs"),
    (0x00C3_6400, "ceph"),
    (0x4750_4653, "gpfs"),
    (0x1983_0326, "beegfs"),
    (0x2003_0528, "orangefs"),
    (0x6573_5546, "fuse"),
    (0x0102_1997, "9p"),
    (0xFF53_4D42, "cifs"),
    (0xFE53_4D42, "smb2"),
    (0x0116_1970, "gfs2"),
];

/// What a directory is on.
#[derive(Clone, Debug, Serialize)]
pub struct Surroundings {
    /// The directory, or the nearest above it that is there.
    pub directory: PathBuf,
    /// What the file system is called, or the number that it gives.
    pub file_system: String,
    /// How large it is.
    pub file_system_bytes: u64,
    /// What of it is free for this user.
    pub file_system_free_bytes: u64,
    /// How many files it can have still; `None` where they are not counted.
    pub inodes_free: Option<u64>,
    /// Past the page cache.
    pub direct_io: Finding,
    /// The kernel's rings.
    pub io_uring: Finding,
    /// A layout of our own for containers.
    pub stripe: Finding,
}

/// Whether something works.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Finding {
    /// Whether it does.
    pub works: bool,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
}

impl Finding {
    fn of(found: Result<(), String>) -> Finding {
        Finding { works: found.is_ok(), why_not: found.err() }
    }
}

impl Surroundings {
    /// Looks where a directory is, or would be made.
    ///
    /// # Errors
    /// What the file system says.
    pub fn of(directory: &Path) -> io::Result<Surroundings> {
        let there = directory.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
        let folder = fs::open(there, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let magic = fs::fstatfs(&folder)?.f_type as u64;
        let space = fs::fstatvfs(&folder)?;
        let direct_io = direct::probe(&folder).unwrap_or_else(|error| {
            Err(format!("not known, as no file without a name can be made there: {error}"))
        });
        let stripe = if magic == LUSTRE_SUPER_MAGIC { Ok(()) } else { Err("this is no Lustre".to_owned()) };
        Ok(Surroundings {
            directory: there.to_owned(),
            file_system: name(magic),
            file_system_bytes: space.f_blocks.saturating_mul(space.f_frsize),
            file_system_free_bytes: space.f_bavail.saturating_mul(space.f_frsize),
            // File systems that make inodes as they go say 0 of 0.
            inodes_free: (space.f_files > 0).then_some(space.f_favail),
            direct_io: Finding::of(direct_io),
            io_uring: Finding::of(Ring::new(Depth::default()).map(drop).map_err(|error| error.to_string())),
            stripe: Finding::of(stripe),
        })
    }
}

fn name(magic: u64) -> String {
    let known = FILE_SYSTEMS.iter().find(|(number, _)| *number == magic);
    known.map_or_else(|| format!("{magic:#x}"), |(_, name)| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_memory_is_known_and_has_no_stripes() {
        let found = Surroundings::of(Path::new("/dev/shm/is/not/there")).unwrap();
        assert_eq!((found.directory.as_path(), found.file_system.as_str()), (Path::new("/dev/shm"), "tmpfs"));
        assert!(found.file_system_free_bytes <= found.file_system_bytes);
        assert_eq!(found.stripe, Finding { works: false, why_not: Some("this is no Lustre".to_owned()) });
    }

    #[test]
    fn what_nobody_knows_has_its_number() {
        assert_eq!((name(LUSTRE_SUPER_MAGIC).as_str(), name(0x1234).as_str()), ("lustre", "0x1234"));
    }

    #[test]
    fn where_no_file_can_be_made_nothing_is_claimed() {
        let found = Surroundings::of(Path::new("/proc/self")).unwrap();
        assert!(!found.direct_io.works);
        assert!(found.direct_io.why_not.is_some_and(|reason| reason.starts_with("not known")));
    }
}
