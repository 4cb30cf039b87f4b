//! Does the cache that is configured fit into the memory that is free?
//!
//! An estimate for people, before a node runs; the shm tier decides when one does.

use super::cgroup::Limit;
use super::{Check, Machine};
use crate::config::{Bytes, Config};

const NAME: &str = "capacity";
const CAPACITY_MIN_BYTES: u64 = 32 << 20;

pub(super) fn checks(machine: &Machine, limit: Option<&Limit>, config: &Config) -> Vec<Check> {
    let shm = machine.shm.map(|space| ("/dev/shm", space.free_bytes));
    let ram =
        machine.read("/proc/meminfo").and_then(|text| available_bytes(&text)).map(|free| ("memory", free));
    let group =
        limit.map(|limit| ("the memory cgroup", limit.free_bytes().saturating_sub(config.segment.reserve.0)));
    // Without /dev/shm its own check has said all there is to say.
    let Some(shm) = shm else { return Vec::new() };
    let tightest = [Some(shm), ram, group].into_iter().flatten().min_by_key(|(_, free)| *free);
    tightest.map(|(place, free_bytes)| judge(place, free_bytes, config)).into_iter().collect()
}

fn judge(place: &str, free_bytes: u64, config: &Config) -> Check {
    let room = format!("{place} has room for {}", Bytes(free_bytes).rounded());
    let Some(wanted_bytes) = config.segment.capacity_bytes() else {
        let share_bytes = (free_bytes as f64 * config.segment.shm_share) as u64;
        let found = format!("auto takes about {}; {room}", Bytes(share_bytes).rounded());
        // A small machine gets the smallest cache rather than its share.
        return match free_bytes {
            CAPACITY_MIN_BYTES.. => Check::ok(NAME, found),
            _ => Check::fail(NAME, found, "free some memory: the smallest cache takes 32 MiB"),
        };
    };
    let found = format!("{} wanted; {room}", Bytes(wanted_bytes).rounded());
    if wanted_bytes > free_bytes {
        return Check::fail(NAME, found, "lower segment.capacity, or leave it at \"auto\"");
    }
    Check::ok(NAME, found)
}

/// `MemAvailable` of /proc/meminfo.
fn available_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::AutoBytes;
    use crate::doctor::Status;

    #[test]
    fn a_fixed_capacity_must_fit() {
        let mut config = Config::default();
        config.segment.capacity = AutoBytes::Fixed(Bytes::gib(2));
        assert_eq!(judge("/dev/shm", 3 << 30, &config).status, Status::Ok);
        assert_eq!(judge("/dev/shm", 1 << 30, &config).status, Status::Fail);
    }

    #[test]
    fn auto_fits_down_to_the_smallest_cache() {
        let config = Config::default();
        assert_eq!(judge("/dev/shm", 64 << 20, &config).status, Status::Ok);
        assert_eq!(judge("/dev/shm", 31 << 20, &config).status, Status::Fail);
        assert!(judge("/dev/shm", 10 << 30, &config).found.starts_with("auto takes about 4 GiB"));
    }

    #[test]
    fn available_memory_is_read_in_bytes() {
        let text = "MemTotal:       24684096 kB\nMemAvailable:       2048 kB\n";
        assert_eq!(available_bytes(text), Some(2 << 20));
        assert_eq!(available_bytes("MemTotal: 1 kB\n"), None);
    }
}
