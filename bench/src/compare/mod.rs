//! `compare`: Cascade beside other systems that keep blocks, the real ones, every byte compared.
//!
//! The same blocks go into each system and come out again ([`rounds`]), from and to the same memory ([`stage`]), beside
//! plain copies and plain reads of the same bytes ([`floor`]). A system that is not here is absent, with the reason; one that
//! fails, or whose figures cannot be true ([`row`]), has no row. Nothing is estimated.

mod chart;
mod disk;
mod entrant;
mod floor;
mod page_cache;
mod report;
mod rounds;
mod row;
mod stage;
mod systems;
mod table;

pub(crate) use report::report;
pub(crate) use systems::{Mode, Programs, System};
pub(crate) use table::table;

use crate::provenance::Provenance;
use crate::signals::Signals;
use disk::Disk;
use entrant::Entrant;
use indicatif::{ProgressBar, ProgressStyle};
use rounds::{Finished, Rounds};
use row::Row;
use serde::{Deserialize, Serialize};
use stage::Stage;
use std::error::Error;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use systems::{Setting, Started};
use tempfile::TempDir;

/// Where what is hot lies.
const MEMORY: &str = "/dev/shm";
/// Memory over the bytes of all blocks: sources and targets, and what all systems keep, with what they waste.
const MEMORY_RATIO: u64 = 10;

/// What is compared, and how.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) systems: &'a [System],
    pub(crate) modes: &'a [Mode],
    pub(crate) block_bytes: &'a [u64],
    /// Of all blocks of a size.
    pub(crate) total_bytes: u64,
    pub(crate) rounds: usize,
    /// Where the disk is.
    pub(crate) folder: &'a Path,
    pub(crate) programs: &'a Programs,
}

/// What came out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Comparison {
    #[serde(flatten)]
    pub(crate) provenance: Provenance,
    pub(crate) total_bytes: u64,
    /// Where cold blocks lay.
    pub(crate) folder: PathBuf,
    pub(crate) rows: Vec<Row>,
    pub(crate) absent: Vec<Left>,
    /// Rows that were none.
    pub(crate) refused: Vec<Left>,
}

/// A row that is not there.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Left {
    pub(crate) system: String,
    pub(crate) variant: String,
    pub(crate) mode: Mode,
    pub(crate) block_bytes: usize,
    pub(crate) reason: String,
    /// How to have it, where that is known.
    pub(crate) install: Option<String>,
}

/// Somebody wants us to end.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub(crate) struct Interrupted;

impl Comparison {
    /// What a caller must hear of, besides the figures. Errors: rows that are none, wrong bytes.
    pub(crate) fn verdict(&self) -> Result<(), String> {
        let refused = self.refused.iter().map(|left| {
            format!("NO ROW for {}, blocks of {} MiB: {}", left.name(), left.block_bytes >> 20, left.reason)
        });
        let wrong =
            self.rows.iter().filter(|row| row.wrong_bytes > 0).map(|row| {
                format!("WRONG BYTES from {}, {}: {}", row.system, row.mode.name(), row.wrong_bytes)
            });
        match refused.chain(wrong).collect::<Vec<_>>().as_slice() {
            [] => Ok(()),
            complaints => Err(complaints.join("\n")),
        }
    }
}

impl Left {
    /// Which system, kept how, asked in which mode.
    pub(crate) fn name(&self) -> String {
        let variant = if self.variant.is_empty() { String::new() } else { format!(", {}", self.variant) };
        format!("{}{variant}, {}", self.system, self.mode.name())
    }
}

