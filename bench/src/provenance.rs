//! Where a measurement comes from: without this its figures say nothing.

use serde::Serialize;
use std::fs;
use std::process::Command;

/// Program and machine of a measurement.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Provenance {
    /// Version of the bench, which is that of the workspace.
    pub(crate) version: &'static str,
    /// Commit that the sources stand at, `+` after it where they differ; `unknown` away from them.
    pub(crate) commit: String,
    pub(crate) host: Host,
}

/// A machine.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Host {
    pub(crate) cpu_model: String,
    pub(crate) cpus: usize,
    pub(crate) memory_bytes: u64,
    pub(crate) kernel: String,
}

impl Provenance {
    /// That of this program on this machine.
    pub(crate) fn here() -> Self {
        Self { version: env!("CARGO_PKG_VERSION"), commit: commit(), host: Host::this() }
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
