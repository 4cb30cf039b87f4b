//! A segment: a folder, its lock, its regions; adopted or made.
//! Invariants: nothing in the folder is touched before its lock is ours. What is replaced is unlinked and made anew, never
//! shortened, so clients that map the old files keep them. A segment is adopted whole or not at all.

use crate::config::{Config, Mode, OWNER_FILE, RegionConfig, is_region_name};
use crate::directory::{Directory, failed};
use crate::owner::{Attempt, Liveness, OwnerLock, OwnerRecord, boot_id};
use crate::region::Region;
use cascade_core::place::directory_suffixes;
use cascade_tier::{CloseMode, Status, TierError};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How often a dying owner is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// How long whoever holds a lock is given that may be no owner: one that has no record may be just writing it; one that
/// cannot be looked at may be dead, and the holder a `gc` that is just removing what it left.
const HOLDER_WAIT: Duration = Duration::from_secs(1);

/// An owned segment. Its regions go to whoever works on them.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) directory: Directory,
    pub(crate) origin: Origin,
    pub(crate) warnings: Vec<String>,
    lock: OwnerLock,
}

/// Where a segment's content comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A dead owner left it.
    Adopted(OwnerRecord),
    /// It is new; why nothing was adopted.
    Created(String),
}

impl Segment {
    /// Takes the configured folder, or the next beside it while a killed owner of it cannot exit.
    pub(crate) fn open(config: &Config) -> Result<(Segment, Vec<Region>), TierError> {
        let folders: Vec<PathBuf> =
            directory_suffixes().map(|suffix| beside(&config.directory, &suffix)).collect();
        // A node may live beside a folder whose killed owner is gone by now: it still is the instance's node.
        for folder in &folders[1..] {
            refuse_living_beside(folder)?;
        }
        let deadline = Instant::now() + Duration::from_millis(config.owner_wait_ms);
        let mut warnings = Vec::new();
        for folder in &folders {
            match take(folder, deadline)? {
                Ok((directory, lock, previous)) => {
                    return Segment::fill(config, directory, lock, previous, warnings);
                }
                Err(reason) => warnings.push(format!("{}: left to `gc`, {reason}", folder.display())),
            }
        }
        let all = warnings.join("; ");
        Err(TierError::new(
            Status::OWNED,
            format!("every folder of this instance has an owner that cannot exit: {all}"),
        ))
    }

    fn fill(
        config: &Config,
        directory: Directory,
        lock: OwnerLock,
        previous: Option<OwnerRecord>,
        mut warnings: Vec<String>,
    ) -> Result<(Segment, Vec<Region>), TierError> {
        let record = OwnerRecord::of_this_process(&config.owner);
        let describe = |error| failed("describe the owner of", directory.path(), error);
        let (regions, origin) = match adopt(config, &directory, previous, &mut warnings)? {
            Ok((regions, previous)) => (regions, Origin::Adopted(previous)),
            Err(reason) => {
                // Not ready: whoever finds this after we were killed in the middle makes it anew.
                lock.write(Some(&record)).map_err(describe)?;
                directory.clear_except(OWNER_FILE)?;
                let made: Result<Vec<Region>, TierError> = config
                    .regions
                    .iter()
                    .map(|region| Region::create(&directory, region, &mut warnings))
                    .collect();
                if made.is_err() {
                    remove(&directory)?;
                }
                (made?, Origin::Created(reason))
            }
        };
        lock.write(Some(&OwnerRecord { ready: true, ..record })).map_err(describe)?;
        Ok((Segment { directory, origin, warnings, lock }, regions))
    }

    /// Lets go of the segment.
    pub(crate) fn close(self, mode: CloseMode) -> Result<(), TierError> {
        match mode {
            CloseMode::Leave => Ok(()),
            CloseMode::Unlink => remove(&self.directory),
            CloseMode::Discard => {
                let emptied = self.lock.write(None);
                emptied.map_err(|error| failed("discard", self.directory.path(), error))?;
                self.directory.clear_except(OWNER_FILE)
            }
        }
        // The lock goes last, with `self`.
    }
}

/// Removes a segment whose lock is ours: the lock's file last, so that nobody takes what is half gone.
pub(crate) fn remove(directory: &Directory) -> Result<(), TierError> {
    directory.clear_except(OWNER_FILE)?;
    directory.remove_file(OWNER_FILE)?;
    directory.remove_empty()
}

