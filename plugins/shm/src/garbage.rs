//! Removes segments that nobody has.
//! Invariants: locks decide, never pids, so it is right from any PID namespace. A segment goes only while its owner's lock is
//! held by the collector and no client has a lock on its page; what is not certainly a dead segment of this user stays.

use crate::config::OWNER_FILE;
use crate::directory::{Directory, failed};
use crate::owner::{Attempt, OwnerLock};
use crate::segment::remove;
use crate::sys;
use cascade_tier::TierError;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// The file whose byte ranges clients lock, a range a client.
pub(crate) const CLIENT_PAGES_FILE: &str = "pages";

/// What `collect_garbage` takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GarbageConfig {
    /// The folder whose subfolders are segments.
    root: PathBuf,
    /// Say what would go, and leave it.
    #[serde(default)]
    dry_run: bool,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    root: PathBuf,
    dry_run: bool,
    removed: Vec<Removed>,
    kept: Vec<Kept>,
}

#[derive(Debug, Serialize)]
struct Removed {
    directory: PathBuf,
    bytes: u64,
    owner: Option<String>,
}

#[derive(Debug, Serialize)]
struct Kept {
    directory: PathBuf,
    reason: String,
}

/// What to do with a folder.
enum Verdict {
    Remove { bytes: u64, owner: Option<String> },
    Keep(String),
}

pub(crate) fn collect(config: &GarbageConfig) -> Result<String, TierError> {
    let mut report = Report { root: config.root.clone(), dry_run: config.dry_run, ..Report::default() };
    for directory in subfolders(&config.root)? {
        // One folder that cannot be judged must not keep the others.
        let verdict =
            collect_one(&directory, config.dry_run).unwrap_or_else(|error| Verdict::Keep(error.message));
        match verdict {
            Verdict::Remove { bytes, owner } => report.removed.push(Removed { directory, bytes, owner }),
            Verdict::Keep(reason) => report.kept.push(Kept { directory, reason }),
        }
    }
    Ok(serde_json::to_string(&report).unwrap_or_default())
}

fn subfolders(root: &Path) -> Result<Vec<PathBuf>, TierError> {
    let unreadable = |error: std::io::Error| {
        failed("list", root, rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO))
    };
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut folders = Vec::new();
    for entry in entries {
        let entry = entry.map_err(unreadable)?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            folders.push(entry.path());
        }
    }
    folders.sort();
    Ok(folders)
}

fn collect_one(path: &Path, dry_run: bool) -> Result<Verdict, TierError> {
    let keep = |reason: &str| Ok(Verdict::Keep(reason.to_owned()));
    let Some(directory) = Directory::open(path)? else { return keep("gone meanwhile") };
    let files = directory.files()?;
    if !files.iter().any(|name| name == OWNER_FILE) {
        if !files.is_empty() {
            return keep("it is no segment: it has files, but no owner's");
        }
        // What is left of one that was removed, or the beginning of one: the maker makes it again.
        if !dry_run {
            directory.remove_empty()?;
        }
        return Ok(Verdict::Remove { bytes: 0, owner: None });
    }
    let (lock, previous) = match OwnerLock::attempt(&directory)? {
        Attempt::Taken(lock, previous) => (lock, previous),
        Attempt::Gone => return keep("gone meanwhile"),
        Attempt::Held(Some(owner)) => return Ok(Verdict::Keep(format!("its owner has it: {owner}"))),
        Attempt::Held(None) => return keep("its owner has it, and is just starting or stopping"),
    };
    if let Some(pages) = directory.open_file(CLIENT_PAGES_FILE)? {
        let page_path = path.join(CLIENT_PAGES_FILE);
        if sys::is_locked(&pages).map_err(|error| failed("look at the locks of", &page_path, error))? {
            return keep(
                "its owner is gone, but a client lives and may be reading; it goes when that client does",
            );
        }
    }
    let bytes = allocated_bytes(&directory, &files);
    if !dry_run {
        remove(&directory)?;
    }
    drop(lock);
    Ok(Verdict::Remove { bytes, owner: previous.map(|owner| owner.to_string()) })
}

fn allocated_bytes(directory: &Directory, files: &[String]) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let size = |name: &String| {
        fs::symlink_metadata(directory.path().join(name)).map_or(0, |file| file.blocks() * 512)
    };
    files.iter().map(size).sum()
}
