//! The pump: the one thread that reads every ring, keeps every book and sleeps when there is nothing to do.
//!
//! A turn looks at all clients; when a turn finds nothing the pump spins for a moment, then arms its bell, looks once
//! more and sleeps in epoll. Invariants: a client can make the pump busy but never make it wait; an answer is written
//! before its client is rung.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use cascade_core::bell::Bell;
use cascade_core::flow::{Flow, Watermarks};
use cascade_core::policy;
use cascade_core::sync::Ordering;
use cascade_tier::Library;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};

use super::bell::Doorbell;
use super::clients::{Clients, PageLock, is_locked};
use super::door::Door;
use super::errands::Errands;
use super::grants::Grants;
use super::jobs::Jobs;
use super::locate::Chains;
use super::lower::Lower;
use super::lower_tier::LowerTier;
use super::memory::SegmentMemory;
use super::metrics::MetricsFile;
use super::plan::{Plan, directory_of};
use super::service::answer;
use super::stop::{Ended, Stop};
use super::store::Store;
use super::the_end::TheEnd;
use super::{EngineError, now_ns, report};
use crate::config::{Config, PolicyName};

/// How long the pump looks for more before it sleeps.
const SPIN: Duration = Duration::from_micros(200);
/// How long a busy pump may go without a look at the door, at deaths and at signals.
const LOOK: Duration = Duration::from_millis(1);
/// Chunks that are given back at one look at the machine's memory.
const RELIEF_CHUNKS: u64 = 8;
/// How long a growth that was refused is not tried again.
const GROWTH_PAUSE_NS: u64 = 1_000_000_000;
/// How long a clean stop waits for clients to give their claims back.
const STOP_WAIT: Duration = Duration::from_secs(2);
/// How long a clean stop waits for the last metrics to be written.
const METRICS_WAIT: Duration = Duration::from_secs(2);
/// How often housekeeping is done at most: locks, metrics, lingering slots.
const HOUSEKEEPING: Duration = Duration::from_millis(100);
/// How often the machine's memory is looked at.
const MEMORY_LOOK: Duration = Duration::from_secs(1);

const DOOR: u64 = 1;
const BELL: u64 = 2;
const TIER: u64 = 3;
const SIGNALS: u64 = 4;
const LOWER: u64 = 5;
/// Tokens of connections: the connection's number from here on.
pub(super) const CONNECTION: u64 = 1 << 32;
/// Tokens of pidfds: the page's number from here on.
pub(super) const PIDFD: u64 = 1 << 62;

/// A started node.
#[derive(Debug)]
pub struct Engine {
    pub(super) config: Config,
    /// Dropped before the memory that it reads and writes.
    pub(super) lower: Option<Lower>,
    pub(super) memory: SegmentMemory,
    pub(super) store: Store,
    pub(super) clients: Clients,
    pub(super) door: Door,
    pub(super) metrics: Option<MetricsFile>,
    pub(super) started: Instant,
    pub(super) epoch: u64,
    pub(super) grants: Grants,
    pub(super) chains: Chains,
    pub(super) errands: Errands,
    pub(super) jobs: Jobs,
    pub(super) end: TheEnd,
    pub(super) bell: Doorbell,
    pub(super) epoll: OwnedFd,
    /// The NUMA domain of each arena, where it has one.
    pub(super) domains: Vec<Option<u32>>,
    reserve_bytes: u64,
    pub(super) suspect_bytes: u64,
    housekept: Instant,
    looked_at_memory: Instant,
    reported: Instant,
}

