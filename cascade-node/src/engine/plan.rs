//! From configuration and machine to the sizes of a segment.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use cascade_core::page::PAGE_BYTES;
use cascade_core::place;
use cascade_core::segment::{ARENAS_MAX, GRANULE_BYTES, Geometry};
use serde::Deserialize;

use super::{EngineError, random_word};
use crate::config::{Config, HugePages, Numa};

/// The smallest and the largest chunk that is chosen without being asked for.
const CHUNK_AUTO_BYTES: std::ops::RangeInclusive<u64> = 1 << 20..=64 << 20;
/// Chunks that an arena has at least, so that a few slot sizes find room side by side.
const CHUNKS_MIN: u64 = 16;
/// Slots of the smallest size that the metadata is made for, unless the granule is at its limit.
const SLOTS_AUTO: u64 = 1 << 20;

/// The part of a segment's capacity that client pages may take.
const PAGES_SHARE: u64 = 16;
/// Clients that there is always a page for.
const CLIENTS_MIN: u64 = 8;

/// What a segment is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The directory of its files.
    pub directory: PathBuf,
    /// The node's instance.
    pub instance: String,
    /// The sizes.
    pub geometry: Geometry,
    /// The NUMA domain of each arena, or `None` for no binding.
    pub domains: Vec<Option<u32>>,
    /// Whether arenas spread their pages over all domains.
    pub interleave: bool,
    /// Whether arenas ask for huge pages.
    pub huge_pages: bool,
    /// Bytes left to others under the memory limit.
    pub reserve_bytes: u64,
}

/// What the shm tier's probe says; the rest of it is for `doctor`.
#[derive(Debug, Deserialize)]
struct Probe {
    available_bytes: u64,
    #[serde(default)]
    numa: Vec<Domain>,
}

#[derive(Debug, Deserialize)]
struct Domain {
    #[serde(alias = "number", alias = "id")]
    node: u32,
}

impl Plan {
    /// Sizes a segment by configuration and by what the shm tier's probe found.
    ///
    /// # Errors
    /// The machine has less room than asked for, or than the least that makes sense.
    pub fn new(config: &Config, directory: PathBuf, probe_json: &str) -> Result<Self, EngineError> {
        let probe: Probe = serde_json::from_str(probe_json)
            .map_err(|error| EngineError::Probe(format!("cannot read the shm tier's probe: {error}")))?;
        // What a former node left in our own place is ours to take up, or to replace.
        let available_bytes = probe.available_bytes.saturating_add(taken_bytes(&directory));
        let reserve_bytes = config.segment.reserve.0.min(available_bytes / 4);
        let usable = available_bytes - reserve_bytes;
        let capacity = match config.segment.capacity_bytes() {
            Some(asked) if asked > usable => {
                return Err(EngineError::NoRoom { asked_bytes: asked, usable_bytes: usable });
            }
            Some(asked) => asked,
            None => (usable as f64 * config.segment.shm_share) as u64,
        };
        let domains = match config.segment.numa {
            Numa::PerDomain if probe.numa.len() > 1 => {
                probe.numa.iter().take(ARENAS_MAX).map(|domain| Some(domain.node)).collect()
            }
            _ => vec![None],
        };
        let geometry = Self::geometry(config, capacity, domains.len() as u64)?;
        Ok(Self {
            directory,
            instance: config.instance.clone(),
            geometry,
            interleave: config.segment.numa == Numa::Interleave && probe.numa.len() > 1,
            domains,
            huge_pages: config.segment.huge_pages == HugePages::Advise,
            reserve_bytes,
        })
    }

    fn geometry(config: &Config, capacity_bytes: u64, arenas: u64) -> Result<Geometry, EngineError> {
        let auto_chunk = 1u64 << (capacity_bytes / arenas / CHUNKS_MIN).max(1).ilog2();
        let chunk_bytes = config
            .segment
            .chunk_bytes()
            .unwrap_or(auto_chunk.clamp(*CHUNK_AUTO_BYTES.start(), *CHUNK_AUTO_BYTES.end()));
        let arena_bytes = capacity_bytes / arenas / chunk_bytes * chunk_bytes;
        if arena_bytes == 0 {
            return Err(EngineError::NoRoom {
                asked_bytes: arenas * chunk_bytes,
                usable_bytes: capacity_bytes,
            });
        }
        let granule_bytes = (capacity_bytes / SLOTS_AUTO)
            .next_power_of_two()
            .clamp(*GRANULE_BYTES.start(), *GRANULE_BYTES.end());
        // On a small segment, pages for many clients would take what the cache is for.
        let affordable = (capacity_bytes / PAGES_SHARE / PAGE_BYTES as u64).max(CLIENTS_MIN);
        let clients_max = u64::from(config.segment.clients_max).min(affordable);
        let mut geometry = Geometry::plan(
            &vec![arena_bytes; arenas as usize],
            chunk_bytes,
            granule_bytes,
            clients_max,
            random_word(),
        );
        geometry.pin_budget_bytes = (capacity_bytes as f64 * config.clients.pin_budget_share) as u64;
        Ok(geometry)
    }
}

/// Bytes that the files of a directory take now; 0 if there is none.
fn taken_bytes(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    // The unit of `blocks` is 512 bytes, whatever the file system's is.
    entries.filter_map(|entry| entry.metadata().ok()).map(|found| found.blocks() * 512).sum()
}

/// The directory of the segment of this user, job and instance. `CASCADE_SOCKET` moves the socket alone: memory belongs
/// on /dev/shm wherever clients knock.
pub fn directory_of(config: &Config) -> PathBuf {
    let job = place::JOB_VARIABLES.iter().find_map(|name| std::env::var(name).ok());
    let uid = rustix::process::getuid().as_raw();
    PathBuf::from(place::segment_directory(uid, job.as_deref(), &config.instance))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(available_bytes: u64, change: impl FnOnce(&mut Config)) -> Result<Plan, EngineError> {
        let mut config = Config::default();
        change(&mut config);
        let probe = serde_json::json!({ "available_bytes": available_bytes }).to_string();
        Plan::new(&config, "/dev/shm/x/y".into(), &probe)
    }

    #[test]
    fn a_container_with_little_shared_memory_gets_a_small_segment() {
        let geometry = plan(32 << 20, |_| ()).unwrap().geometry;
        assert_eq!(geometry.chunk_bytes, 1 << 20);
        assert!((8 << 20..=13 << 20).contains(&geometry.arena_bytes(0)), "{geometry:?}");
        assert!(geometry.meta_bytes() < 1 << 20);
    }

    #[test]
    fn a_large_machine_gets_chunks_for_large_pieces() {
        let geometry = plan(200 << 30, |_| ()).unwrap().geometry;
        assert_eq!(geometry.chunk_bytes, 64 << 20);
        assert_eq!(geometry.slot_bytes(10 << 20), Some(10 << 20));
        assert!(geometry.meta_bytes() < geometry.arena_bytes(0) / 200);
    }

    #[test]
    fn more_than_there_is_is_refused() {
        let error = plan(1 << 30, |config| {
            config.segment.capacity = serde_json::from_str("\"2GiB\"").unwrap();
        })
        .unwrap_err();
        assert!(matches!(error, EngineError::NoRoom { .. }), "{error}");
    }
}
