//! Jobs: what somebody asked the node to do with all that it holds, a step at a time.
//!
//! A job has a number, advances in the pump beside everything else, and tells how far it is. Invariants: a step looks at a bounded
//! number of blocks and waits for nothing; a job ends, if only because nothing moved for a while; `persist` says that it is
//! finished only after a sync that came after the last of its writes.

mod forget;
mod warm;

use std::collections::BTreeMap;

use cascade_core::flow::NowNs;
use cascade_core::policy::BlockId;
use cascade_tier::{Action, NO_DEADLINE};
use serde_json::{Value, json};

use forget::Forget;
pub use forget::What;
use warm::Warm;

use super::below::{Direction, Ended};
use super::demote::{For, Written, sweep};
use super::lower::Lower;
use super::promote::Answered;
use super::store::Store;

/// How long a job waits for a tier that does nothing.
const PATIENCE_NS: u64 = 60_000_000_000;
/// How often what could not be written is tried again.
const PASSES_MAX: u32 = 3;
/// Jobs that are remembered after their end.
const FINISHED_MAX: usize = 64;
/// Of these, so many are shown beside those under way.
const ENDED_SHOWN: usize = 5;
/// Blocks of the policy's order that a drain begins with.
const HOT_BLOCKS: usize = 4096;

/// What is to be done.
#[derive(Debug)]
pub enum Task {
    /// Write all that only memory has, and sync.
    Persist,
    /// The same, most useful first, and no longer than until then.
    Drain {
        /// When it has to be over.
        until_ns: NowNs,
    },
    /// Bring pieces into free memory, those stored last first.
    Warm {
        /// So many bytes.
        bytes: u64,
    },
    /// Drop pieces from memory and below.
    Forget(What),
}

/// One job.
#[derive(Debug)]
struct Job {
    name: &'static str,
    step: Step,
    /// When it has to be over.
    until_ns: NowNs,
    moved_ns: NowNs,
    done: u64,
    total: u64,
    bytes: u64,
    /// Writes that failed, of whomever, since the present pass began.
    failed: u64,
    pass: u32,
    end: Option<Result<(), String>>,
}

/// Where a job is.
#[derive(Debug)]
enum Step {
    /// The most useful first: so many of the policy's order.
    Hot(usize),
    /// All blocks, from this handle on.
    Sweep(u32),
    /// What was asked for up to this request is to end.
    Settle(u64),
    /// The sync of this number is to end.
    Sync(u64),
    Warm(Box<Warm>),
    Forget(Box<Forget>),
}

/// All jobs.
#[derive(Debug, Default)]
pub struct Jobs {
    jobs: BTreeMap<u64, Job>,
    last: u64,
}

impl Jobs {
    /// Begins a job; its number.
    pub fn begin(&mut self, store: &mut Store, task: Task, now: NowNs) -> u64 {
        let (name, step, until_ns) = match task {
            Task::Persist => ("persist", Step::Sweep(0), NO_DEADLINE),
            Task::Drain { until_ns } => {
                store.is_draining = true;
                ("drain", Step::Hot(HOT_BLOCKS), until_ns)
            }
            Task::Warm { bytes } => ("warm", Step::Warm(Box::new(Warm::new(bytes))), NO_DEADLINE),
            Task::Forget(what) => ("forget", Step::Forget(Box::new(Forget::new(what))), NO_DEADLINE),
        };
        let writes = matches!(step, Step::Sweep(_) | Step::Hot(_));
        let total = if writes { store.dirty_pieces_total() as u64 } else { 0 };
        self.last += 1;
        let job = Job {
            name,
            step,
            until_ns,
            moved_ns: now,
            done: 0,
            total,
            bytes: 0,
            failed: 0,
            pass: 1,
            end: None,
        };
        self.jobs.insert(self.last, job);
        let finished = self.jobs.iter().filter(|(_, job)| job.end.is_some());
        if let (Some((&oldest, _)), true) = (finished.clone().next(), finished.count() > FINISHED_MAX) {
            self.jobs.remove(&oldest);
        }
        self.last
    }