impl Engine {
    /// Opens or adopts the segment, opens the lower tier if there is one, and opens the door. After this, clients may attach.
    ///
    /// # Errors
    /// Another node owns the instance; there is no room; the directory or socket cannot be used; a required lower tier cannot
    /// be opened.
    pub fn start(config: Config, shm: &Library, lower: Option<&LowerTier>) -> Result<Self, EngineError> {
        let directory = directory_of(&config);
        let probe = shm.probe(&serde_json::json!({ "directory": directory }).to_string())?;
        let plan = Plan::new(&config, directory, &probe)?;
        let memory = SegmentMemory::open(shm, &plan)?;
        let segment = memory.segment();
        let policy =
            policy::by_name(policy_name(config.policy.name), 1).expect("every configured name is a policy");
        let geometry = *segment.geometry();
        let flow = Flow::new(Watermarks {
            low_free_ratio: config.policy.watermark_low_ratio,
            high_free_ratio: config.policy.watermark_high_ratio,
            grow_chunks: (config.segment.grow_step.0 / geometry.chunk_bytes).max(1),
            growth_pause_ns: GROWTH_PAUSE_NS,
        });
        let socket = std::env::var_os("CASCADE_SOCKET").map(std::path::PathBuf::from);
        let socket = socket.unwrap_or_else(|| memory.directory().join("node.sock"));
        let door = match Door::open(&socket) {
            Ok(door) => door,
            Err(error) => {
                // What was just made goes again; what a former node left stays for the next.
                if !memory.adopted() {
                    memory.close()?;
                }
                return Err(error);
            }
        };
        let mut store = Store::new(segment, policy);
        let lower = match lower.map_or(Ok(None), |tier| tier.open(&config, &memory, &mut store)) {
            Ok(lower) => lower,
            Err(error) if memory.adopted() => return Err(error),
            Err(error) => {
                memory.close()?;
                return Err(error);
            }
        };
        let mut engine = Self {
            store,
            lower,
            clients: Clients::default(),
            door,
            metrics: MetricsFile::at(&config.metrics.textfile)
                .map_err(EngineError::io("start the metrics' writer"))?,
            grants: Grants::new(&config.clients, flow),
            chains: Chains::default(),
            errands: Errands::default(),
            jobs: Jobs::default(),
            end: TheEnd::of(&config.flow),
            bell: Doorbell::new()?,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)
                .map_err(|error| EngineError::io("make an epoll")(error.into()))?,
            started: Instant::now(),
            domains: plan.domains,
            reserve_bytes: plan.reserve_bytes,
            suspect_bytes: 0,
            housekept: Instant::now(),
            looked_at_memory: Instant::now(),
            reported: Instant::now(),
            epoch: segment.epoch().load(Ordering::Relaxed) + 1,
            config,
            memory,
        };
        if engine.memory.adopted() {
            engine.adopt();
        }
        // Clients of the former node see the new epoch and attach again.
        segment.epoch().store(engine.epoch, Ordering::Release);
        let first = engine.config.segment.grow_step.0 / geometry.chunk_bytes;
        engine.grants.begin(&engine.store, &mut engine.memory, first.max(1));
        engine.watch(engine.door.listener(), DOOR)?;
        engine.watch(engine.bell.as_fd(), BELL)?;
        if let Some(fd) = engine.memory.event_fd() {
            // SAFETY: the tier keeps the descriptor open while `memory` lives, which is as long as the engine.
            engine.watch(unsafe { BorrowedFd::borrow_raw(fd) }, TIER)?;
        }
        if let Some(fd) = engine.lower.as_ref().and_then(|lower| lower.below.event_fd()) {
            // SAFETY: the tier keeps the descriptor open while `lower` lives, which is as long as the engine.
            engine.watch(unsafe { BorrowedFd::borrow_raw(fd) }, LOWER)?;
        }
        Ok(engine)
    }

    /// Where clients attach.
    pub fn socket(&self) -> &std::path::Path {
        self.door.path()
    }

    /// Takes up what a former node left: first its clients, so that their claims count, then the content.
    fn adopt(&mut self) {
        let segment = self.memory.segment();
        let pages_fd = self.memory.pages_fd();
        let mut dead = Vec::new();
        for page in 0..segment.geometry().clients_max as u16 {
            let Some(shared) = segment.page(page) else { break };
            let owner = shared.owner().load(Ordering::Acquire);
            if owner == 0 {
                continue;
            }
            self.store.admit(page);
            self.clients.insert(page, owner);
            if !is_locked(pages_fd, page) {
                dead.push(page);
            }
        }
        let adopted = self.store.adopt();
        tracing::info!(
            pieces = adopted.pieces,
            granted = adopted.granted,
            loading = adopted.loading,
            stale_entries = adopted.stale_entries,
            damaged = adopted.damaged,
            clients = self.clients.len() - dead.len(),
            "took up the segment that a former node left"
        );
        while let Some(slot) = self.store.next_loading() {
            match self.memory.renew(slot) {
                Ok(()) => self.store.give_up_load(slot),
                Err(error) => {
                    self.store.counters.damaged_slots += 1;
                    tracing::warn!(%error, ?slot, "a slot under transfer got no new pages: it stays out of use");
                }
            }
        }
        for page in dead {
            if let Some(_lock) = PageLock::take(pages_fd, page) {
                self.bury(page);
            }
        }
        // A node that died in the middle of a burial had emptied the page, but not taken all slots back.
        let granted: Vec<u16> = self.store.granted.keys().copied().collect();
        for page in granted.into_iter().filter(|&page| self.clients.get(page).is_none()) {
            self.store.forget(page);
        }
    }

    /// Serves until something ends it.
    ///
    /// # Errors
    /// Only if the operating system fails the pump itself.
    pub fn run(&mut self, mut stop: Stop) -> Result<Ended, EngineError> {
        self.watch(stop.signals(), SIGNALS)?;
        let segment = self.memory.segment();
        let asleep = Bell::new(segment.node_asleep());
        let mut last_work = Instant::now();
        let mut last_look = Instant::now();
        loop {
            let mut is_busy = self.turn();
            if is_busy {
                last_work = Instant::now();
            } else if last_work.elapsed() < SPIN {
                is_busy = true;
                std::thread::yield_now();
            }
            // However busy the rings are, the door, deaths and signals are looked at now and then.
            if is_busy && last_look.elapsed() < LOOK {
                continue;
            }
            if !is_busy {
                asleep.arm();
                // Look again: a client that posted before it saw the flag does not ring.
                is_busy = self.turn();
            }
            let events = self.wait(if is_busy { Duration::ZERO } else { self.patience() })?;
            asleep.disarm();
            last_look = Instant::now();
            for token in events {
                if let Some(ended) = self.react(token, &mut stop)
                    && self.is_over(ended)
                {
                    return Ok(ended);
                }
            }
            if let Some(ended) = stop.poll_deadline() {
                return Ok(ended);
            }
            if let Some(ended) = self.saved() {
                return Ok(ended);
            }
            self.housekeep();
        }
    }

    /// Stops serving: evicts what nobody claims, waits for claims up to a bound, removes the segment.
    ///
    /// # Errors
    /// What could not be removed.
    pub fn close(mut self) -> Result<String, EngineError> {
        self.store.segment().close();
        self.store.keeps.clear();
        if let Some(lower) = self.lower.take()
            && let Err(error) = lower.close(&mut self.store)
        {
            tracing::warn!(%error, "a lower tier did not close as it should");
        }
        let deadline = Instant::now() + STOP_WAIT;
        let summary = report::summary(&self);
        report::post_metrics(&self);
        while self.store.evict_all() > 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        // Clients that stay keep the files mapped: what nobody claims must not live on with them.
        while let Some((arena, chunk)) = self.store.shrink() {
            self.memory.release(arena, chunk)?;
        }
        drop(self.door);
        self.memory.close()?;
        if let Some(metrics) = self.metrics
            && !metrics.finish(METRICS_WAIT)
        {
            tracing::warn!("the metrics file's file system does not answer; its last state is lost");
        }
        Ok(summary)
    }

    /// Looks at every client once; `true` if there was anything to do.
    fn turn(&mut self) -> bool {
        let mut worked = self.grants.is_growing() && self.collect_growth();
        for page in self.clients.pages() {
            worked |= self.serve(page);
        }
        worked |= self.look_for_chains();
        worked |= self.turn_to_lower();
        if self.grants.waiting() > 0 {
            let clients = &self.clients;
            self.grants.retry(&mut self.store, &mut self.memory, |store, page, ticket, verdict| {
                answer(store, clients, page, ticket, verdict);
                worked = true;
            });
        }
        worked
    }

    /// Gives the flow to and from the lower tier its turn, and the jobs theirs.
    fn turn_to_lower(&mut self) -> bool {
        let now = now_ns();
        let mut answered = Vec::new();
        let mut worked = false;
        if let Some(lower) = &mut self.lower {
            let growth_bytes = self.grants.growth_bytes(&self.store);
            let (grants, memory) = (&mut self.grants, &mut self.memory);
            let mut provide = |store: &mut Store, slot_bytes, slots, evicts| {
                grants.provide(store, memory, slot_bytes, slots, evicts);
            };
            (answered, worked) = lower.turn(&mut self.store, now, growth_bytes, &mut provide);
        }
        self.run_errands(&answered);
        worked |= self.jobs.advance(&mut self.store, self.lower.as_mut(), &answered, now);
        worked || !answered.is_empty()
    }

    fn collect_growth(&mut self) -> bool {
        self.grants.collect_growth(&mut self.store, &mut self.memory)
    }

    fn housekeep(&mut self) {
        if self.housekept.elapsed() < HOUSEKEEPING {
            return;
        }
        self.housekept = Instant::now();
        self.store.lapse(now_ns());
        self.look_at_the_end();
        self.store.settle();
        if self.clients.any_unwatched() {
            let pages_fd = self.memory.pages_fd();
            for page in self.clients.gone(pages_fd) {
                if let Some(_lock) = PageLock::take(pages_fd, page) {
                    tracing::debug!(page, "a client has left");
                    self.bury(page);
                }
            }
        }
        if self.looked_at_memory.elapsed() >= MEMORY_LOOK {
            self.looked_at_memory = Instant::now();
            self.relieve();
        }
        if self.reported.elapsed() >= Duration::from_millis(self.config.metrics.interval_ms) {
            self.reported = Instant::now();
            report::post_metrics(self);
        }
    }

    /// Gives memory back when others on this machine run short of it: better a smaller cache than a killed engine.
    fn relieve(&mut self) {
        let spare_bytes = self.reserve_bytes / 2;
        let Some(available_bytes) = self.memory.available_bytes() else { return };
        if available_bytes >= spare_bytes {
            return;
        }
        let chunk_bytes = self.store.segment().geometry().chunk_bytes;
        let chunks = (spare_bytes - available_bytes).div_ceil(chunk_bytes).min(RELIEF_CHUNKS);
        let released =
            (0..chunks).take_while(|_| self.grants.shrink(&mut self.store, &mut self.memory)).count();
        if released > 0 {
            self.store.counters.released_chunks += released as u64;
            tracing::warn!(released, available_bytes, "memory is short here: the cache gave some back");
        }
    }

    /// How long the pump may sleep when nobody rings.
    fn patience(&self) -> Duration {
        let flows = self.lower.as_ref().is_some_and(Lower::is_busy) || self.jobs.is_busy();
        if self.clients.any_without_bell() || self.grants.waiting() > 0 || flows {
            // Who waits for a tier is answered at the deadline, not at the next look.
            let deadline_ns = self.lower.as_ref().and_then(|lower| lower.promotions.next_deadline_ns());
            let left_ns = deadline_ns.map_or(u64::MAX, |deadline_ns| deadline_ns.saturating_sub(now_ns()));
            Duration::from_millis(5).min(Duration::from_nanos(left_ns))
        } else if self.lower.is_some()
            || self.clients.any_unwatched()
            || !self.store.lingering.is_empty()
            || self.store.kept() > 0
        {
            HOUSEKEEPING
        } else {
            Duration::from_millis(1000)
        }
    }

    fn wait(&self, timeout: Duration) -> Result<Vec<u64>, EngineError> {
        let timeout =
            Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: i64::from(timeout.subsec_nanos()) };
        let mut events = [epoll::Event { flags: EventFlags::empty(), data: EventData::new_u64(0) }; 64];
        match epoll::wait(&self.epoll, &mut events, Some(&timeout)) {
            Ok(count) => Ok(events[..count].iter().map(|event| event.data.u64()).collect()),
            Err(rustix::io::Errno::INTR) => Ok(Vec::new()),
            Err(error) => Err(EngineError::io("wait for events")(error.into())),
        }
    }

    fn react(&mut self, token: u64, stop: &mut Stop) -> Option<Ended> {
        match token {
            DOOR => self.let_in(),
            BELL => self.bell.quiet(),
            TIER => {
                self.collect_growth();
            }
            // The turn that follows looks what ended.
            LOWER => {}
            SIGNALS => {
                let ended = stop.on_signal();
                if stop.asks_for_drain() {
                    self.drain_for("a signal asks for it", None);
                }
                return ended;
            }
            token if token >= PIDFD => {
                let page = (token - PIDFD) as u16;
                // The event may be that of a former client of the page: the pidfd itself decides.
                if self.clients.get(page).is_some_and(|client| client.is_exited()) {
                    tracing::debug!(page, "a client died");
                    // A forked child may have the lock: the process is dead all the same.
                    let _lock = PageLock::take(self.memory.pages_fd(), page);
                    self.bury(page);
                }
            }
            token => self.listen(token - CONNECTION),
        }
        None
    }

    pub(super) fn watch(&self, fd: BorrowedFd<'_>, token: u64) -> Result<(), EngineError> {
        epoll::add(&self.epoll, fd, EventData::new_u64(token), EventFlags::IN)
            .map_err(|error| EngineError::io("watch a descriptor")(error.into()))
    }
}

fn policy_name(name: PolicyName) -> &'static str {
    match name {
        PolicyName::Lru => "lru",
        PolicyName::Arc => "arc",
        PolicyName::S3Fifo => "s3fifo",
        PolicyName::WTinyLfu => "wtinylfu",
        PolicyName::Cascade => "cascade",
    }
}
