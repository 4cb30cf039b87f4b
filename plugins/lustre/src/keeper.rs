//! The thread that deals with names and manifests of one store. It may hang in the file system for minutes, and nobody waits
//! for it but operations that need it.
//!
//! Invariants: what was stored is in our manifest before anybody is told that it is durable; a container is made only after
//! its room was announced, and nobody announced so much at the same time that the capacity is exceeded.

use crate::collector::Collector;
use crate::config::{Config, Durability};
use crate::exchange::{Exchange, Running};
use crate::format::{ContainerId, FileName, Line, Location};
use crate::heat::Heat;
use crate::holdings::Holdings;
use crate::io::{Access, Directory, FileKind};
use crate::journal::Journal;
use crate::link::{Acquired, Speaker, Stored, ToKeeper, ToMover};
use crate::manifest::Manifest;
use crate::mount::Mount;
use crate::mover::unix_s;
use crate::order::status_of;
use crate::report::{Report, State};
use crate::routes::Routes;
use crate::stats::Counts;
use crate::{marker, wipe};
use cascade_tier::{CloseMode, Completion, News, NewsKind, Status};
use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A store that cannot be opened is tried again after this.
const RETRY: Duration = Duration::from_secs(5);

/// While the host has no room for more news, it is looked so often whether it has.
const TELL_AGAIN: Duration = Duration::from_millis(2);

/// The directory is listed every so many refreshes.
const REFRESHES_PER_LISTING: u32 = 5;

/// What a keeper is given.
pub(crate) struct Setup {
    pub(crate) config: Arc<Config>,
    pub(crate) path: PathBuf,
    pub(crate) access: Access,
    /// 0 for the store that is written, then the further ones.
    pub(crate) number: usize,
    pub(crate) mount: Arc<dyn Mount>,
    pub(crate) inbox: Receiver<ToKeeper>,
    pub(crate) mover: Speaker,
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) routes: Arc<Routes>,
    pub(crate) heat: Arc<Mutex<Heat>>,
    pub(crate) report: Arc<Mutex<Report>>,
    /// How many stores have not been told to their end for the first time.
    pub(crate) unlisted: Arc<AtomicUsize>,
}

/// The keeper of an open store.
pub(crate) struct Keeper {
    setup: Setup,
    directory: Arc<dyn Directory>,
    pub(crate) holdings: Holdings,
    pub(crate) journal: Journal,
    collector: Collector,
    /// There was no room for a container.
    wants_room: bool,
    /// When we last said something, which is a sign of life.
    said_at: Instant,
    listed_at: Instant,
    refresh_at: Instant,
    is_listed: bool,
    /// Files with bytes that are not known to be durable.
    dirty: HashMap<ContainerId, Arc<OwnedFd>>,
    /// Containers were made whose names are not known to be durable.
    is_name_new: bool,
    /// What to answer when all is durable that was stored so far.
    answers: Vec<Completion>,
    /// Containers were sealed that have to be durable.
    syncs: bool,
}

/// Opens the store, and works until the host closes.
pub(crate) fn run(setup: Setup, _running: Running) {
    loop {
        match open(&setup) {
            Ok((directory, holdings)) => return Keeper::new(setup, directory, holdings).run(),
            Err(error) => setup.report(|report| report.failed(&setup.path, &error)),
        }
        if !refuse_until(&setup, Instant::now() + RETRY) {
            return;
        }
    }
}

fn open(setup: &Setup) -> io::Result<(Arc<dyn Directory>, Holdings)> {
    let directory = setup.mount.directory(&setup.path, setup.access)?;
    marker::check(directory.as_ref(), setup.access)?;
    let mut holdings = Holdings::new(Arc::clone(&directory), setup);
    holdings.list()?;
    Ok((directory, holdings))
}

/// Answers that the store is not to be had; `false` when the host closes.
fn refuse_until(setup: &Setup, until: Instant) -> bool {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match setup.inbox.recv_timeout(left) {
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) | Ok(ToKeeper::Close(_)) => return false,
            Ok(ToKeeper::Open(container)) => {
                setup.mover.say(ToMover::Opened { container, file: Err(Status::FENCED) });
            }
            Ok(ToKeeper::Acquire) => setup.mover.say(ToMover::Acquired(Err(Status::FENCED))),
            Ok(ToKeeper::Sync { request_id } | ToKeeper::Remove { request_id, .. }) => {
                setup.mover.say(ToMover::Answer(Completion::new(request_id, Status::FENCED, 0)));
            }
            // Nothing can have been stored.
            Ok(ToKeeper::Stored(_) | ToKeeper::Sealed { .. } | ToKeeper::Drop(_)) => {}
        }
    }
}

