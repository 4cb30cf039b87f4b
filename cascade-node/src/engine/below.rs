//! The open lower tier: what it is asked, how it answers, and whether it is asked at all.
//!
//! A request goes out if the breaker of its direction lets it, the governor does, and the tier has room; then it is under way
//! until its one completion. Invariants: no call here waits for a file system, as no call of the ABI does; what is under way
//! longer than the tier may hang opens the breaker, and keeps it open until it is back; whoever asked is told the end of every
//! request that was taken, also when the tier fails as a whole. A tier that cannot be written is still read.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsRawFd, RawFd};

use cascade_core::breaker::{Breaker, Event, Limits, State};
use cascade_core::flow::NowNs;
use cascade_core::governor::{Governor, Rate, Urgency};
use cascade_core::pace::Pace;
use cascade_core::stored::ExtentWords;
use cascade_tier::capability::feature;
use cascade_tier::{
    Action, Capabilities, CloseMode, Completion, Library, Memory, MemoryId, MemoryRange, News, OpenTier,
    Operation, Status, TierError,
};
use serde_json::{Value, json};

use crate::config;

/// A sync writes out what many stores left behind: it may take so many times as long as any other operation.
const SYNC_PATIENCE: u64 = 20;
/// The share of the tier's queue that writes leave to reads, as a divisor.
const READS_SHARE: u64 = 4;
/// The governor's burst is what a rate brings in this part of a second, as a divisor.
const BURST_SHARE: u64 = 4;

/// Which way an operation goes: the two have a breaker and a pace each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// From the tier.
    Read,
    /// To the tier.
    Write,
}

/// One request that ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    /// The number that [`Below::ask`] gave.
    pub(super) request: u64,
    /// How.
    pub(super) status: Status,
    /// Where a stored piece lies.
    pub(super) extent: ExtentWords,
}

#[derive(Clone, Copy, Debug)]
struct UnderWay {
    direction: Direction,
    bytes: u64,
    began_ns: NowNs,
    was_alone: bool,
    is_overdue: bool,
}

/// The tier.
#[derive(Debug)]
pub(super) struct Below {
    tier: Option<OpenTier>,
    name: String,
    capabilities: Capabilities,
    /// The tier's name for the memory of each arena.
    memories: Vec<(u8, MemoryId)>,
    reads: Breaker,
    writes: Breaker,
    governor: Governor,
    read_pace: Pace,
    write_pace: Pace,
    under_way: HashMap<u64, UnderWay>,
    /// What is under way, oldest first, with what ended since in between; syncs are in a row of their own.
    by_age: [VecDeque<u64>; 2],
    /// Taken, and not yet by the tier.
    outbox: VecDeque<Operation>,
    ended: Vec<Ended>,
    completions: Vec<Completion>,
    next_request: u64,
    hang_ns: u64,
    pause_ns: u64,
    /// Until when nothing is written, because the last write found no room; 0 since one found some.
    full_until_ns: NowNs,
    is_listed: bool,
    /// Why the tier is of no use any more.
    failure: Option<String>,
    was_fenced: bool,
    was_full: bool,
}

impl Below {
    /// Opens the tier and makes the arenas' memory known to it.
    ///
    /// # Safety
    /// The memories stay where they are until this is closed or dropped, and are accessed as the protocol of slots allows.
    ///
    /// # Errors
    /// What the tier answers.
    pub(super) unsafe fn open(
        library: &Library,
        configuration: &str,
        arenas: &[(u8, Memory)],
        flow: &config::Flow,
    ) -> Result<Self, TierError> {
        let mut tier = library.open(configuration)?;
        let capabilities = tier.capabilities()?;
        let mut memories = Vec::new();
        for (arena, memory) in arenas {
            // SAFETY: the caller's promise.
            memories.push((*arena, unsafe { tier.import_memory(memory) }?));
        }
        let limits = Limits { failures_max: flow.failures_max, pause_ns: ns(flow.pause_ms) };
        let rate = |per_s: u64, least: u64| Rate { per_s, burst: (per_s / BURST_SHARE).max(least) };
        Ok(Self {
            name: library.name().to_owned(),
            tier: Some(tier),
            capabilities,
            memories,
            reads: Breaker::new(limits),
            writes: Breaker::new(limits),
            governor: Governor::new(rate(flow.bandwidth.0, 1 << 20), rate(flow.operations_per_s, 16)),
            read_pace: Pace::new(),
            write_pace: Pace::new(),
            under_way: HashMap::new(),
            by_age: Default::default(),
            outbox: VecDeque::new(),
            ended: Vec::new(),
            completions: Vec::new(),
            next_request: 1,
            hang_ns: ns(flow.hang_ms),
            pause_ns: ns(flow.pause_ms),
            full_until_ns: 0,
            is_listed: !capabilities.has(feature::NEWS),
            failure: None,
            was_fenced: false,
            was_full: false,
        })
    }

