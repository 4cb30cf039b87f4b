//! Does the cache that is configured fit into the memory that is free?
//!
//! An estimate for people, before a node runs: the node itself asks the shm tier.

use super::cgroup::Limit;
use super::{Check, Machine};
use crate::config::{Bytes, Config};

const NAME: &str = "capacity";
const FREE_MIN_BYTES: u64 = 32 << 20;

pub(super) fn checks(machine: &Machine, limit: Option<&Limit>, config: &Config) -> Vec<Check> {
    // Without /dev/shm its own check has said all there is to say.
    let Some(space) = machine.shm else { return Vec::new() };
    let shm = Some(("/dev/shm", space.free_bytes));
    let ram = machine.read("/proc/meminfo").and_then(|text| available_bytes(&text));
    let ram = ram.map(|free_bytes| ("the machine", free_bytes));
    let group = limit.map(|limit| ("the memory cgroup", limit.free_bytes()));
    let tightest = [shm, ram, group].into_iter().flatten().min_by_key(|(_, free_bytes)| *free_bytes);
    tightest.map(|(place, free_bytes)| judge(place, free_bytes, config)).into_iter().collect()
}

fn judge(place: &str, free_bytes: u64, config: &Config) -> Check {
    let segment = &config.segment;
    let room = format!("{place} has {} free", Bytes(free_bytes).rounded());
    // On a small machine a quarter is reserve enough.
    let usable_bytes = free_bytes - segment.reserve.0.min(free_bytes / 4);
    match segment.capacity_bytes() {
        Some(wanted_bytes) if wanted_bytes > usable_bytes => Check::fail(
            NAME,
            format!(
                "{} wanted; {room}, segment.reserve is {}",
                Bytes(wanted_bytes).rounded(),
                segment.reserve
            ),
            "lower segment.capacity, or leave it at \"auto\"",
        ),
        Some(wanted_bytes) => Check::ok(NAME, format!("{} wanted; {room}", Bytes(wanted_bytes).rounded())),
        None if free_bytes < FREE_MIN_BYTES => {
            Check::fail(NAME, room, "free some memory: a node needs 32 MiB")
        }
        None => {
            let share_bytes = (usable_bytes as f64 * segment.shm_share) as u64;
            Check::ok(NAME, format!("auto takes about {}; {room}", Bytes(share_bytes).rounded()))
        }
    }
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
        assert!(judge("/dev/shm", 10 << 30, &config).found.starts_with("auto takes about 4.0 GiB"));
    }

    #[test]
    fn available_memory_is_read_in_bytes() {
        let text = "MemTotal:       24684096 kB\nMemAvailable:       2048 kB\n";
        assert_eq!(available_bytes(text), Some(2 << 20));
        assert_eq!(available_bytes("MemTotal: 1 kB\n"), None);
    }
}