impl Setup {
    fn report(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Keeper {
    fn new(setup: Setup, directory: Arc<dyn Directory>, holdings: Holdings) -> Keeper {
        let now = Instant::now();
        let refresh_at = now + setup.config.refresh();
        Keeper {
            setup,
            directory,
            holdings,
            journal: Journal::new(),
            collector: Collector::default(),
            wants_room: false,
            said_at: now,
            listed_at: now,
            refresh_at,
            is_listed: false,
            dirty: HashMap::new(),
            is_name_new: false,
            answers: Vec::new(),
            syncs: false,
        }
    }

    fn run(mut self) {
        self.report(State::Open);
        loop {
            let mut is_telling = false;
            let told = self.holdings.tell_some().map(|more| is_telling = more);
            self.note("tell of what is stored", told);
            if !is_telling {
                self.listed();
            }
            self.report(State::Open);
            let at = if is_telling { Instant::now() + TELL_AGAIN } else { self.refresh_at };
            let message = self.setup.inbox.recv_timeout(at.saturating_duration_since(Instant::now()));
            let mut closes = match message {
                Ok(message) => self.hear(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => Some(CloseMode::Leave),
            };
            // What came together is written together.
            while closes.is_none()
                && let Ok(message) = self.setup.inbox.try_recv()
            {
                closes = self.hear(message);
            }
            self.flush();
            if let Some(mode) = closes {
                return self.close(mode);
            }
            let is_due = self.refresh_at <= Instant::now();
            if is_due {
                self.refresh();
            }
            if is_due || self.wants_room {
                self.collect();
            }
        }
    }

    /// Lets the collector go a step further.
    fn collect(&mut self) {
        if self.setup.access == Access::ReadOnly {
            return;
        }
        let asked = std::mem::take(&mut self.wants_room);
        let mut collector = std::mem::take(&mut self.collector);
        let stepped = collector.step(self, asked);
        self.collector = collector;
        self.note("collect what is old", stepped);
    }

    /// Does what the mover asks for; how to close if that is it.
    fn hear(&mut self, message: ToKeeper) -> Option<CloseMode> {
        match message {
            ToKeeper::Open(container) => {
                let file = self.open(container);
                self.setup.mover.say(ToMover::Opened { container, file });
            }
            ToKeeper::Acquire => {
                let acquired = self.acquire();
                self.setup.mover.say(ToMover::Acquired(acquired));
            }
            ToKeeper::Stored(Stored { records, file, mut answers, news_from }) => {
                if let Some(container) = records.first().and_then(|record| Line::Stored(*record).container())
                {
                    self.dirty.insert(container, file);
                }
                self.holdings.tell_found(&records[news_from..]);
                records.into_iter().for_each(|record| self.journal.push(Line::Stored(record)));
                self.answers.append(&mut answers);
            }
            ToKeeper::Sealed { container, bytes, file } => {
                self.journal.push(Line::Sealed { container, bytes });
                if bytes == 0 {
                    let removed = self.directory.remove(&FileName::Container(container).to_string());
                    self.note("remove an empty container", removed);
                } else {
                    self.dirty.insert(container, file);
                    self.syncs |= self.setup.config.durability != Durability::None;
                }
            }
            ToKeeper::Sync { request_id } => {
                self.answers.push(Completion::new(request_id, Status::OK, 0));
            }
            ToKeeper::Remove { request_id, location } => {
                // Our own pieces have to be in the manifest to be found.
                self.flush();
                let completion = match self.remove(location) {
                    Ok(Some(bytes)) => Completion::new(request_id, Status::OK, bytes),
                    Ok(None) => Completion::new(request_id, Status::NOT_FOUND, 0),
                    Err(error) => Completion::new(request_id, status_of(&error), 0),
                };
                self.setup.mover.say(ToMover::Answer(completion));
            }
            ToKeeper::Drop(file) => drop(file),
            ToKeeper::Close(mode) => return Some(mode),
        }
        None
    }

    fn open(&mut self, container: ContainerId) -> Result<Arc<OwnedFd>, Status> {
        let opened = self.directory.open(&FileName::Container(container).to_string(), FileKind::Container);
        opened.map_err(|error| {
            let status = status_of(&error);
            if status == Status::NOT_FOUND {
                let told = self.holdings.vanished(container);
                self.note("tell of a lost container", told);
            }
            status
        })
    }

    /// Drops a piece: what it was is unreadable afterwards. How many bytes, or `None` if it is not there.
    fn remove(&mut self, location: Location) -> io::Result<Option<u64>> {
        let Some(record) = self.holdings.find(location)? else { return Ok(None) };
        self.journal.push(Line::Removed(record));
        self.write_journal()?;
        let name = FileName::Container(location.container).to_string();
        self.directory.erase(&name, location.offset, location.length)?;
        self.setup.exchange.count(|counts| counts.removed_pieces += 1);
        Ok(Some(location.length))
    }

    /// Makes room for a container, and the container.
    fn acquire(&mut self) -> Result<Acquired, Status> {
        if self.setup.access == Access::ReadOnly {
            return Err(Status::READ_ONLY);
        }
        self.try_acquire().unwrap_or_else(|error| {
            let status = status_of(&error);
            self.note("make a container", Err::<(), _>(error));
            Err(status)
        })
    }

    fn try_acquire(&mut self) -> io::Result<Result<Acquired, Status>> {
        self.make_journal()?;
        // Writers who have been here for long know of all but the latest comers; a newcomer asks for the others each time,
        // and leaves half of the room to those who do not know it yet.
        let is_settled = self.journal.made_at().elapsed() >= 2 * self.listing_interval();
        if !is_settled || self.listed_at.elapsed() >= self.listing_interval() {
            self.list()?;
        }
        let bytes = self.setup.config.container_bytes;
        let capacity_bytes = self.setup.config.capacity_bytes;
        let limit_bytes = if is_settled { capacity_bytes } else { capacity_bytes / 2 };
        if self.bytes() + bytes > limit_bytes || self.files() >= self.setup.config.inodes_max {
            self.wants_room = true;
            return Ok(Err(Status::NO_SPACE));
        }
        // First said, then looked: of two who do so at once, one at least sees the other.
        let container = self.journal.next_container();
        self.journal.push(Line::Opened { container, reserved_bytes: bytes, opened_unix_s: unix_s() });
        self.write_journal()?;
        self.holdings.read()?;
        let is_over = self.bytes() > limit_bytes || self.files() > self.setup.config.inodes_max;
        self.wants_room |= is_over;
        let made = if is_over {
            Ok(Err(Status::NO_SPACE))
        } else {
            let name = FileName::Container(container).to_string();
            self.directory.create(&name, FileKind::Container).map(Ok)
        };
        match made {
            Ok(Ok(file)) => {
                self.is_name_new = true;
                Ok(Ok(Acquired { container, file, bytes }))
            }
            refused => {
                self.journal.push(Line::Sealed { container, bytes: 0 });
                self.write_journal()?;
                refused.map(|refused| Err(refused.err().unwrap_or(Status::NO_SPACE)))
            }
        }
    }

    /// What the store takes, with the manifests.
    pub(crate) fn bytes(&self) -> u64 {
        let manifests = self.holdings.manifests.iter().filter(|manifest| manifest.is_there());
        self.holdings.book.bytes() + manifests.map(Manifest::read_bytes).sum::<u64>()
    }

    /// How many files the store has: containers, manifests, the store's own, the collector's.
    pub(crate) fn files(&self) -> u64 {
        let manifests = self.holdings.manifests.iter().filter(|manifest| manifest.is_there());
        self.holdings.book.files() + manifests.count() as u64 + 2
    }

    /// Whether a writer may be at work: it has not ended, and gave a sign of life not long ago.
    pub(crate) fn is_living(&self, writer: u64) -> bool {
        let expiry = self.config().claim_expiry();
        self.holdings.manifests.iter().any(|manifest| {
            manifest.writer == writer
                && (manifest.is_own || (!manifest.is_closed && manifest.grown_at.elapsed() < expiry))
        })
    }

    /// Where the pieces of a container lie that were loaded lately.
    pub(crate) fn hot_offsets(&self, container: ContainerId) -> HashSet<u64> {
        self.setup.heat.lock().unwrap_or_else(PoisonError::into_inner).offsets(container)
    }

    pub(crate) fn config(&self) -> &Config {
        &self.setup.config
    }

    pub(crate) fn directory(&self) -> &dyn Directory {
        self.directory.as_ref()
    }

    pub(crate) fn writer(&self) -> u64 {
        self.journal.writer()
    }

    pub(crate) fn say(&self, message: ToMover) {
        self.setup.mover.say(message);
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut Counts)) {
        self.setup.exchange.count(change);
    }

    pub(crate) fn listing_interval(&self) -> Duration {
        self.setup.config.refresh() * REFRESHES_PER_LISTING
    }

    pub(crate) fn list(&mut self) -> io::Result<()> {
        self.listed_at = Instant::now();
        self.holdings.list()
    }

    /// Looks what the others wrote.
    fn refresh(&mut self) {
        let looked = if self.listed_at.elapsed() >= self.listing_interval() {
            self.list()
        } else {
            self.holdings.read()
        };
        self.note("look what others stored", looked);
        let is_silent = self.said_at.elapsed() > self.config().claim_expiry() / 3;
        if self.journal.file().is_some() && is_silent {
            self.journal.push(Line::Alive { unix_s: unix_s() });
            self.flush();
        }
        self.refresh_at = Instant::now() + self.setup.config.refresh();
    }

    pub(crate) fn make_journal(&mut self) -> io::Result<()> {
        if self.journal.make(self.directory.as_ref())? {
            let file = Arc::clone(self.journal.file().expect("it was just made"));
            self.holdings.own(Manifest::own(self.journal.writer(), file));
        }
        Ok(())
    }

    /// Writes what we have to tell.
    pub(crate) fn write_journal(&mut self) -> io::Result<()> {
        if self.journal.has_pending() {
            self.make_journal()?;
        }
        let lines = self.journal.flush(self.directory.as_ref())?;
        if lines.is_empty() {
            return Ok(());
        }
        self.said_at = Instant::now();
        self.holdings.wrote(&lines)
    }

    /// Writes what we have to tell, makes durable what has to be, and answers who waits for that.
    fn flush(&mut self) {
        let mut result = self.write_journal();
        let must_sync = self.syncs || !self.answers.is_empty();
        if result.is_ok() && must_sync {
            result = self.sync();
        }
        let status = result.as_ref().map_or_else(status_of, |()| Status::OK);
        self.note("write the manifest", result);
        if status.is_ok() {
            self.syncs = false;
        }
        for answer in self.answers.drain(..) {
            let answer = if status.is_ok() { answer } else { Completion::new(answer.request_id, status, 0) };
            self.setup.mover.say(ToMover::Answer(answer));
        }
    }

    /// Makes durable what was written: pieces, their lines, the names of both.
    fn sync(&mut self) -> io::Result<()> {
        let directory = self.directory.as_ref();
        let mut failed = Ok(());
        self.dirty.retain(|_, file| match directory.sync(file) {
            Ok(()) => false,
            Err(error) => {
                failed = Err(error);
                true
            }
        });
        failed?;
        if let Some(file) = self.journal.file().filter(|_| self.journal.is_dirty) {
            directory.sync(file)?;
            self.journal.is_dirty = false;
        }
        if self.is_name_new || self.journal.is_name_new {
            directory.sync_names()?;
            (self.is_name_new, self.journal.is_name_new) = (false, false);
        }
        Ok(())
    }

    /// All that was there when the store was opened has been told.
    fn listed(&mut self) {
        if !std::mem::replace(&mut self.is_listed, true) {
            // AcqRel: whoever is last tells after what all the others told.
            if self.setup.unlisted.fetch_sub(1, Ordering::AcqRel) == 1 {
                self.setup.exchange.tell([News { kind: NewsKind::LISTED, ..News::default() }]);
            }
        }
    }

    fn close(mut self, mode: CloseMode) {
        if self.setup.access == Access::ReadOnly {
            return;
        }
        if mode == CloseMode::Leave {
            if self.journal.file().is_some() {
                self.journal.push(Line::Closed { unix_s: unix_s() });
                self.syncs = self.setup.config.durability != Durability::None;
                self.flush();
            }
        } else {
            let wiped = wipe::wipe(&self.holdings, self.setup.config.claim_expiry());
            self.note("remove the store", wiped);
        }
        self.report(State::Closed);
    }

    /// Remembers what went wrong, for people.
    fn note<T>(&self, verb: &str, result: io::Result<T>) {
        if let Err(error) = result {
            self.setup.report(|report| report.warn(format!("cannot {verb}: {error}")));
        }
    }

    fn report(&self, state: State) {
        self.setup.report(|report| {
            report.state = state;
            report.writer = Some(self.journal.writer()).filter(|_| self.journal.file().is_some());
            report.containers = self.holdings.book.files();
            report.bytes = self.bytes();
            report.files = self.files();
            report.manifests = self.holdings.manifests.iter().filter(|manifest| manifest.is_there()).count();
            report.collecting = self.collector.is_at_work();
            report.removed_pieces = self.holdings.book.removed_pieces();
            report.metadata_operations = self.directory.metadata_operations();
            report.notes = self.directory.notes();
        });
    }
}
