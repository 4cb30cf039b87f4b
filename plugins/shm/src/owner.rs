//! Who owns a segment: a record to be read and a lock to be believed.
//! Invariants: the lock decides, the record only explains. The lock is an OFD lock on the file `owner`, held from `open` to
//! `close` and never passed on, so it goes with the process whatever kills it.

use crate::config::{OWNER_FILE, OwnerConfig};
use crate::directory::{Directory, failed};
use crate::sys;
use cascade_tier::TierError;
use rustix::fs;
use rustix::io::{Errno, pread, pwrite};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::os::fd::OwnedFd;
use std::time::{SystemTime, UNIX_EPOCH};

/// What an owner writes about itself.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub struct OwnerRecord {
    /// Its process, in its PID namespace.
    pub pid: u32,
    /// That namespace.
    pub pid_namespace: String,
    /// When the process started, in clock ticks since boot: tells it from a later one of the same number.
    pub pid_start_ticks: u64,
    /// Its host.
    pub host: String,
    /// The boot that it ran in.
    pub boot_id: String,
    /// The node's instance name.
    pub instance: String,
    /// When it opened the segment, in milliseconds since 1970.
    pub started_unix_ms: u64,
    /// Whether every region was made: only then can the segment be adopted.
    pub ready: bool,
}

impl fmt::Display for OwnerRecord {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let OwnerRecord { pid, host, instance, started_unix_ms, .. } = self;
        write!(
            formatter,
            "pid {pid} on {host}, instance {instance:?}, since {} (Unix time)",
            started_unix_ms / 1000
        )
    }
}

/// What is known of an owner that holds its lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Liveness {
    /// It lives.
    Living,
    /// It is in another PID namespace, where it cannot be looked at.
    OutOfSight,
    /// It was killed, but is not gone yet; the reason to think so.
    Dying(String),
}

impl OwnerRecord {
    /// This process.
    pub(crate) fn of_this_process(owner: &OwnerConfig) -> OwnerRecord {
        let pid = std::process::id();
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        OwnerRecord {
            pid,
            pid_namespace: pid_namespace(),
            pid_start_ticks: Process::read(pid).map_or(0, |process| process.start_ticks),
            host: owner.host.clone(),
            boot_id: boot_id(),
            instance: owner.instance.clone(),
            started_unix_ms: since_epoch.as_millis() as u64,
            ready: false,
        }
    }

    /// Whether the process is on its way out. Asked only while its lock is held.
    pub(crate) fn liveness(&self) -> Liveness {
        let pid = self.pid;
        if self.pid_namespace != pid_namespace() {
            return Liveness::OutOfSight;
        }
        match Process::read(pid) {
            None => Liveness::Dying(format!("pid {pid} is gone, but something holds its lock still")),
            Some(process) if process.start_ticks != self.pid_start_ticks => Liveness::Dying(format!(
                "pid {pid} is another process by now, but something holds the lock still"
            )),
            Some(process) if matches!(process.state, 'Z' | 'X') => {
                Liveness::Dying(format!("pid {pid} is a zombie with threads that cannot exit"))
            }
            Some(process) if process.is_killed => {
                Liveness::Dying(format!("pid {pid} was killed, but cannot exit yet"))
            }
            Some(_) => Liveness::Living,
        }
    }
}

/// A held lock. Dropping it lets go.
#[derive(Debug)]
pub(crate) struct OwnerLock {
    file: OwnedFd,
    /// The process that took it: a fork of it has a copy of this value, but not the lock.
    pid: u32,
}

impl Drop for OwnerLock {
    fn drop(&mut self) {
        if self.pid == std::process::id() {
            // If this fails, closing the file lets go as well, unless a child is just between fork and exec.
            let _ = sys::unlock(&self.file);
        }
    }
}

/// How an attempt to take a segment ended.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// It is ours; the previous owner's record, if there was one.
    Taken(OwnerLock, Option<OwnerRecord>),
    /// Somebody has it; its record, if it can be read.
    Held(Option<OwnerRecord>),
    /// The folder was removed under our feet.
    Gone,
}

