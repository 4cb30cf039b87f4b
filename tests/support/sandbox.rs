//! Corners of the machine with walls of their own: namespaces and control groups, where they can be had.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Prints why a test does not run here, in the words that `cargo xtask test` counts.
pub fn skip(name: &str, why: &str) {
    println!("SKIPPED {name}: {why}");
}

/// Whether a command under this wrapper can be run at all.
pub fn works(wrapper: &[&str]) -> bool {
    let mut command = Command::new(wrapper[0]);
    command.args(&wrapper[1..]).arg("true").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A wrapper that runs a command where /dev/shm is a small file system of its own. Root's rights are not needed where
/// users may make namespaces.
pub fn small_shm(mebibytes: u64, before: &str) -> Vec<String> {
    let mount =
        format!("mount -t tmpfs -o size={mebibytes}m,mode=1777 none /dev/shm && {before} exec \"$@\"");
    let unshare = if rustix::process::geteuid().is_root() {
        vec!["unshare", "--mount"]
    } else {
        vec!["unshare", "--user", "--map-root-user", "--mount"]
    };
    unshare.into_iter().map(str::to_owned).chain(["sh".into(), "-c".into(), mount, "sh".into()]).collect()
}

/// A memory control group with a limit. Goes with the test, once it is empty.
#[derive(Debug)]
pub struct ControlGroup {
    path: PathBuf,
}

impl ControlGroup {
    /// Makes one, or says why it cannot be made.
    ///
    /// # Errors
    /// What the system said.
    pub fn new(name: &str, limit_bytes: u64) -> Result<Self, String> {
        let name = format!("cascade-test-{name}-{}", std::process::id());
        let version_1 = PathBuf::from("/sys/fs/cgroup/memory");
        let (path, limit_file) = if version_1.exists() {
            (version_1.join(name), "memory.limit_in_bytes")
        } else {
            (PathBuf::from("/sys/fs/cgroup").join(name), "memory.max")
        };
        let group = Self { path };
        fs::create_dir(&group.path)
            .and_then(|()| fs::write(group.path.join(limit_file), limit_bytes.to_string()))
            .map_err(|error| format!("this user makes no control groups ({error})"))?;
        Ok(group)
    }

    /// A wrapper that runs a command in the group.
    pub fn wrapper(&self) -> Vec<String> {
        let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", self.path.display());
        ["sh", "-c", &enter, "sh"].map(str::to_owned).to_vec()
    }

    /// Processes of the group that the kernel killed for want of memory.
    ///
    /// # Panics
    /// If the kernel does not tell.
    pub fn oom_kills(&self) -> u64 {
        let text = ["memory.oom_control", "memory.events"]
            .iter()
            .find_map(|file| fs::read_to_string(self.path.join(file)).ok())
            .expect("a control group counts its kills");
        let kills = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        kills.and_then(|count| count.trim().parse().ok()).expect("a control group counts its kills")
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        // Busy as long as a process of it is being buried.
        for _ in 0..200 {
            if fs::remove_dir(&self.path).is_ok() || !self.path.exists() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}
