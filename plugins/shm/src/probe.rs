//! What a node would find here: for `doctor`, and for a node that sizes itself.

use crate::cgroup::Groups;
use crate::directory::failed;
use crate::headroom::Headroom;
use crate::numa;
use cascade_tier::TierError;
use serde::Deserialize;
use serde_json::json;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// What `probe` takes. Other fields are ignored, so that the configuration of `open` fits too.
#[derive(Debug, Deserialize)]
pub(crate) struct ProbeConfig {
    /// Where the segment would go; it need not be there.
    #[serde(default = "shared_memory")]
    directory: PathBuf,
}

fn shared_memory() -> PathBuf {
    PathBuf::from("/dev/shm")
}

pub(crate) fn probe(config: &ProbeConfig) -> Result<String, TierError> {
    let there = config.directory.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let unreadable = |error: rustix::io::Errno| failed("look at", there, error);
    let file = File::open(there).map_err(|error| {
        unreadable(rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO))
    })?;
    let headroom = Headroom::measure(&file, &Groups::of_this_process()).map_err(unreadable)?;
    let mount = Mount::of(there);
    let report = json!({
        "capabilities": ["allocate", "release", "copy", "register", "import", "adopt"],
        "directory": config.directory,
        "available_bytes": headroom.available_bytes,
        "file_system_bytes": headroom.file_system_bytes,
        "file_system_free_bytes": headroom.file_system_free_bytes,
        "machine_available_bytes": headroom.machine_available_bytes,
        "cgroup": headroom.cgroup,
        "is_tmpfs": mount.as_ref().is_some_and(|mount| mount.kind == "tmpfs"),
        "huge_pages": {
            "shmem_enabled": shmem_enabled(),
            "mount_option": mount.and_then(|mount| mount.option("huge=")),
        },
        "numa": numa::domains(),
    });
    Ok(report.to_string())
}

/// The choice in brackets: `always within_size advise [never] deny force`.
fn shmem_enabled() -> Option<String> {
    let text = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/shmem_enabled").ok()?;
    Some(text.split_once('[')?.1.split_once(']')?.0.to_owned())
}

/// The file system that a path is on.
struct Mount {
    kind: String,
    options: String,
}

impl Mount {
    fn of(path: &Path) -> Option<Mount> {
        let path = path.canonicalize().ok()?;
        let text = fs::read_to_string("/proc/self/mountinfo").ok()?;
        // The deepest mount point counts, and of equal ones the last mounted.
        let around = |line: &&str| line.split(' ').nth(4).is_some_and(|point| path.starts_with(point));
        let line = text.lines().filter(around).max_by_key(|line| line.split(' ').nth(4).map(str::len))?;
        let mut fields = line.split_once(" - ")?.1.split(' ');
        Some(Mount { kind: fields.next()?.to_owned(), options: fields.nth(1)?.to_owned() })
    }

    fn option(&self, prefix: &str) -> Option<String> {
        self.options.split(',').find_map(|option| option.strip_prefix(prefix)).map(str::to_owned)
    }
}