    /// The tier's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Readable when completions wait.
    pub(super) fn event_fd(&self) -> Option<RawFd> {
        self.tier.as_ref()?.event_fd().ok().flatten().map(|fd| fd.as_raw_fd())
    }

    /// Whether all that the storage held when it was opened has been told.
    pub(super) fn is_listed(&self) -> bool {
        self.is_listed
    }

    /// Whether what needs the tier comes, as far as can be told: it is not given up.
    pub(super) fn answers(&self, direction: Direction) -> bool {
        self.failure.is_none() && !self.breaker(direction).is_fenced()
    }

    /// Whether there is no point in asking now, not even to find out whether the tier answers again.
    pub(super) fn is_given_up(&self, now: NowNs, direction: Direction) -> bool {
        self.failure.is_some() || !self.breaker(direction).would_ask(now)
    }

    /// Whether writes have room, as far as the last one told.
    pub(super) fn has_room(&self) -> bool {
        self.full_until_ns == 0
    }

    /// The longest piece that the tier takes.
    pub(super) fn piece_bytes_max(&self) -> u64 {
        self.capabilities.piece_bytes_max
    }

    /// How fast reads are.
    pub(super) fn read_pace(&self) -> &Pace {
        &self.read_pace
    }

    /// The range of a slot's piece, in the tier's own words.
    pub(super) fn range(&self, arena: u8, offset: u64, len_bytes: u64) -> Option<MemoryRange> {
        let (_, memory) = self.memories.iter().find(|(known, _)| *known == arena)?;
        Some(MemoryRange::new(*memory, offset, len_bytes))
    }

    /// Whether a request of so many bytes would be taken now. If so it is paid for: ask.
    pub(super) fn may_ask(&mut self, now: NowNs, direction: Direction, urgency: Urgency, bytes: u64) -> bool {
        let room = match direction {
            Direction::Read => self.capabilities.queue_depth,
            // Reads find room however much is written.
            Direction::Write => {
                (self.capabilities.queue_depth - self.capabilities.queue_depth / READS_SHARE).max(1)
            }
        };
        self.failure.is_none()
            && (self.under_way.len() as u64) < room
            && (direction == Direction::Read || now >= self.full_until_ns)
            && self.breaker(direction).would_ask(now)
            && self.governor.admit(now, urgency, bytes)
    }

    /// Takes a request; its end comes from [`Below::ended`].
    pub(super) fn ask(&mut self, now: NowNs, action: Action, deadline_ns: u64) -> u64 {
        let (direction, bytes) = match action {
            Action::Load { target, .. } => (Direction::Read, target.length),
            Action::Store { source, .. } => (Direction::Write, source.length),
            _ => (Direction::Write, 0),
        };
        // The one who asks first after a pause has the probe.
        let _ = self.breaker_mut(direction).ask(now);
        let was_alone = self.pace_mut(direction).began(now, bytes);
        let request = self.next_request;
        self.next_request += 1;
        let under_way = UnderWay { direction, bytes, began_ns: now, was_alone, is_overdue: false };
        self.under_way.insert(request, under_way);
        self.by_age[usize::from(action == Action::Sync)].push_back(request);
        self.outbox.push_back(Operation::new(request, action).by(deadline_ns));
        request
    }

