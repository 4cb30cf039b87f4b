//! The thread that deals with names and manifests of one store. It may hang in the file system for minutes, and nobody waits
//! for it but operations that need it.
//!
//! Invariants: what was stored is in our manifest before anybody is told that it is durable; every message of the mover's that asks
//! is answered, once.

mod opening;
mod room;

pub(crate) use opening::{Setup, run};

use crate::collector::Collector;
use crate::config::{Config, Durability};
use crate::durable::Durable;
use crate::format::{ContainerId, FileName, Line, Location};
use crate::holdings::Holdings;
use crate::io::{Access, Directory, FileKind};
use crate::link::{Stored, ToKeeper, ToMover};
use crate::mover::unix_s;
use crate::order::status_of;
use crate::report::State;
use crate::stats::Counts;
use crate::voice::Voice;
use crate::{book, fold, wipe};
use cascade_tier::{CloseMode, Completion, Status};
use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// While the host has no room for more news, it is looked so often whether it has.
const TELL_AGAIN: Duration = Duration::from_millis(2);

/// The keeper of an open store.
pub(crate) struct Keeper {
    setup: Setup,
    directory: Arc<dyn Directory>,
    pub(crate) holdings: Holdings,
    pub(crate) voice: Voice,
    pub(crate) durable: Durable,
    collector: Collector,
    /// There was no room for a container.
    pub(crate) wants_room: bool,
    pub(crate) listed_at: Instant,
    refresh_at: Instant,
    is_listed: bool,
}

impl Keeper {
    fn new(setup: Setup, directory: Arc<dyn Directory>, holdings: Holdings) -> Keeper {
        let now = Instant::now();
        let refresh_at = now + setup.config.refresh();
        Keeper {
            setup,
            directory,
            holdings,
            voice: Voice::new(),
            durable: Durable::default(),
            collector: Collector::default(),
            wants_room: false,
            listed_at: now,
            refresh_at,
            is_listed: false,
        }
    }

    fn run(mut self) {
        self.report(State::Open);
        loop {
            let mut is_telling = false;
            let told = self.holdings.tell_some().map(|more| is_telling = more);
            self.note("tell of what is stored", told);
            if !is_telling {
                self.setup.listed(&mut self.is_listed);
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

    /// Opens a store for one who collects in it, and does nothing else.
    pub(crate) fn visit(setup: Setup) -> io::Result<Keeper> {
        let (directory, holdings) = opening::open(&setup)?;
        Ok(Keeper::new(setup, directory, holdings))
    }

    /// Collects a step; whether there is nothing left to do.
    pub(crate) fn collect_once(&mut self) -> io::Result<bool> {
        self.holdings.read()?;
        let mut collector = std::mem::take(&mut self.collector);
        let stepped = collector.step(self, true);
        let is_done = collector.has_finished();
        self.collector = collector;
        stepped.map(|()| is_done)
    }

    /// How many manifests of the dead there are.
    pub(crate) fn dead_manifests(&self) -> usize {
        fold::dead(self).len()
    }

    /// Ends what `visit` began.
    pub(crate) fn leave(self) {
        self.close(CloseMode::Leave);
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
            ToKeeper::Stored(Stored { records, file, answers, news_from }) => {
                if let Some(container) = records.first().and_then(|record| Line::Stored(*record).container())
                {
                    self.durable.wrote(container, file);
                }
                self.holdings.tell_found(&records[news_from..]);
                records.into_iter().for_each(|record| self.voice.push(Line::Stored(record)));
                self.durable.await_all(answers);
            }
            ToKeeper::Sealed { container, bytes: 0, .. } => {
                self.voice.push(Line::Sealed { container, bytes: 0 });
                let removed = self.directory.remove(&FileName::Container(container).to_string());
                self.note("remove an empty container", removed);
            }
            ToKeeper::Sealed { container, bytes, file } => {
                self.voice.push(Line::Sealed { container, bytes });
                self.durable.wrote(container, file);
                if self.config().durability != Durability::None {
                    self.durable.want();
                }
            }
            ToKeeper::Sync { request_id } => {
                self.durable.await_all([Completion::new(request_id, Status::OK, 0)]);
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
        if self.holdings.book.get(container).is_some_and(|container| container.state == book::State::Gone) {
            return Err(Status::NOT_FOUND);
        }
        let opened = self.directory.open(&FileName::Container(container).to_string(), FileKind::Container);
        opened.map_err(|error| {
            // A stale handle may be another one the next time; a name that is gone is not.
            if error.kind() == io::ErrorKind::NotFound {
                let told = self.holdings.vanished(container);
                self.note("tell of a lost container", told);
            }
            status_of(&error)
        })
    }

    /// Drops a piece: what it was is unreadable afterwards. How many bytes, or `None` if it is not there.
    fn remove(&mut self, location: Location) -> io::Result<Option<u64>> {
        let Some(record) = self.holdings.find(location)? else { return Ok(None) };
        self.voice.push(Line::Removed(record));
        self.say()?;
        let name = FileName::Container(location.container).to_string();
        self.directory.erase(&name, location.offset, location.length)?;
        self.setup.exchange.count(|counts| counts.removed_pieces += 1);
        Ok(Some(location.length))
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
        self.voice.writer()
    }

    pub(crate) fn access(&self) -> Access {
        self.setup.access
    }

    pub(crate) fn say_to_mover(&self, message: ToMover) {
        self.setup.mover.say(message);
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut Counts)) {
        self.setup.exchange.count(change);
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
        if self.voice.is_silent_for() > self.config().claim_expiry() / 3 {
            self.voice.push(Line::Alive { unix_s: unix_s() });
            self.flush();
        }
        self.refresh_at = Instant::now() + self.setup.config.refresh();
    }

    /// Writes what we have to tell.
    pub(crate) fn say(&mut self) -> io::Result<()> {
        self.voice.say(&mut self.holdings)
    }

    /// Writes what we have to tell, makes durable what has to be, and answers who waits for that.
    fn flush(&mut self) {
        let mut result = self.say();
        if result.is_ok() && self.durable.is_wanted() {
            result = self.durable.sync(self.directory.as_ref(), &mut self.voice).map(|syncs| {
                self.count(|counts| counts.syncs += syncs);
            });
        }
        let status = result.as_ref().map_or_else(status_of, |()| Status::OK);
        self.note("write the manifest", result);
        for answer in self.durable.take_answers() {
            let answer = if status.is_ok() { answer } else { Completion::new(answer.request_id, status, 0) };
            self.say_to_mover(ToMover::Answer(answer));
        }
        let relieved = self.durable.relieve(self.directory.as_ref());
        self.note("make an old container durable", relieved);
    }

    fn close(mut self, mode: CloseMode) {
        if self.setup.access == Access::ReadOnly {
            return;
        }
        if mode == CloseMode::Leave {
            self.voice.close();
            if self.config().durability != Durability::None {
                self.durable.want();
            }
            self.flush();
        } else {
            let wiped = wipe::wipe(&self.holdings, self.setup.config.claim_expiry());
            self.note("remove the store", wiped);
        }
        self.report(State::Closed);
    }

    /// Remembers what went wrong, for people.
    pub(crate) fn note<T>(&self, verb: &str, result: io::Result<T>) {
        if let Err(error) = result {
            self.setup.report(|report| report.warn(format!("cannot {verb}: {error}")));
        }
    }

    fn report(&self, state: State) {
        self.setup.report(|report| {
            report.state = state;
            report.writer = Some(self.voice.writer()).filter(|_| self.voice.is_heard());
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