    /// Whether a job is under way.
    pub fn is_busy(&self) -> bool {
        self.jobs.values().any(|job| job.end.is_none())
    }

    /// Whether a job has come to its end.
    pub fn is_finished(&self, number: u64) -> bool {
        self.jobs.get(&number).is_none_or(|job| job.end.is_some())
    }

    /// How long a job has not moved.
    pub(super) fn idle_ns(&self, number: u64, now: NowNs) -> u64 {
        self.jobs.get(&number).map_or(0, |job| now.saturating_sub(job.moved_ns))
    }

    /// How far a job is.
    pub fn report(&self, number: u64) -> Option<Value> {
        let job = self.jobs.get(&number)?;
        let error = job.end.as_ref().and_then(|end| end.as_ref().err());
        Some(json!({
            "job": number,
            "name": job.name,
            "done": job.done,
            "total": job.total,
            "bytes": job.bytes,
            "finished": job.end.is_some(),
            "error": error,
        }))
    }

    /// Those that are under way, and the last that ended.
    pub fn reports(&self) -> Vec<Value> {
        let ended = self.jobs.values().filter(|job| job.end.is_some()).count();
        let mut left_out = ended.saturating_sub(ENDED_SHOWN);
        let mut is_shown = |number: &u64| {
            let is_left_out = left_out > 0 && self.is_finished(*number);
            left_out -= usize::from(is_left_out);
            !is_left_out
        };
        self.jobs.keys().copied().filter(&mut is_shown).filter_map(|number| self.report(number)).collect()
    }

    /// Brings all jobs a step further; whether there was anything to do. `answered` are wishes that are over.
    pub fn advance(
        &mut self,
        store: &mut Store,
        mut lower: Option<&mut Lower>,
        answered: &[Answered],
        now: NowNs,
    ) -> bool {
        let mut moved = false;
        let (written, ended) = lower.as_deref_mut().map(Lower::take_ended).unwrap_or_default();
        let heard = Heard { answered, ended: &ended };
        for (&number, job) in self.jobs.iter_mut().filter(|(_, job)| job.end.is_none()) {
            let before = job.moved_ns;
            job.hear(For::Job(number), &written, now);
            let end = job.advance(number, store, lower.as_deref_mut(), heard, now);
            job.end = end.or_else(|| job.give_up(lower.as_deref(), now));
            moved |= job.end.is_some() || job.moved_ns != before;
            if let (Some(end), Some(lower)) = (&job.end, lower.as_deref_mut()) {
                lower.demotions.forget(For::Job(number));
                match end {
                    Ok(()) => tracing::info!(number, name = job.name, bytes = job.bytes, "a job is done"),
                    Err(error) => tracing::warn!(number, name = job.name, error, "a job ended early"),
                }
            }
        }
        moved
    }
}

impl Job {
    /// Takes up what became of writes: its own count, and those of others are to be tried again if they failed.
    fn hear(&mut self, whom: For, written: &[Written], now: NowNs) {
        for written in written {
            self.failed += u64::from(!written.is_stored);
            if written.whom == whom && written.is_stored {
                (self.done, self.bytes, self.moved_ns) = (self.done + 1, self.bytes + written.bytes, now);
            }
        }
    }