    /// The number that the next request will have.
    pub(super) fn next_request(&self) -> u64 {
        self.next_request
    }

    /// Hands what was taken to the tier, as much as that takes. Never waits.
    pub(super) fn post(&mut self, now: NowNs) {
        let Some(tier) = self.tier.as_mut().filter(|_| !self.outbox.is_empty()) else { return };
        match tier.submit(self.outbox.make_contiguous()) {
            Ok(taken) => drop(self.outbox.drain(..taken)),
            Err(error) => self.fail(now, &error),
        }
    }

    /// What ended since the last look. Never waits.
    pub(super) fn ended(&mut self, now: NowNs) -> Vec<Ended> {
        if let Some(tier) = self.tier.as_mut() {
            let mut completions = std::mem::take(&mut self.completions);
            if let Err(error) = tier.poll(&mut completions) {
                self.fail(now, &error);
            }
            for completion in completions.drain(..) {
                self.end(now, completion.request_id, completion.status, completion.extent.words);
            }
            self.completions = completions;
        }
        std::mem::take(&mut self.ended)
    }

    /// Looks for what hangs, and at what changed with the tier since the last look: told once.
    pub(super) fn look(&mut self, now: NowNs) {
        for (row, patience) in [1, SYNC_PATIENCE].into_iter().enumerate() {
            while let Some(&request) = self.by_age[row].front() {
                match self.under_way.get_mut(&request) {
                    Some(out) if out.began_ns.saturating_add(self.hang_ns * patience) > now => break,
                    Some(out) => {
                        out.is_overdue = true;
                        let direction = out.direction;
                        self.breaker_mut(direction).tell(now, Event::Overdue);
                    }
                    None => {}
                }
                self.by_age[row].pop_front();
            }
        }
        // What the tier never had need not wait for it.
        let is_shut = |direction| matches!(self.breaker(direction).snapshot().state, State::Open { .. });
        let is_shut = [Direction::Read, Direction::Write].map(is_shut);
        if is_shut.contains(&true) {
            let direction = |request: u64| self.under_way.get(&request).map(|out| out.direction as usize);
            let in_vain =
                |operation: &Operation| direction(operation.request_id).is_some_and(|at| is_shut[at]);
            let (gone, stays) = std::mem::take(&mut self.outbox).into_iter().partition(in_vain);
            self.outbox = stays;
            let gone: VecDeque<Operation> = gone;
            for operation in gone {
                self.end(now, operation.request_id, Status::CANCELLED, [0; 4]);
            }
        }
        self.tell_changes(!(self.answers(Direction::Read) && self.answers(Direction::Write)));
    }

    /// News of the storage, into the front of `news`; how many. Never waits.
    pub(super) fn news(&mut self, now: NowNs, news: &mut [News]) -> usize {
        let Some(tier) = self.tier.as_mut().filter(|_| self.capabilities.has(feature::NEWS)) else {
            return 0;
        };
        tier.news(news).unwrap_or_else(|error| {
            self.fail(now, &error);
            0
        })
    }

    /// All that was there when the tier was opened has been told.
    pub(super) fn listed(&mut self) {
        self.is_listed = true;
    }

    /// Closes the tier; what it stored stays.
    ///
    /// # Errors
    /// What the tier answers.
    pub(super) fn close(mut self) -> Result<(), TierError> {
        self.tier.take().map_or(Ok(()), |tier| tier.close(CloseMode::Leave))
    }

    /// How the tier is, for people and programs: its own words, and what the node makes of it.
    pub(super) fn report(&self, now: NowNs) -> Value {
        let stats = self.tier.as_ref().and_then(|tier| tier.stats().ok());
        let stats: Value = stats.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or(Value::Null);
        let overdue = self.reads.snapshot().overdue + self.writes.snapshot().overdue;
        json!({
            "name": self.name,
            "state": self.state(now),
            "failure": self.failure,
            "listed": self.is_listed,
            "under_way": self.under_way.len(),
            "overdue": overdue,
            "read_bytes_per_s": self.read_pace.bytes_per_s(),
            "write_bytes_per_s": self.write_pace.bytes_per_s(),
            "read_latency_us": self.read_pace.latency_ns() / 1000,
            "write_latency_us": self.write_pace.latency_ns() / 1000,
            "stats": stats,
        })
    }