/// A folder of the instance whose first one is `path`.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

type Taken = (Directory, OwnerLock, Option<OwnerRecord>);

/// Takes a folder's lock. The inner error is the reason why its owner, though killed, has it still.
fn take(folder: &Path, deadline: Instant) -> Result<Result<Taken, String>, TierError> {
    let settled_by = Instant::now() + HOLDER_WAIT;
    loop {
        let directory = Directory::create(folder)?;
        match OwnerLock::attempt(&directory)? {
            Attempt::Taken(lock, previous) => return Ok(Ok((directory, lock, previous))),
            Attempt::Gone => continue,
            Attempt::Held(record) if may_be_no_owner(record.as_ref()) && Instant::now() < settled_by => {}
            Attempt::Held(record) => {
                let reason = refuse_living(folder, record.as_ref())?;
                if Instant::now() >= deadline {
                    return Ok(Err(reason));
                }
            }
        }
        sleep(LOOK_AGAIN);
    }
}

/// `OWNED` if a living owner has the folder. It is only looked at, not taken.
fn refuse_living_beside(folder: &Path) -> Result<(), TierError> {
    let settled_by = Instant::now() + HOLDER_WAIT;
    loop {
        let Some(directory) = Directory::open(folder)? else { return Ok(()) };
        let Some(record) = OwnerLock::holder(&directory)? else { return Ok(()) };
        if !may_be_no_owner(record.as_ref()) || Instant::now() >= settled_by {
            return refuse_living(folder, record.as_ref()).map(drop);
        }
        sleep(LOOK_AGAIN);
    }
}

/// Whether the holder of a lock may be somebody else than the owner of the segment, who lets go in a moment.
fn may_be_no_owner(record: Option<&OwnerRecord>) -> bool {
    record.is_none_or(|record| record.liveness() == Liveness::OutOfSight)
}

/// `OWNED` for a living owner, or one that nothing shows to be dead, else why it is taken for a dying one.
fn refuse_living(folder: &Path, record: Option<&OwnerRecord>) -> Result<String, TierError> {
    let liveness = record.map_or(Liveness::Living, OwnerRecord::liveness);
    match liveness {
        Liveness::Dying(reason) => Ok(reason),
        Liveness::Living | Liveness::OutOfSight => {
            let owner =
                record.map_or_else(|| "a process that is just starting".to_owned(), ToString::to_string);
            Err(TierError::new(
                Status::OWNED,
                format!("{}: owned by {owner}; stop it, or choose another instance name", folder.display()),
            ))
        }
    }
}

type Adopted = (Vec<Region>, OwnerRecord);

/// Adopts what lies in the folder, whole. The inner error is the reason why not.
fn adopt(
    config: &Config,
    directory: &Directory,
    previous: Option<OwnerRecord>,
    warnings: &mut Vec<String>,
) -> Result<Result<Adopted, String>, TierError> {
    let Some(previous) = previous else { return Ok(Err("there was none".to_owned())) };
    if config.mode == Mode::Create {
        return Ok(Err("a new one was asked for".to_owned()));
    }
    if previous.boot_id != boot_id() {
        return Ok(Err("the old one is of another boot".to_owned()));
    }
    if !previous.ready {
        return Ok(Err("the old one was never finished".to_owned()));
    }
    let mut regions = Vec::new();
    for region in with_leftovers(config, directory)? {
        match Region::adopt(directory, &region, warnings)? {
            Some(adopted) => regions.push(adopted),
            None => return Ok(Err(format!("the old one lacks the region {:?}", region.name))),
        }
    }
    Ok(Ok((regions, previous)))
}

/// The regions that were asked for, and after them what else the folder has: an adopted segment is what it is.
fn with_leftovers(config: &Config, directory: &Directory) -> Result<Vec<RegionConfig>, TierError> {
    let mut regions = config.regions.clone();
    for name in directory.files()? {
        if name.starts_with("arena-")
            && is_region_name(&name)
            && !regions.iter().any(|region| region.name == name)
        {
            regions.push(RegionConfig {
                name,
                bytes: 1,
                numa: None,
                huge_pages: Default::default(),
                prefault: false,
            });
        }
    }
    Ok(regions)
}
