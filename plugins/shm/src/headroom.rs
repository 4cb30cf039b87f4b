//! How much shared memory can be taken without anybody being killed for it.
//! Three bounds, and the least counts: the free room of the file system, the control group's limit, and the memory that the
//! machine has left (a tmpfs may be larger than that).

use crate::cgroup::{Groups, Limit};
use rustix::fs::fstatvfs;
use rustix::io::Errno;
use serde::Serialize;
use std::fs;
use std::os::fd::AsFd;

/// What can be taken, and what bounds it.
#[derive(Clone, Debug, Serialize)]
pub struct Headroom {
    /// The least of the bounds.
    pub available_bytes: u64,
    /// What the file system has free.
    pub file_system_free_bytes: u64,
    /// How large it is.
    pub file_system_bytes: u64,
    /// What the machine has available, if it says so.
    pub machine_available_bytes: Option<u64>,
    /// The tightest limit of a control group, if there is one.
    pub cgroup: Option<Limit>,
}

impl Headroom {
    /// Measures it for the file system that `file` is on.
    pub(crate) fn measure(file: impl AsFd, groups: &Groups) -> Result<Headroom, Errno> {
        let file_system = fstatvfs(file)?;
        let file_system_free_bytes = file_system.f_bavail.saturating_mul(file_system.f_frsize);
        let file_system_bytes = file_system.f_blocks.saturating_mul(file_system.f_frsize);
        let machine_available_bytes = machine_available_bytes();
        let cgroup = groups.tightest();
        let available_bytes = file_system_free_bytes
            .min(machine_available_bytes.unwrap_or(u64::MAX))
            .min(cgroup.as_ref().map_or(u64::MAX, Limit::free_bytes));
        Ok(Headroom {
            available_bytes,
            file_system_free_bytes,
            file_system_bytes,
            machine_available_bytes,
            cgroup,
        })
    }
}

fn machine_available_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}