    fn advance(
        &mut self,
        number: u64,
        store: &mut Store,
        lower: Option<&mut Lower>,
        heard: Heard<'_>,
        now: NowNs,
    ) -> Option<Result<(), String>> {
        let whom = For::Job(number);
        match &mut self.step {
            Step::Forget(forget) => {
                let progress = forget.advance(store, lower, heard, now);
                self.moved_ns = if progress.moved { now } else { self.moved_ns };
                (self.done, self.total, self.bytes) = (progress.done, progress.total, progress.bytes);
                return progress.end;
            }
            Step::Warm(warm) => {
                let Some(lower) = lower else { return Some(Err(NO_TIER.to_owned())) };
                let progress = warm.advance(store, lower, heard, now);
                self.moved_ns = if progress.moved { now } else { self.moved_ns };
                (self.done, self.total, self.bytes) = (progress.done, progress.total, progress.bytes);
                return progress.end;
            }
            _ => {}
        }
        let Some(lower) = lower else { return Some(Err(NO_TIER.to_owned())) };
        match self.step {
            Step::Hot(limit) if lower.demotions.takes_more() => {
                let mut blocks: Vec<BlockId> = Vec::new();
                store.policy.hottest(limit, &mut blocks);
                let is_all = blocks.len() < limit;
                blocks.retain(|&block| store.dirty_pieces(block).next().is_some());
                self.step = match blocks.is_empty() {
                    true if is_all => Step::Sweep(0),
                    true => Step::Hot(limit * 2),
                    false => Step::Hot(limit),
                };
                lower.demotions.want(store, &mut blocks, whom);
                self.moved_ns = now;
            }
            Step::Sweep(next) if lower.demotions.takes_more() => {
                let mut blocks = Vec::new();
                let next = sweep(store, next, &mut blocks);
                lower.demotions.want(store, &mut blocks, whom);
                self.step = next.map_or(Step::Settle(u64::MAX), Step::Sweep);
                self.moved_ns = now;
            }
            Step::Settle(_) if lower.demotions.waits_for(whom) => {}
            // All that the job wanted is under way or done: what ends from here on was asked for before this.
            Step::Settle(u64::MAX) => self.step = Step::Settle(lower.below.next_request()),
            Step::Settle(before) if lower.demotions.oldest().is_none_or(|oldest| oldest >= before) => {
                if self.failed == 0 {
                    self.step = Step::Sync(lower.below.ask(now, Action::Sync, NO_DEADLINE));
                } else if self.pass < PASSES_MAX {
                    (self.pass, self.failed, self.step) = (self.pass + 1, 0, Step::Sweep(0));
                } else {
                    let (failed, state) = (self.failed, lower.below.state(now));
                    return Some(Err(format!("{failed} pieces could not be written: the tier is {state}")));
                }
            }
            Step::Sync(request) => match heard.synced(request)? {
                Err(_) if self.pass < PASSES_MAX => {
                    (self.pass, self.failed, self.step) = (self.pass + 1, 0, Step::Sweep(0));
                }
                end => {
                    self.done = self.done.max(self.total);
                    return Some(end);
                }
            },
            _ => {}
        }
        None
    }

    /// Whether a job has to end as it is: its time is over, or nothing moves.
    fn give_up(&self, lower: Option<&Lower>, now: NowNs) -> Option<Result<(), String>> {
        if now >= self.until_ns {
            let left = self.total.saturating_sub(self.done);
            return Some(Err(format!("its time is over; {left} pieces are not written")));
        }
        if now.saturating_sub(self.moved_ns) < PATIENCE_NS {
            return None;
        }
        let waits = lower.is_some_and(|lower| lower.below.is_given_up(now, Direction::Write));
        let why = if waits { "the tier does not answer" } else { "nothing has moved for a minute" };
        Some(Err(why.to_owned()))
    }
}

/// What ended since the last step.
#[derive(Clone, Copy, Debug)]
struct Heard<'a> {
    answered: &'a [Answered],
    ended: &'a [Ended],
}

impl Heard<'_> {
    /// How a wish ended, if it did.
    fn granted(&self, wish: u64) -> Option<&Answered> {
        self.answered.iter().find(|answered| answered.wish == wish)
    }

    /// How a sync ended, if it did.
    fn synced(&self, request: u64) -> Option<Result<(), String>> {
        let ended = self.ended.iter().find(|ended| ended.request == request)?;
        Some(match ended.status.is_ok() {
            true => Ok(()),
            false => Err(format!("the sync ended with {}", ended.status)),
        })
    }
}

/// What a step of a job came to.
#[derive(Debug, Default)]
struct Progress {
    done: u64,
    total: u64,
    bytes: u64,
    moved: bool,
    end: Option<Result<(), String>>,
}

const NO_TIER: &str = "no lower tier is open: name a folder in CASCADE_DIR or lustre.directory";
