//! `gc`: remove what dead nodes of this user left in shared memory.
//!
//! The shm tier decides, by locks: what a living node or client has stays.

use cascade_core::place::user_directory;
use serde::{Deserialize, Serialize};

use super::output::Format;
use super::{Context, Exit, Failure, Run, output, tiers};
use crate::config::Bytes;

/// Remove the segments that dead nodes of this user left in /dev/shm
///
/// A segment that a living node or client has stays, whoever asks and from whichever container. Safe at any time: at
/// the start of a job, in a trap, in a Slurm epilog.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cascade-node gc --dry-run
  cascade-node gc
  trap 'cascade-node gc' EXIT                         in a job script
")]
pub(super) struct Args {
    /// Say what would go, and leave it
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    format: Format,
}

/// What the shm tier's collection answers.
#[derive(Debug, Deserialize, Serialize)]
struct Report {
    root: String,
    dry_run: bool,
    removed: Vec<Removed>,
    kept: Vec<Kept>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Removed {
    directory: String,
    bytes: u64,
    owner: Option<String>,
}

#[derive(Debug, Deserialize, Serialize)]
struct Kept {
    directory: String,
    reason: String,
}

impl Run for Args {
    fn run(self, context: &Context) -> Result<Exit, Failure> {
        let failed = |error: String| Failure::new(Exit::Failed, error);
        let loaded = context.configuration()?;
        let shm = tiers::load("shm", &tiers::folders(&loaded)).map_err(failed)?;
        let root = user_directory(rustix::process::getuid().as_raw());
        let request = serde_json::json!({ "root": root, "dry_run": self.dry_run });
        let answer = shm.collect_garbage(&request.to_string()).map_err(|error| failed(error.to_string()))?;
        let report: Report = serde_json::from_str(&answer)
            .map_err(|error| failed(format!("the shm tier answers otherwise than this node expects: {error}")))?;
        if self.format.json {
            output::json(&report)?;
        } else {
            output::text(&table(&report))?;
        }
        Ok(Exit::Done)
    }
}

fn table(report: &Report) -> String {
    let verb = if report.dry_run { "would remove" } else { "removed" };
    let mut out = String::new();
    for gone in &report.removed {
        let owner = gone.owner.as_ref().map(|owner| format!(", was {owner}")).unwrap_or_default();
        out += &format!("{verb} {} ({}{owner})\n", gone.directory, Bytes(gone.bytes).rounded());
    }
    for kept in &report.kept {
        out += &format!("kept {}: {}\n", kept.directory, kept.reason);
    }
    if out.is_empty() {
        out = format!("nothing in {}\n", report.root);
    }
    out
}