/// Compares.
///
/// # Errors
/// No room, no disk to read past the page cache, or an interruption; a system's failure is no error, it is told in the result.
pub(crate) fn run(plan: &Plan) -> Result<Comparison, Box<dyn Error>> {
    let room = rustix::fs::statvfs(MEMORY)?;
    let room_bytes = room.f_bavail * room.f_frsize;
    if room_bytes < plan.total_bytes * MEMORY_RATIO {
        return Err(format!(
            "{MEMORY} has {} MiB free; blocks of {} MiB in all take {MEMORY_RATIO} times that: give a smaller --total",
            room_bytes >> 20,
            plan.total_bytes >> 20
        )
        .into());
    }
    let signals = Signals::block();
    let provenance = Provenance::here();
    let (total_bytes, folder) = (plan.total_bytes, plan.folder.to_owned());
    let mut result =
        Comparison { provenance, total_bytes, folder, rows: vec![], absent: vec![], refused: vec![] };
    let turns = panels(plan).count() * plan.entrants().count() * (plan.rounds + 1);
    let bar = ProgressBar::new(turns as u64);
    bar.set_style(ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}")?);
    for (mode, block_bytes) in panels(plan) {
        bar.set_message(format!("{}, {} MiB", mode.name(), block_bytes >> 20));
        panel(plan, &signals, mode, block_bytes, &bar, &mut result)?;
    }
    bar.finish_and_clear();
    Ok(result)
}

impl Plan<'_> {
    /// Each system in each of its ways.
    fn entrants(&self) -> impl Iterator<Item = (System, &'static str)> {
        let each = |&system: &System| system.variants().iter().map(move |&variant| (system, variant));
        self.systems.iter().flat_map(each)
    }
}

/// What is measured at once.
fn panels(plan: &Plan) -> impl Iterator<Item = (Mode, usize)> {
    let sizes = |&mode: &Mode| plan.block_bytes.iter().map(move |&bytes| (mode, bytes as usize));
    plan.modes.iter().flat_map(sizes)
}

/// All systems in one mode with blocks of one size.
fn panel(
    plan: &Plan,
    signals: &Signals,
    mode: Mode,
    block_bytes: usize,
    bar: &ProgressBar,
    result: &mut Comparison,
) -> Result<(), Box<dyn Error>> {
    let left = |system: System, variant: &str, reason: String, install: Option<String>| Left {
        system: system.name().to_owned(),
        variant: variant.to_owned(),
        mode,
        block_bytes,
        reason,
        install,
    };
    let (memory, disk) = (private(Path::new(MEMORY))?, private(plan.folder)?);
    let blocks = (plan.total_bytes as usize / block_bytes).max(1);
    let mut stage = Stage::new(memory.path(), block_bytes, blocks)?;
    let floor =
        if mode == Mode::Cold { Some(Disk::new(&inner(&disk, "floor")?, block_bytes)?) } else { None };
    let mut entrants = Vec::new();
    for (system, variant) in plan.entrants() {
        let name = format!("{}{variant}", system.name());
        let store = inner(if mode == Mode::Cold { &disk } else { &memory }, &format!("{name}-store"))?;
        let setting = Setting {
            programs: plan.programs,
            mode,
            stage: &stage,
            memory: inner(&memory, &name)?,
            store: store.clone(),
        };
        match system.start(variant, &setting) {
            Ok(Started::Running(driver)) => entrants.push(Entrant::new(system, variant, driver, store)),
            Ok(Started::Absent(absent)) => {
                result.absent.push(left(system, variant, absent.reason, absent.install));
            }
            Err(error) => result.refused.push(left(system, variant, error.to_string(), None)),
        }
    }
    let turned = || bar.inc(1);
    let rounds = Rounds { mode, rounds: plan.rounds, disk: floor.as_ref(), signals, turned: &turned };
    for Finished { system, variant, row } in rounds.run(entrants, &mut stage)? {
        match row {
            Ok(row) => result.rows.push(row),
            Err(why) => result.refused.push(left(system, variant, why, None)),
        }
    }
    Ok(())
}

/// A folder for us alone, gone when it is dropped.
fn private(folder: &Path) -> Result<TempDir, Box<dyn Error>> {
    let made = tempfile::Builder::new().prefix("cascade-bench-").tempdir_in(folder);
    made.map_err(|error| format!("no folder can be made in {}: {error}", folder.display()).into())
}

fn inner(folder: &TempDir, name: &str) -> std::io::Result<PathBuf> {
    let path = folder.path().join(name);
    // A store of blocks is nobody else's, and Cascade's tier insists on that.
    fs::DirBuilder::new().mode(0o700).create(&path)?;
    Ok(path)
}
