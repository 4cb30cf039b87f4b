//! `gc`: remove what dead nodes of this user left in shared memory, and make room in the store.
//!
//! The tiers decide: what a living node or client has stays, by the shm tier's locks, and by the claims and graces of the store.

use cascade_core::place::user_directory;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::output::Format;
use super::store::StoreFlag;
use super::{Context, Exit, Failure, Run, output, tiers};
use crate::config::{Bytes, Loaded, Override};
use crate::engine::{LOWER_TIER, lower_configuration};

/// Remove what dead nodes left in /dev/shm, and make room in the store
///
/// A segment that a living node or client has stays, whoever asks and from whichever container. In the store, if there is
/// one: manifests of the dead are folded into one, and if it is nearly full, its oldest containers go, as a node would do
/// it. That may take a minute, for what goes stays readable for a while; --segments leaves the store alone, and --store
/// looks at no segment. Safe at any time: at the start of a job, in a trap, in a Slurm epilog.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cascade-node gc --dry-run
  cascade-node gc
  trap 'cascade-node gc --segments' EXIT              in a job script
")]
pub(super) struct Args {
    /// Say what would go, and leave it
    #[arg(long)]
    dry_run: bool,

    /// Only what is in /dev/shm
    #[arg(long, conflicts_with = "store")]
    segments: bool,

    #[command(flatten)]
    store: StoreFlag,
    #[command(flatten)]
    format: Format,
}

/// What was done.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    segments: Option<Segments>,
    stores: Vec<Store>,
    #[serde(skip)]
    dry_run: bool,
}

/// What the shm tier's collection answers.
#[derive(Debug, Deserialize, Serialize)]
struct Segments {
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

/// What the file-system tier's collection answers of a store.
#[derive(Debug, Deserialize, Serialize)]
struct Store {
    directory: String,
    bytes: u64,
    files: u64,
    capacity_bytes: u64,
    bytes_left: u64,
    files_left: u64,
    dead_manifests: u64,
    removed_containers: u64,
    removed_bytes: u64,
    folded_manifests: u64,
    /// Why not all went that would.
    kept: Option<String>,
}

impl Run for Args {
    fn overrides(&self) -> Vec<Override> {
        self.store.overrides()
    }

    fn run(self, context: &Context) -> Result<Exit, Failure> {
        let loaded = context.configuration()?;
        let root = user_directory(rustix::process::getuid().as_raw());
        let request = json!({ "root": root, "dry_run": self.dry_run });
        let segments = if self.store.is_given() { None } else { Some(collect(&loaded, "shm", &request)?) };
        // What became of the segments is told whatever becomes of the store.
        let (stores, failed) = match self.collect_in_stores(&loaded) {
            Ok(stores) => (stores, None),
            Err(failure) => (Vec::new(), Some(failure)),
        };
        let report = Report { segments, stores, dry_run: self.dry_run };
        if self.format.json {
            output::json(&report)?;
        } else {
            output::text(&report.page())?;
        }
        failed.map_or(Ok(Exit::Done), Err)
    }
}

impl Args {
    fn collect_in_stores(&self, loaded: &Loaded) -> Result<Vec<Store>, Failure> {
        #[derive(Deserialize)]
        struct Answer {
            stores: Vec<Store>,
        }
        let Some(mut request) = lower_configuration(&loaded.config).filter(|_| !self.segments) else {
            return Ok(Vec::new());
        };
        request["dry_run"] = self.dry_run.into();
        let is_wanted =
            self.store.is_given() || loaded.config.plugins.required.iter().any(|name| name == LOWER_TIER);
        match tiers::load(LOWER_TIER, &tiers::folders(loaded)) {
            Err(error) if !is_wanted => {
                tracing::warn!(tier = LOWER_TIER, error, "the store is left alone, without an optional tier");
                Ok(Vec::new())
            }
            _ => Ok(collect::<Answer>(loaded, LOWER_TIER, &request)?.stores),
        }
    }
}

/// Has a tier collect, and reads what it tells of it.
fn collect<T: for<'de> Deserialize<'de>>(loaded: &Loaded, tier: &str, request: &Value) -> Result<T, Failure> {
    let failed = |error: String| Failure::new(Exit::Failed, error);
    let library = tiers::load(tier, &tiers::folders(loaded)).map_err(failed)?;
    let answer = library.collect_garbage(&request.to_string()).map_err(|error| failed(error.to_string()))?;
    serde_json::from_str(&answer).map_err(|error| {
        failed(format!("the {tier} tier answers otherwise than this program expects: {error}"))
    })
}

impl Report {
    /// What was done, for people.
    fn page(&self) -> String {
        let mut out = self.segments.as_ref().map(Segments::lines).unwrap_or_default();
        for store in &self.stores {
            out += &store.sentence(self.dry_run);
        }
        out
    }
}

impl Segments {
    fn lines(&self) -> String {
        let Self { root, dry_run, removed, kept } = self;
        let verb = if *dry_run { "would remove" } else { "removed" };
        let mut out = String::new();
        for gone in removed {
            let owner = gone.owner.as_ref().map(|owner| format!(", was {owner}")).unwrap_or_default();
            out += &format!("{verb} {} ({}{owner})\n", gone.directory, Bytes(gone.bytes).rounded());
        }
        for kept in kept {
            out += &format!("kept {}: {}\n", kept.directory, kept.reason);
        }
        if out.is_empty() {
            out = format!("nothing in {root}\n");
        }
        out
    }
}

impl Store {
    fn sentence(&self, dry_run: bool) -> String {
        let mut done = Vec::new();
        if self.removed_containers > 0 {
            let bytes = Bytes(self.removed_bytes).rounded();
            done.push(format!("removed {} containers ({bytes})", self.removed_containers));
        }
        if self.folded_manifests > 0 {
            done.push(format!("folded {} manifests", self.folded_manifests));
        }
        if dry_run && self.dead_manifests > 0 {
            done.push(format!("{} manifests of dead writers", self.dead_manifests));
        }
        done.push(format!(
            "{} of {} in use, {} files",
            Bytes(self.bytes_left).rounded(),
            Bytes(self.capacity_bytes).rounded(),
            self.files_left
        ));
        done.extend(self.kept.iter().map(|why| format!("stopped: {why}")));
        format!("{}: {}\n", self.directory, done.join(", "))
    }
}