    /// How the tier is, in a word.
    pub(super) fn state(&self, now: NowNs) -> &'static str {
        let directions = [Direction::Read, Direction::Write];
        if self.failure.is_some() {
            "failed"
        } else if directions.into_iter().any(|direction| self.is_given_up(now, direction)) {
            "fenced"
        } else if !directions.into_iter().all(|direction| self.answers(direction)) {
            // What needs it next finds out.
            "on_trial"
        } else if self.full_until_ns != 0 {
            "read_only"
        } else if !self.is_listed {
            "listing"
        } else {
            "working"
        }
    }

    fn end(&mut self, now: NowNs, request: u64, status: Status, extent: ExtentWords) {
        let Some(out) = self.under_way.remove(&request) else { return };
        let event = if out.is_overdue { Event::Returned } else { event_of(status) };
        self.breaker_mut(out.direction).tell(now, event);
        self.pace_mut(out.direction).ended(now, out.began_ns, out.bytes, out.was_alone, status.is_ok());
        if out.direction == Direction::Write && out.bytes > 0 {
            self.full_until_ns = match status {
                Status::NO_SPACE | Status::READ_ONLY => now.saturating_add(self.pause_ns),
                Status::OK => 0,
                _ => self.full_until_ns,
            };
        }
        self.ended.push(Ended { request, status, extent });
    }

    /// The tier as a whole is of no use any more: what is under way ends with it, and its memory is ours again.
    fn fail(&mut self, now: NowNs, error: &TierError) {
        tracing::error!(tier = self.name, %error, "a lower tier has failed; the node goes on without it");
        self.failure = Some(error.to_string());
        drop(self.tier.take());
        self.outbox.clear();
        let out: Vec<u64> = self.under_way.keys().copied().collect();
        for request in out {
            // Said apart from all other ends: whether it still writes, nobody knows.
            self.end(now, request, Status::PANICKED, [0; 4]);
        }
    }

    fn tell_changes(&mut self, is_fenced: bool) {
        let is_full = self.full_until_ns != 0;
        let tier = self.name.as_str();
        match (is_fenced, self.was_fenced) {
            (true, false) if self.failure.is_none() => {
                tracing::warn!(tier, "a lower tier does not answer: it is left alone for now");
            }
            (false, true) => tracing::info!(tier, "a lower tier answers again"),
            _ => {}
        }
        match (is_full, self.was_full) {
            (true, false) => tracing::warn!(tier, "a lower tier has no room: it is only read for now"),
            (false, true) => tracing::info!(tier, "a lower tier has room again"),
            _ => {}
        }
        (self.was_fenced, self.was_full) = (is_fenced, is_full);
    }

    fn breaker(&self, direction: Direction) -> &Breaker {
        match direction {
            Direction::Read => &self.reads,
            Direction::Write => &self.writes,
        }
    }

    fn breaker_mut(&mut self, direction: Direction) -> &mut Breaker {
        match direction {
            Direction::Read => &mut self.reads,
            Direction::Write => &mut self.writes,
        }
    }

    fn pace_mut(&mut self, direction: Direction) -> &mut Pace {
        match direction {
            Direction::Read => &mut self.read_pace,
            Direction::Write => &mut self.write_pace,
        }
    }
}

/// What the end of an operation says of its tier.
fn event_of(status: Status) -> Event {
    match status {
        Status::EXPIRED | Status::CANCELLED => Event::Undecided,
        Status::OK
        | Status::NOT_FOUND
        | Status::CORRUPT
        | Status::NO_SPACE
        | Status::READ_ONLY
        | Status::INVALID
        | Status::UNSUPPORTED => Event::Answered,
        _ => Event::Failed,
    }
}

fn ns(milliseconds: u64) -> u64 {
    milliseconds.saturating_mul(1_000_000)
}
