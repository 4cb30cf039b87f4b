//! Makes room: the oldest containers go, of all writers; but pieces that were loaded lately are kept.
//!
//! Invariants: one collector at a time, by claim; a container is condemned in our manifest a grace before it is deleted, and the
//! grace is longer than the others take to read that and than a read takes. Containers that a living writer has open stay.

use crate::book::{Container, State};
use crate::format::{ContainerId, FileName, Line, Location};
use crate::keeper::Keeper;
use crate::link::ToMover;
use crate::{claim::Claim, fold, salvage};
use cascade_tier::Record;
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::time::{Duration, Instant};

/// Collection begins where so much of the capacity, or of the inodes, is in use, in percent …
const HIGH_PERCENT: u64 = 90;

/// … and ends here.
const LOW_PERCENT: u64 = 80;

/// Pieces of a container that are worth keeping are rewritten if they are at most this part of it; else it stays once more.
const REWRITTEN_PART: u64 = 4;

/// The collector of a store, at work or not.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    claim: Claim,
    /// Containers that were condemned, and since when we know.
    condemned: BTreeMap<ContainerId, Option<Instant>>,
    /// Containers that were given another chance.
    spared: HashSet<ContainerId>,
    try_again_at: Option<Instant>,
    /// The last step was the last that there was to do.
    has_finished: bool,
}

impl Collector {
    pub(crate) fn is_at_work(&self) -> bool {
        self.claim.is_held()
    }

    /// Whether all was done that there was to do.
    pub(crate) fn has_finished(&self) -> bool {
        self.has_finished
    }

    /// Goes a step further, if there is something to do. `asked`: there was no room for a container.
    pub(crate) fn step(&mut self, keeper: &mut Keeper, asked: bool) -> io::Result<()> {
        self.has_finished = false;
        if !self.claim.is_held() {
            let has_work = asked || is_over(keeper, HIGH_PERCENT) || fold::is_due(keeper);
            if !has_work || !self.take_claim(keeper)? {
                return Ok(());
            }
        }
        let expiry = keeper.config().claim_expiry();
        if !self.claim.renew(keeper.directory(), keeper.writer(), expiry)? {
            self.condemned.clear();
            return Ok(());
        }
        self.delete(keeper)?;
        tidy(keeper)?;
        let mut has_spared = false;
        if asked || is_over(keeper, LOW_PERCENT) {
            self.seal_for_the_dead(keeper)?;
            has_spared = self.condemn(keeper)?;
        }
        // What was spared is looked at once more, in the next step.
        if self.condemned.is_empty() && !has_spared {
            fold::fold(keeper)?;
            self.spared.clear();
            self.claim.release(keeper.directory(), keeper.writer())?;
            self.has_finished = true;
        }
        Ok(())
    }

    fn take_claim(&mut self, keeper: &mut Keeper) -> io::Result<bool> {
        if self.try_again_at.is_some_and(|at| at > Instant::now()) {
            return Ok(false);
        }
        self.try_again_at = Some(Instant::now() + keeper.listing_interval());
        // Who collects has to tell of it.
        keeper.voice.make(&mut keeper.holdings)?;
        let expiry = keeper.config().claim_expiry();
        if !self.claim.take(keeper.directory(), keeper.writer(), expiry)? {
            return Ok(false);
        }
        // What a collector before us condemned, it may not have deleted; the others had their grace only if they saw it.
        keeper.list()?;
        let condemned =
            keeper.holdings.book.iter().filter(|(_, container)| container.state == State::Condemned);
        self.condemned = condemned.map(|(id, _)| (id, Some(Instant::now()))).collect();
        Ok(true)
    }

    /// Deletes what was condemned a grace ago.
    fn delete(&mut self, keeper: &mut Keeper) -> io::Result<()> {
        let grace = Duration::from_millis(keeper.config().grace_ms);
        let is_due = |since: &Option<Instant>| since.is_some_and(|since| since.elapsed() >= grace);
        let due: Vec<ContainerId> =
            self.condemned.iter().filter(|(_, since)| is_due(since)).map(|(&id, _)| id).collect();
        for id in due {
            let bytes = keeper.holdings.book.get(id).map_or(0, |container| container.bytes);
            keeper.directory().remove(&FileName::Container(id).to_string())?;
            keeper.voice.push(Line::Gone { container: id });
            keeper.say()?;
            keeper.durable.forget(id);
            self.condemned.remove(&id);
            keeper.count(|counts| {
                counts.collected_containers += 1;
                counts.collected_bytes += bytes;
            });
        }
        Ok(())
    }

