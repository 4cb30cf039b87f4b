//! `local`: what one node costs its clients, as ratios and nanoseconds.
//!
//! Copies stand beside plain copies of the same bytes ([`pairs`] says how), single calls by themselves, and lookups beside
//! random reads. The node is our own and runs LRU, so what was put last is there.

mod calls;
mod copies;
mod crowd;
mod pairs;
mod scene;
mod tables;

pub(crate) use crowd::{ClientArgs, run_client};
pub(crate) use pairs::quantile;

use crate::node::Node;
use crate::provenance::Provenance;
use indicatif::{ProgressBar, ProgressStyle};
use scene::Scene;
use serde_json::{Map, Value, json};
use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// Rounds of a ratio.
    pub(crate) rounds: usize,
    /// Calls of a kind that are timed one by one.
    pub(crate) calls: usize,
    /// The node's cache.
    pub(crate) capacity_bytes: u64,
    /// Our memory on either side of a copy: beyond any cache where there is room.
    pub(crate) memory_bytes: usize,
    /// How long the idle node is watched, and each crowd runs.
    time: Duration,
}

impl Effort {
    /// What this machine has room for: an eighth of its free shared memory at most, and 2 GiB.
    fn new(quick: bool) -> Result<Self, Box<dyn Error>> {
        let shm = rustix::fs::statvfs("/dev/shm")?;
        let room = shm.f_bavail * shm.f_frsize / 8;
        let effort = if quick {
            Self {
                rounds: pairs::ROUNDS_MIN,
                calls: 2000,
                capacity_bytes: room.min(256 << 20),
                memory_bytes: 64 << 20,
                time: Duration::from_millis(300),
            }
        } else {
            Self {
                rounds: 41,
                calls: 100_000,
                capacity_bytes: room.min(2 << 30),
                memory_bytes: (room as usize / 2).min(512 << 20),
                time: Duration::from_secs(5),
            }
        };
        let least = 128 << 20;
        if effort.capacity_bytes < least {
            let free_mib = (shm.f_bavail * shm.f_frsize) >> 20;
            return Err(format!(
                "/dev/shm has {free_mib} MiB free; this measurement takes an eighth and needs {} MiB of it",
                least >> 20
            )
            .into());
        }
        Ok(effort)
    }
}

/// Measures everything and returns the figures by name.
///
/// # Errors
/// The node cannot be started, or a call failed that must not.
pub(crate) fn run(program: Option<PathBuf>, quick: bool) -> Result<Map<String, Value>, Box<dyn Error>> {
    let effort = Effort::new(quick)?;
    let mut figures = Map::new();
    let Value::Object(provenance) = serde_json::to_value(Provenance::here())? else {
        unreachable!("a struct is an object")
    };
    figures.extend(provenance);
    figures.insert("rounds".into(), json!(effort.rounds));
    figures.insert("capacity_bytes".into(), json!(effort.capacity_bytes));
    let bar = ProgressBar::new(5);
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}")?);
    let step = |message: &'static str| {
        bar.inc(1);
        bar.set_message(message);
    };

    let node = Node::start(&program.unwrap_or_else(Node::program), effort.capacity_bytes, &[])?;
    let mut scene = Scene::new(&node.instance, effort)?;
    figures.insert("idle_cpu_ratio".into(), json!(node.idle_cpu_ratio(effort.time)?));
    step("copies");
    copies::measure(&mut scene, &mut figures)?;
    step("one and two processes");
    let piece_bytes = 2 << 20;
    scene.attach_anew()?;
    let first = scene.names + 1;
    let count = scene.populate(piece_bytes, effort.capacity_bytes as usize / 4)?.len() as u64;
    crowd::measure(&node.instance, first, count, piece_bytes, effort.time / 5, &mut figures)?;
    step("calls");
    calls::measure(&mut scene, &mut figures)?;
    drop((scene, node));
    step("lookups among 10⁴ to 10⁷ pieces");
    tables::measure(effort.rounds, quick, &mut figures)?;
    bar.finish_and_clear();
    Ok(figures)
}
