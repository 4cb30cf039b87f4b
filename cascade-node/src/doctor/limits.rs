//! Limits of the process: locked memory and open files.

use super::{Check, Machine};
use crate::config::{Bytes, Config};

/// Per client: its socket, page, two doorbells, pidfd, and one to spare.
const FILES_PER_CLIENT: u64 = 6;
/// Arenas, plugins, logs, containers of a file-system tier.
const FILES_OF_NODE: u64 = 256;

/// A soft limit; `None` is unlimited.
type Soft = Option<u64>;

pub(super) fn checks(machine: &Machine, config: &Config) -> Vec<Check> {
    let text = machine.read("/proc/self/limits").unwrap_or_default();
    let files = FILES_OF_NODE + FILES_PER_CLIENT * u64::from(config.segment.clients_max);
    let locked = soft(&text, "Max locked memory").map(locked_memory);
    let open = soft(&text, "Max open files").map(|limit| open_files(limit, files));
    [locked, open].into_iter().flatten().collect()
}

fn locked_memory(limit: Soft) -> Check {
    const NAME: &str = "locked memory";
    match limit {
        None => Check::ok(NAME, "unlimited"),
        Some(bytes) => Check::warn(
            NAME,
            format!("at most {}", Bytes(bytes).rounded()),
            "tiers that pin memory (GPU copies, registered I/O) do without and are slower: `ulimit -l unlimited`, or \
             ask the site to raise memlock",
        ),
    }
}

fn open_files(limit: Soft, needed: u64) -> Check {
    const NAME: &str = "open files";
    match limit {
        Some(most) if most < needed => Check::warn(
            NAME,
            format!("at most {most}, {needed} needed with all clients attached"),
            format!("`ulimit -n {needed}` before the start, or lower segment.clients_max"),
        ),
        Some(most) => Check::ok(NAME, format!("at most {most}, {needed} needed")),
        None => Check::ok(NAME, "unlimited"),
    }
}

/// The soft limit of a line in /proc/self/limits; the outer `None` where there is no such line.
fn soft(text: &str, name: &str) -> Option<Soft> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    match rest.split_whitespace().next()? {
        "unlimited" => Some(None),
        number => number.parse().ok().map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    const TEXT: &str = "\
Limit                     Soft Limit           Hard Limit           Units
Max open files            1024                 1048576              files
Max locked memory         8388608              unlimited            bytes
Max file locks            unlimited            unlimited            locks
";

    #[test]
    fn the_soft_limit_is_read() {
        assert_eq!(soft(TEXT, "Max open files"), Some(Some(1024)));
        assert_eq!(soft(TEXT, "Max file locks"), Some(None));
        assert_eq!(soft(TEXT, "Max dreams"), None);
    }

    #[test]
    fn too_few_open_files_say_how_many_are_needed() {
        let check = open_files(Some(256), 640);
        assert_eq!(check.status, Status::Warn);
        assert!(check.advice.is_some_and(|advice| advice.contains("ulimit -n 640")));
        assert_eq!(open_files(Some(640), 640).status, Status::Ok);
    }

    #[test]
    fn limited_locked_memory_is_a_warning_only() {
        assert_eq!(locked_memory(Some(8 << 20)).status, Status::Warn);
        assert_eq!(locked_memory(None).status, Status::Ok);
    }
}