impl OwnerLock {
    /// Tries to take the lock of a segment.
    pub(crate) fn attempt(directory: &Directory) -> Result<Attempt, TierError> {
        let path = directory.path().join(OWNER_FILE);
        loop {
            let Some(file) = directory.open_or_create_file(OWNER_FILE)? else { return Ok(Attempt::Gone) };
            if !sys::try_lock(&file).map_err(|error| failed("lock", &path, error))? {
                return Ok(Attempt::Held(read_record(&file)));
            }
            // Between our open and our lock the last owner may have removed the file: then we locked nothing.
            if directory.still_names(OWNER_FILE, &file) {
                let previous = read_record(&file);
                return Ok(Attempt::Taken(OwnerLock { file, pid: std::process::id() }, previous));
            }
        }
    }

    /// Looks who holds a segment's lock, without taking it. `None` if nobody does.
    pub(crate) fn holder(directory: &Directory) -> Result<Option<Option<OwnerRecord>>, TierError> {
        let Some(file) = directory.open_file(OWNER_FILE)? else { return Ok(None) };
        let path = directory.path().join(OWNER_FILE);
        let is_held = sys::is_locked(&file).map_err(|error| failed("look at the lock of", &path, error))?;
        Ok(is_held.then(|| read_record(&file)))
    }

    /// Writes the record, or with `None` erases it: what has no record is not adopted.
    pub(crate) fn write(&self, record: Option<&OwnerRecord>) -> Result<(), Errno> {
        let text =
            record.map_or_else(String::new, |record| serde_json::to_string(record).unwrap_or_default());
        fs::ftruncate(&self.file, 0)?;
        let mut written = 0;
        while written < text.len() {
            written += pwrite(&self.file, &text.as_bytes()[written..], written as u64)?;
        }
        Ok(())
    }
}

/// Reads a record; one that is half written or of another version reads as none.
fn read_record(file: &OwnedFd) -> Option<OwnerRecord> {
    let mut bytes = vec![0; 8192];
    let mut length = 0;
    while length < bytes.len() {
        match pread(file, &mut bytes[length..], length as u64) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(Errno::INTR) => {}
            Err(_) => return None,
        }
    }
    serde_json::from_slice(&bytes[..length]).ok()
}

/// The boot of this machine.
pub(crate) fn boot_id() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

fn pid_namespace() -> String {
    std::fs::read_link("/proc/self/ns/pid").map(|link| link.display().to_string()).unwrap_or_default()
}

/// What /proc says of a process.
struct Process {
    state: char,
    start_ticks: u64,
    is_killed: bool,
}

impl Process {
    fn read(pid: u32) -> Option<Process> {
        const SIGKILL_BIT: u64 = 1 << 8;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name, in parentheses, may hold anything: count fields from its end. The state is field 3, the start field 22.
        let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        let start_ticks = fields.nth(18)?.parse().ok()?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let pending = status.lines().filter_map(|line| {
            let mask = line.strip_prefix("SigPnd:").or_else(|| line.strip_prefix("ShdPnd:"))?;
            u64::from_str_radix(mask.trim(), 16).ok()
        });
        let is_killed = pending.fold(0, |all, mask| all | mask) & SIGKILL_BIT != 0;
        Some(Process { state, start_ticks, is_killed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me() -> OwnerRecord {
        OwnerRecord::of_this_process(&OwnerConfig { instance: "i".to_owned(), host: "h".to_owned() })
    }

    #[test]
    fn this_process_lives() {
        assert!(me().pid_start_ticks > 0);
        assert_eq!(me().liveness(), Liveness::Living);
    }

    #[test]
    fn a_recycled_pid_is_not_the_owner() {
        let record = OwnerRecord { pid_start_ticks: 1, ..me() };
        assert!(matches!(record.liveness(), Liveness::Dying(_)));
    }

    #[test]
    fn an_owner_in_another_pid_namespace_is_out_of_sight() {
        let record = OwnerRecord { pid_namespace: "pid:[1]".to_owned(), pid: u32::MAX, ..me() };
        assert_eq!(record.liveness(), Liveness::OutOfSight);
    }
}
