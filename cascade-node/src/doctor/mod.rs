//! Is this machine fit for a node? Each check says what is and, where that is not well, what to do.
//!
//! Facts come from one place, [`Machine`]; every check is a function of facts and configuration, so a test can point it
//! at a fake tree. Nothing here changes the machine. One file holds one group of checks.

mod capacity;
mod cgroup;
mod identity;
mod io_uring;
mod limits;
mod logind;
mod machine;
mod mounts;
mod numa;
mod pages;
mod paths;
mod processor;
mod shm;

use serde::Serialize;

pub use io_uring::Probe;
pub use machine::{Machine, Space};

use crate::config::Config;

/// How well it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// A node runs, but slower or at some risk.
    Warn,
    /// A node does not run, or not safely.
    Fail,
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How well it is.
    pub status: Status,
    /// What is.
    pub found: String,
    /// What to do; always there unless all is well.
    pub advice: Option<String>,
}

/// All checks, in the order in which they matter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// No check failed.
    pub fit: bool,
    /// What they found.
    pub checks: Vec<Check>,
}

impl Check {
    pub(crate) fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, status: Status::Ok, found: found.into(), advice: None }
    }

    pub(crate) fn warn(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, status: Status::Warn, found: found.into(), advice: Some(advice.into()) }
    }

    pub(crate) fn fail(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, status: Status::Fail, found: found.into(), advice: Some(advice.into()) }
    }
}

impl From<Vec<Check>> for Report {
    fn from(checks: Vec<Check>) -> Self {
        Self { fit: checks.iter().all(|check| check.status != Status::Fail), checks }
    }
}

impl Report {
    /// The check of that name.
    pub fn check(&self, name: &str) -> Option<&Check> {
        self.checks.iter().find(|check| check.name == name)
    }
}

/// Looks at everything that a node with this configuration depends on.
pub fn examine(machine: &Machine, config: &Config) -> Vec<Check> {
    let mounts = mounts::read(machine);
    let cgroup = cgroup::read(machine, &mounts);
    [
        identity::checks(machine, config),
        paths::checks(machine, config),
        shm::checks(machine, &mounts),
        cgroup::checks(&cgroup),
        capacity::checks(machine, cgroup.as_ref(), config),
        pages::checks(machine, config),
        numa::checks(machine, config),
        limits::checks(machine, config),
        io_uring::checks(machine),
        logind::checks(machine),
        processor::checks(machine),
    ]
    .into_iter()
    .flatten()
    .collect()
}
