//! Where a measurement comes from: without this its figures say nothing.

use serde::{Deserialize, Serialize};
use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// Program, machine and moment of a measurement.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Provenance {
    /// Version of the bench, which is that of the workspace.
    pub(crate) version: String,
    /// Names this run among all: seconds since 1970, and a process.
    pub(crate) run_id: String,
    /// The batch job that it ran in.
    pub(crate) slurm_job_id: Option<String>,
    /// When it was asked for, in UTC, as 2026-01-31T12:00:00Z.
    pub(crate) time: String,
    /// Commit that the sources stand at, `+` after it where they differ; `unknown` away from them.
    pub(crate) commit: String,
    pub(crate) host: Host,
}

/// A machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Host {
    pub(crate) cpu_model: String,
    pub(crate) cpus: usize,
    pub(crate) memory_bytes: u64,
    pub(crate) kernel: String,
}

impl Provenance {
    /// That of this program on this machine.
    pub(crate) fn here() -> Self {
        let now = SystemTime::now();
        let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            run_id: format!("{seconds}-{}", std::process::id()),
            slurm_job_id: env::var("SLURM_JOB_ID").ok().filter(|id| !id.is_empty()),
            time: humantime::format_rfc3339_seconds(now).to_string(),
            commit: commit(),
            host: Host::this(),
        }
    }
}

impl Host {
    fn this() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        // aarch64 kernels name no model, but its part number.
        let cpu_model = field("model name").or_else(|| field("CPU part")).unwrap_or_else(|| "unknown".into());
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let memory_kib: u64 = meminfo
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok())
            .unwrap_or(0);
        let uname = rustix::system::uname();
        Self {
            cpu_model,
            cpus: std::thread::available_parallelism().map_or(1, |cpus| cpus.get()),
            memory_bytes: memory_kib << 10,
            kernel: format!(
                "{} {} {}",
                uname.sysname().to_string_lossy(),
                uname.release().to_string_lossy(),
                uname.machine().to_string_lossy()
            ),
        }
    }
}

/// A path without what is only this machine's: below the sources it is relative, below the home folder it begins with `~`.
pub(crate) fn shortened(path: &str) -> String {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the bench lies in the workspace");
    let path = Path::new(path);
    if let Ok(below) = path.strip_prefix(sources) {
        return below.display().to_string();
    }
    let home = env::var_os("HOME").filter(|home| home.len() > 1);
    match home.and_then(|home| path.strip_prefix(home).ok()) {
        Some(below) => format!("~/{}", below.display()),
        None => path.display().to_string(),
    }
}

fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(["-C", env!("CARGO_MANIFEST_DIR")]).args(arguments).output();
        let output = output.ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "unknown".into() };
    let changed =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|list| !list.is_empty());
    if changed { commit + "+" } else { commit }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_tells_nothing_of_whose_machine_it_was() {
        let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/src");
        assert_eq!(shortened(sources), "bench/src");
        assert_eq!(shortened("/usr/bin/redis-server"), "/usr/bin/redis-server");
        if let Some(home) = env::var("HOME").ok().filter(|home| home.len() > 1 && !sources.starts_with(home))
        {
            assert_eq!(shortened(&format!("{home}/.cache/x")), "~/.cache/x");
        }
    }
}
