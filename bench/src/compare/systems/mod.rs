//! The systems that are compared: one driver a file, all behind one trait.
//!
//! A driver starts the real system, in folders of its own, and stops it when it is dropped. It copies every block out to
//! where the caller wants it, as an engine does: a system that hands out pointers has not moved anything yet. What it cannot
//! do is an error, never a figure.

mod cascade;
mod hdf5;
mod lmcache;
mod python;
mod redis;
mod resp;
mod server;

use super::stage::Stage;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

/// What no single call, and no start, may take longer than.
const PATIENCE: Duration = Duration::from_secs(30);

/// A system that can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum System {
    Cascade,
    Redis,
    Hdf5,
    Lmcache,
}

/// Where the blocks are when they are got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// In the system's memory, or in files that lie in memory.
    Hot,
    /// On the disk, and nowhere else.
    Cold,
}

/// The programs that the systems are made of.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Programs {
    /// Cascade's node [default: cascade-node beside this program].
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) node: Option<PathBuf>,

    /// Redis' server.
    #[arg(long, value_name = "PROGRAM", default_value = "redis-server")]
    pub(crate) redis_server: PathBuf,

    /// A Python that has h5py.
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    pub(crate) hdf5_python: PathBuf,

    /// A Python that has LMCache.
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    pub(crate) lmcache_python: PathBuf,
}

/// What a system is started for.
pub(crate) struct Setting<'a> {
    pub(crate) programs: &'a Programs,
    pub(crate) mode: Mode,
    pub(crate) stage: &'a Stage,
    /// Private, empty, in memory: for sockets and logs.
    pub(crate) memory: PathBuf,
    /// Private, empty, in memory or on the disk as the mode says: for what the system keeps in files.
    pub(crate) store: PathBuf,
}

/// What became of a start.
pub(crate) enum Started {
    Running(Box<dyn Driver>),
    Absent(Absent),
}

/// Why a system, or a part of it, is not here, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Absent {
    pub(crate) reason: String,
    /// How to have it, where that can be had.
    pub(crate) install: Option<String>,
}

/// Which program gave the figures.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// As the running system tells it.
    pub(crate) version: String,
    /// Of its server, or of the module where it is a library.
    pub(crate) path: String,
    /// How it is reached and how it keeps blocks, in a line.
    pub(crate) setup: String,
}

/// One pass over blocks.
pub(crate) struct Pass {
    /// How long each call took.
    pub(crate) calls: Vec<Duration>,
    /// What came after the last call, until all that was put was kept.
    pub(crate) settling: Duration,
    /// Calls that did what they should: stored a block, or found one.
    pub(crate) successes: usize,
}

/// A running system and its client.
pub(crate) trait Driver {
    fn identity(&self) -> &Identity;

    /// The processes whose time on a processor is the system's: its servers, and its client.
    fn processes(&self) -> Vec<u32>;

    /// Puts blocks from their sources; they are kept when it returns. Errors: the system is gone, or late.
    fn put(&mut self, stage: &Stage, numbers: &[usize]) -> Result<Pass, Box<dyn Error>>;

    /// Copies blocks to their targets. Errors: as [`put`](Self::put).
    fn get(&mut self, stage: &mut Stage, numbers: &[usize]) -> Result<Pass, Box<dyn Error>>;

    /// Lets go of what it has in memory: files are closed, a server that would keep them in mind is stopped.
    fn rest(&mut self) -> Result<(), Box<dyn Error>> {
        Err("it keeps nothing on the disk".into())
    }

    /// Takes up what its files hold, after [`rest`](Self::rest).
    fn wake(&mut self) -> Result<(), Box<dyn Error>> {
        Err("it keeps nothing on the disk".into())
    }

    /// Forgets the blocks of this round. Their memory stays at hand.
    fn clear(&mut self, stage: &Stage) -> Result<(), Box<dyn Error>>;
}

impl Mode {
    /// Its name, here and on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Hot => "hot",
            Self::Cold => "cold",
        }
    }
}

impl System {
    /// Its name, here and on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Cascade => "cascade",
            Self::Redis => "redis",
            Self::Hdf5 => "hdf5",
            Self::Lmcache => "lmcache",
        }
    }

    /// The ways to keep blocks in it that are worth a row each.
    pub(crate) const fn variants(self) -> &'static [&'static str] {
        match self {
            Self::Hdf5 => &hdf5::VARIANTS,
            _ => &[""],
        }
    }

    /// Starts it. Errors: it is there and does not come up.
    pub(crate) fn start(self, variant: &'static str, setting: &Setting) -> Result<Started, Box<dyn Error>> {
        match self {
            Self::Cascade => cascade::start(setting),
            Self::Redis => redis::start(setting),
            Self::Hdf5 => hdf5::start(setting, variant),
            Self::Lmcache => lmcache::start(setting),
        }
    }
}

impl Pass {
    /// Times calls of this process, one a block: each tells whether it did what it should.
    pub(in crate::compare) fn of(
        numbers: &[usize],
        mut call: impl FnMut(usize) -> Result<bool, Box<dyn Error>>,
    ) -> Result<Self, Box<dyn Error>> {
        let mut pass =
            Self { calls: Vec::with_capacity(numbers.len()), settling: Duration::ZERO, successes: 0 };
        for &number in numbers {
            let start = std::time::Instant::now();
            let success = call(number)?;
            pass.calls.push(start.elapsed());
            pass.successes += usize::from(success);
        }
        Ok(pass)
    }

    /// Seconds of all of it.
    pub(crate) fn total_s(&self) -> f64 {
        (self.calls.iter().sum::<Duration>() + self.settling).as_secs_f64()
    }
}
