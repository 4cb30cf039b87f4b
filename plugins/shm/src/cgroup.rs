//! The memory limit of the control group that we run in, version 1 or 2. Shared memory is charged to it.
//! Source: the kernel's documentation of cgroup-v1/memory and cgroup-v2.

use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};

/// Limits from here on mean "no limit" (version 1 writes 2⁶³ rounded to pages).
const UNLIMITED_BYTES: u64 = 1 << 60;

/// A limit that applies to us.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Limit {
    /// At most this much may be charged.
    pub limit_bytes: u64,
    /// What is charged now, less the file cache that the kernel would drop first.
    pub usage_bytes: u64,
    /// The folder of the group that has this limit.
    pub group: PathBuf,
}

impl Limit {
    /// What is left.
    #[must_use]
    pub const fn free_bytes(&self) -> u64 {
        self.limit_bytes.saturating_sub(self.usage_bytes)
    }
}

/// The groups whose limits apply to this process: its own and those above it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Groups {
    folders: Vec<PathBuf>,
}

impl Groups {
    /// Finds the groups of this process. None is no error: then there is no limit.
    pub(crate) fn of_this_process() -> Groups {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Groups::from_texts(&read("/proc/self/cgroup"), &read("/proc/self/mountinfo"))
    }

    fn from_texts(membership: &str, mountinfo: &str) -> Groups {
        let mut folders = Vec::new();
        for mount in mountinfo.lines().filter_map(Mount::parse) {
            for line in membership.lines() {
                let mut fields = line.splitn(3, ':').skip(1);
                let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
                let matches = match mount.version {
                    1 => controllers.split(',').any(|controller| controller == "memory"),
                    _ => controllers.is_empty(),
                };
                if matches {
                    folders.extend(mount.folders_up_from(path));
                }
            }
        }
        Groups { folders }
    }

    /// The limit that leaves least, if there is one.
    pub(crate) fn tightest(&self) -> Option<Limit> {
        self.folders.iter().filter_map(|folder| read_limit(folder)).min_by_key(Limit::free_bytes)
    }
}

/// A mounted hierarchy that can hold memory limits.
struct Mount {
    version: u8,
    root: PathBuf,
    point: PathBuf,
}

impl Mount {
    /// A line of mountinfo: `id parent device ROOT POINT options tags… - TYPE source SUPER-OPTIONS`.
    fn parse(line: &str) -> Option<Mount> {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let (root, point) = (left.next()?, left.next()?);
        let mut right = right.split(' ');
        let (kind, options) = (right.next()?, right.nth(1)?);
        let version = match kind {
            "cgroup2" => 2,
            "cgroup" if options.split(',').any(|option| option == "memory") => 1,
            _ => return None,
        };
        Some(Mount { version, root: root.into(), point: point.into() })
    }

    /// The folder of a group and those above it. In a container the group's path may lie outside of what is mounted: then
    /// what is mounted is the group.
    fn folders_up_from(&self, path: &str) -> Vec<PathBuf> {
        let below = Path::new(path).strip_prefix(&self.root).unwrap_or(Path::new(""));
        let below = if below.starts_with("..") { Path::new("") } else { below };
        let folder = self.point.join(below);
        folder.ancestors().take_while(|folder| folder.starts_with(&self.point)).map(Path::to_owned).collect()
    }
}

fn read_limit(folder: &Path) -> Option<Limit> {
    let number = |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
    let (limit_bytes, charged_bytes, cache_key) = match number("memory.limit_in_bytes") {
        Some(limit) => (limit, number("memory.usage_in_bytes")?, "total_inactive_file"),
        None => (number("memory.max")?, number("memory.current")?, "inactive_file"),
    };
    if limit_bytes >= UNLIMITED_BYTES {
        return None;
    }
    let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let cache = stat.lines().find_map(|line| line.strip_prefix(cache_key)?.trim().parse::<u64>().ok());
    let usage_bytes = charged_bytes.saturating_sub(cache.unwrap_or(0));
    Some(Limit { limit_bytes, usage_bytes, group: folder.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "35 30 0:30 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory\n";
    const V2: &str = "25 20 0:22 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[test]
    fn the_groups_of_both_versions_are_found_with_those_above() {
        let v1 = Groups::from_texts("4:memory:/slurm/job_1\n0::/\n", V1);
        assert_eq!(v1.folders[0], Path::new("/sys/fs/cgroup/memory/slurm/job_1"));
        assert_eq!(v1.folders.len(), 3);
        let v2 = Groups::from_texts("0::/user.slice/job\n", V2);
        assert_eq!(v2.folders[0], Path::new("/sys/fs/cgroup/user.slice/job"));
        assert_eq!(v2.folders.len(), 3);
    }

    #[test]
    fn a_group_outside_of_what_is_mounted_is_what_is_mounted() {
        let mount = "35 30 0:30 /docker/a /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        let inside = Groups::from_texts("4:memory:/docker/a\n", mount);
        let outside = Groups::from_texts("4:memory:/../b\n", mount);
        assert_eq!(inside.folders, [Path::new("/sys/fs/cgroup/memory")]);
        assert_eq!(outside.folders, inside.folders);
    }

    #[test]
    fn the_group_that_leaves_least_counts_and_droppable_cache_is_free() {
        let root = std::env::temp_dir().join(format!("cascade-cgroup-{}", std::process::id()));
        let inner = root.join("inner");
        fs::create_dir_all(&inner).unwrap();
        let write = |folder: &Path, name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
        write(&root, "memory.max", "1000\n");
        write(&root, "memory.current", "900\n");
        write(&root, "memory.stat", "anon 1\ninactive_file 300\n");
        write(&inner, "memory.max", "max\n");
        write(&inner, "memory.current", "900\n");
        let limit = Groups { folders: vec![inner, root.clone()] }.tightest();
        fs::remove_dir_all(&root).unwrap();
        let limit = limit.unwrap();
        assert_eq!((limit.group.as_path(), limit.free_bytes()), (root.as_path(), 400));
    }
}