    /// Containers of dead writers get no longer than they are: what was reserved for more comes back.
    fn seal_for_the_dead(&self, keeper: &mut Keeper) -> io::Result<()> {
        let is_left = |(id, container): &(ContainerId, &Container)| {
            container.state == State::Open && !keeper.is_living(id.writer)
        };
        let left: Vec<ContainerId> = keeper.holdings.book.iter().filter(is_left).map(|(id, _)| id).collect();
        for container in left {
            let bytes = salvage::length(keeper.directory(), container)?.unwrap_or(0);
            keeper.voice.push(Line::Sealed { container, bytes });
        }
        keeper.say()
    }

    /// Condemns as many of the oldest as it takes to get to where collection ends; whether some were spared on the way.
    fn condemn(&mut self, keeper: &mut Keeper) -> io::Result<bool> {
        let mut candidates: Vec<(u32, ContainerId, u64)> = keeper
            .holdings
            .book
            .iter()
            .filter(|(id, _)| !self.condemned.contains_key(id))
            .filter(|(_, container)| container.state == State::Sealed)
            .map(|(id, container)| (container.opened_unix_s, id, container.bytes))
            .collect();
        candidates.sort_unstable();
        let condemned = self.condemned.keys().filter_map(|&id| keeper.holdings.book.get(id));
        let (mut leaving_bytes, mut leaving_files) = (0, 0);
        for container in condemned {
            leaving_bytes += container.bytes;
            leaving_files += 1;
        }
        let (low_bytes, low_files) = limits(keeper, LOW_PERCENT);
        let mut has_spared = false;
        for (_, id, bytes) in candidates {
            let is_enough = keeper.bytes().saturating_sub(leaving_bytes) <= low_bytes
                && keeper.files().saturating_sub(leaving_files) <= low_files;
            if is_enough {
                break;
            }
            if self.spares(keeper, id, bytes)? {
                has_spared = true;
                continue;
            }
            keeper.voice.push(Line::Condemned { container: id });
            self.condemned.insert(id, None);
            leaving_bytes += bytes;
            leaving_files += 1;
        }
        keeper.say()?;
        // The grace begins when it was said.
        let now = Instant::now();
        self.condemned.values_mut().for_each(|since| *since = since.or(Some(now)));
        Ok(has_spared)
    }

    /// Whether a container is left alone this time, for there is something in it that was loaded lately.
    fn spares(&mut self, keeper: &Keeper, id: ContainerId, bytes: u64) -> io::Result<bool> {
        if self.spared.contains(&id) {
            return Ok(false);
        }
        let hot = keeper.hot_offsets(id);
        if hot.is_empty() {
            return Ok(false);
        }
        let is_hot = |record: &Record| {
            Location::from_extent(record.extent).is_some_and(|location| hot.contains(&location.offset))
        };
        let records: Vec<Record> = keeper.holdings.all_pieces(id)?.into_iter().filter(is_hot).collect();
        self.spared.insert(id);
        if records.iter().map(|record| record.length_bytes).sum::<u64>() <= bytes / REWRITTEN_PART {
            // They are read before the container is condemned, or in its grace.
            keeper.say_to_mover(ToMover::Rewrite(records));
        }
        Ok(true)
    }
}

/// Whether more than so much of what there may be is in use.
fn is_over(keeper: &Keeper, percent: u64) -> bool {
    let (bytes, files) = limits(keeper, percent);
    keeper.bytes() > bytes || keeper.files() > files
}

fn limits(keeper: &Keeper, percent: u64) -> (u64, u64) {
    let config = keeper.config();
    (config.capacity_bytes / 100 * percent, config.inodes_max * percent / 100)
}

/// Takes away what is of no use to anybody: manifests that were folded, and files that were never finished.
fn tidy(keeper: &mut Keeper) -> io::Result<()> {
    let expiry = keeper.config().claim_expiry();
    let unfinished = keeper.holdings.unfinished.iter().filter(|(_, since)| since.elapsed() >= expiry);
    let mut useless: Vec<FileName> = unfinished.map(|(&name, _)| name).collect();
    useless.extend(std::mem::take(&mut keeper.holdings.leftovers));
    for name in useless {
        keeper.directory().remove(&name.to_string())?;
        keeper.holdings.unfinished.remove(&name);
    }
    Ok(())
}
