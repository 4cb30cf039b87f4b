//! Which NUMA domain a client runs in, so that its grants come from near memory.
//!
//! Asked once, when the client attaches: engines pin their workers before they connect.

use std::path::Path;

/// Fields of /proc/PID/stat before the processor, counted after the command's closing parenthesis.
const FIELDS_BEFORE_PROCESSOR: usize = 36;

/// The domain of the processor that the process ran on last, or `None` where that cannot be told.
pub(super) fn domain_of(pid: i32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let processor = processor_in(&stat)?;
    domain_among(Path::new(&format!("/sys/devices/system/cpu/cpu{processor}")))
}

/// The command may hold anything, spaces and parentheses included; what follows its last parenthesis is numbers.
fn processor_in(stat: &str) -> Option<u32> {
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split_ascii_whitespace().nth(FIELDS_BEFORE_PROCESSOR)?.parse().ok()
}

/// The folder of a processor links to its domain as `node<N>`.
fn domain_among(folder: &Path) -> Option<u32> {
    let entries = std::fs::read_dir(folder).ok()?;
    entries.flatten().find_map(|entry| entry.file_name().to_str()?.strip_prefix("node")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_found_behind_any_command() {
        let numbers: Vec<String> = (3..=52).map(|field| field.to_string()).collect();
        let stat = format!("42 (a) b (c) ) {}", numbers.join(" "));
        assert_eq!(processor_in(&stat), Some(39));
        assert_eq!(processor_in("42 (a) S 1"), None);
    }

    #[test]
    fn this_process_runs_somewhere() {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        assert!(processor_in(&stat).is_some_and(|processor| (processor as usize) < processors.max(4096)));
    }
}
