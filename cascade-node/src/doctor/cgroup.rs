//! The memory cgroup: pages of /dev/shm are charged to it, and at its limit the kernel kills.
//!
//! Versions 1 and 2, whole or as a container sees them. The tightest level between our group and the mount counts.
//! Page cache that nobody uses is given back under pressure, so it does not count as used.

use std::path::{Path, PathBuf};

use super::mounts::Mount;
use super::{Check, Machine};
use crate::config::Bytes;

const NAME: &str = "memory cgroup";
/// Version 1 says "no limit" with the largest number of whole pages.
const V1_UNLIMITED_BYTES: u64 = 1 << 62;

/// The tightest memory limit over this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    /// The folder of the group that sets it.
    pub(super) group: PathBuf,
    pub(super) limit_bytes: u64,
    /// Charged and not to be had back.
    pub(super) used_bytes: u64,
}

impl Limit {
    /// What may still be allocated under it.
    pub(super) fn free_bytes(&self) -> u64 {
        self.limit_bytes.saturating_sub(self.used_bytes)
    }
}

/// The file names of one version.
struct Files {
    limit: &'static str,
    used: &'static str,
    /// The line of `memory.stat` that counts unused page cache, with the groups below.
    inactive: &'static str,
}

const V1: Files =
    Files { limit: "memory.limit_in_bytes", used: "memory.usage_in_bytes", inactive: "total_inactive_file" };
const V2: Files = Files { limit: "memory.max", used: "memory.current", inactive: "inactive_file" };

/// Finds the limit over this process; `None` where there is none.
pub(super) fn read(machine: &Machine, mounts: &[Mount]) -> Option<Limit> {
    let membership = machine.read("/proc/self/cgroup")?;
    let (files, group, mount) = locate(&membership, mounts)?;
    let folder = folder(group, mount);
    let levels = folder.ancestors().take_while(|level| level.starts_with(&mount.point));
    levels.filter_map(|level| level_limit(machine, level, &files)).min_by_key(Limit::free_bytes)
}

pub(super) fn checks(limit: &Option<Limit>) -> Vec<Check> {
    let Some(limit) = limit else { return vec![Check::ok(NAME, "sets no limit")] };
    let (free, most) = (Bytes(limit.free_bytes()).rounded(), Bytes(limit.limit_bytes).rounded());
    let found = format!("{free} free of {most} ({})", limit.group.display());
    // Below a tenth, a burst of the engines meets the limit before the cache can shrink.
    vec![if limit.free_bytes() < limit.limit_bytes / 10 {
        let advice = "ask the job for more memory (Slurm: --mem), or give the cache less (segment.capacity)";
        Check::warn(NAME, found, advice)
    } else {
        Check::ok(NAME, found)
    }]
}

/// The version that holds the memory controller, our group's path in it, and where it is mounted.
fn locate<'a>(membership: &'a str, mounts: &'a [Mount]) -> Option<(Files, &'a str, &'a Mount)> {
    let mut lines = membership.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let v1 = lines.clone().find(|(controllers, _)| controllers.split(',').any(|c| c == "memory"));
    if let Some((_, group)) = v1 {
        let holds_memory = |m: &&Mount| m.kind == "cgroup" && m.super_options.iter().any(|o| o == "memory");
        return Some((V1, group, mounts.iter().find(holds_memory)?));
    }
    let (_, group) = lines.find(|(controllers, _)| controllers.is_empty())?;
    Some((V2, group, mounts.iter().find(|mount| mount.kind == "cgroup2")?))
}

/// Where the group's files are. A group outside of what is mounted (another namespace) shows at the mount's top.
fn folder(group: &str, mount: &Mount) -> PathBuf {
    match Path::new(group).strip_prefix(&mount.root) {
        Ok(inside) if !group.contains("..") => mount.point.join(inside),
        _ => mount.point.clone(),
    }
}

fn level_limit(machine: &Machine, group: &Path, files: &Files) -> Option<Limit> {
    let number = |name: &str| machine.read(group.join(name))?.trim().parse::<u64>().ok();
    // Version 2 writes `max`, which is no number.
    let limit_bytes = number(files.limit).filter(|bytes| *bytes < V1_UNLIMITED_BYTES)?;
    let stat = machine.read(group.join("memory.stat")).unwrap_or_default();
    let inactive_bytes = stat
        .lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(name, _)| *name == files.inactive)
        .and_then(|(_, bytes)| bytes.parse::<u64>().ok());
    let used_bytes = number(files.used)?.saturating_sub(inactive_bytes.unwrap_or(0));
    Some(Limit { group: group.to_owned(), limit_bytes, used_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(kind: &str, root: &str, point: &str, controller: &str) -> Mount {
        Mount {
            root: root.into(),
            point: point.into(),
            options: Vec::new(),
            kind: kind.to_owned(),
            super_options: vec!["rw".to_owned(), controller.to_owned()],
        }
    }

    #[test]
    fn the_memory_controller_of_version_1_wins_over_an_empty_version_2() {
        let mounts = [
            mount("cgroup", "/", "/sys/fs/cgroup/memory", "memory"),
            mount("cgroup2", "/", "/sys/fs/cgroup/unified", ""),
        ];
        let (files, group, at) = locate("4:cpu,memory:/slurm/job_7\n0::/\n", &mounts).expect("a group");
        assert_eq!((files.limit, group), (V1.limit, "/slurm/job_7"));
        assert_eq!(folder(group, at), Path::new("/sys/fs/cgroup/memory/slurm/job_7"));
    }

    #[test]
    fn version_2_is_found() {
        let mounts = [mount("cgroup2", "/", "/sys/fs/cgroup", "")];
        let (files, group, at) = locate("0::/user.slice/a:b.scope\n", &mounts).expect("a group");
        assert_eq!(files.limit, V2.limit);
        assert_eq!(folder(group, at), Path::new("/sys/fs/cgroup/user.slice/a:b.scope"));
    }

    #[test]
    fn a_container_sees_its_group_at_the_mount() {
        let at = mount("cgroup", "/docker/ab", "/sys/fs/cgroup/memory", "memory");
        assert_eq!(folder("/docker/ab", &at), Path::new("/sys/fs/cgroup/memory"));
        assert_eq!(folder("/docker/ab/inner", &at), Path::new("/sys/fs/cgroup/memory/inner"));
        assert_eq!(folder("/../elsewhere", &at), Path::new("/sys/fs/cgroup/memory"));
    }
}
