//! The thread that moves pieces: it takes the host's operations, gives the engine transfers, and answers.
//!
//! Invariants: it never waits for the file system, so deadlines are kept whatever hangs; every operation is answered once,
//! here. What needs names or manifests is a keeper's, which may hang.

use crate::exchange::{Exchange, Request};
use crate::format::{ContainerId, Location};
use crate::heat::Heat;
use crate::io::Engine;
use crate::link::{ToKeeper, ToMover};
use crate::memory::{HostBytes, Pages};
use crate::order::{Load, Origin, Store};
use crate::read::Reads;
use crate::routes::Routes;
use crate::threads::Running;
use crate::traffic::{Flight, Traffic};
use crate::write::Writes;
use cascade_tier::{Action, CloseMode, Completion, Extent, Operation, Record, Status, monotonic_ns};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Looks so often though nothing calls: an engine sees to its hanging requests then.
const LOOK: Duration = Duration::from_secs(1);

/// What a mover is given.
pub(crate) struct Setup {
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) inbox: Receiver<ToMover>,
    /// Of the store that is written, and of the further ones.
    pub(crate) keepers: Vec<Sender<ToKeeper>>,
    pub(crate) routes: Arc<Routes>,
    pub(crate) heat: Arc<Mutex<Heat>>,
    pub(crate) close_mode: Arc<Mutex<CloseMode>>,
    pub(crate) is_writable: bool,
    pub(crate) is_synced: bool,
    pub(crate) piece_bytes_max: u64,
    pub(crate) pause: Duration,
}

/// The mover.
pub(crate) struct Mover {
    setup: Setup,
    requests: VecDeque<Request>,
    reads: Reads,
    writes: Writes,
    traffic: Traffic,
    /// Requests that a keeper has, with their deadlines.
    awaited: HashMap<u64, u64>,
    /// Containers that are being opened, and the store that is asked.
    opening: HashMap<ContainerId, usize>,
}

impl Mover {
    pub(crate) fn new(setup: Setup, engine: Box<dyn Engine>) -> io::Result<Mover> {
        let reads = Reads::new(Arc::clone(&setup.exchange), Arc::clone(&setup.heat))?;
        let writes = Writes::new(Arc::clone(&setup.exchange), setup.is_synced, setup.pause);
        Ok(Mover {
            setup,
            requests: VecDeque::new(),
            reads,
            writes,
            traffic: Traffic::new(engine),
            awaited: HashMap::new(),
            opening: HashMap::new(),
        })
    }

    /// Works until the host closes and nothing is under way.
    pub(crate) fn run(mut self, _running: Running) {
        while !self.setup.exchange.threads.is_closing() {
            self.turn();
            self.sleep();
        }
        self.end();
    }

    fn turn(&mut self) {
        // In this order: what a keeper said before the host heard of it is known when the host asks on.
        self.setup.exchange.take_requests(&mut self.requests);
        while let Ok(message) = self.setup.inbox.try_recv() {
            self.hear(message);
        }
        while let Some(request) = self.requests.pop_front() {
            match request {
                Request::Operation(operation, memory) => self.take(&operation, memory),
                Request::Cancel(request_id) => self.cancel(request_id),
            }
        }
        self.expire();
        self.begin();
        self.traffic.send();
        self.reap();
        self.begin();
        self.traffic.send();
    }

    fn take(&mut self, operation: &Operation, memory: Option<HostBytes>) {
        let Operation { request_id, deadline_ns, action } = *operation;
        let answer = |status| self.setup.exchange.complete(Completion::new(request_id, status, 0));
        if deadline_ns <= monotonic_ns() {
            return answer(Status::EXPIRED);
        }
        let origin = Origin::Host { request_id, deadline_ns };
        match (action, memory) {
            (Action::Store { piece, checksum, place, .. }, Some(source)) => {
                if source.length() > self.setup.piece_bytes_max {
                    return answer(Status::INVALID);
                }
                if !self.setup.is_writable {
                    return answer(Status::READ_ONLY);
                }
                let length_bytes = source.length();
                let extent = Extent::default();
                let stored_unix_s = unix_s();
                let record = Record { piece, checksum, length_bytes, place, stored_unix_s, extent };
                self.writes.take(Store { origin, record, source });
            }
            (Action::Load { extent, piece, checksum, .. }, Some(target)) => {
                match Location::from_extent(extent) {
                    Some(location) => self.reads.take(Load { origin, location, piece, checksum, target }),
                    None => answer(Status::NOT_FOUND),
                }
            }
            (Action::Remove { extent }, _) => match Location::from_extent(extent) {
                None => answer(Status::NOT_FOUND),
                Some(location) if self.is_read_only(location) => answer(Status::READ_ONLY),
                Some(location) => {
                    self.await_keeper(request_id, deadline_ns, ToKeeper::Remove { request_id, location });
                }
            },
            (Action::Sync, _) => self.await_keeper(request_id, deadline_ns, ToKeeper::Sync { request_id }),
            _ => answer(Status::UNSUPPORTED),
        }
    }

    /// Whether it lies in a store that we write nothing to.
    fn is_read_only(&self, location: Location) -> bool {
        !self.setup.is_writable || self.setup.routes.find(location.container.writer).is_some()
    }

    fn await_keeper(&mut self, request_id: u64, deadline_ns: u64, message: ToKeeper) {
        self.awaited.insert(request_id, deadline_ns);
        self.tell(message);
    }

    /// Tells the keeper of the store that is written. One that has gone has no more use for it.
    fn tell(&self, message: ToKeeper) {
        let _ = self.setup.keepers[0].send(message);
    }

    fn hear(&mut self, message: ToMover) {
        match message {
            ToMover::Opened { container, file } => self.opened(container, file),
            ToMover::Acquired(acquired) => {
                if let Ok(acquired) = &acquired {
                    let file = Arc::clone(&acquired.file);
                    self.drop_file(|reads| reads.opened(acquired.container, Ok(file)));
                }
                self.writes.acquired(acquired);
            }
            ToMover::Answer(completion) => {
                // One that has expired meanwhile was answered.
                if self.awaited.remove(&completion.request_id).is_some() {
                    self.setup.exchange.complete(completion);
                }
            }
            ToMover::Removed(location) => self.reads.removed(location),
            ToMover::Gone(container) => self.drop_file(|reads| reads.gone(container)),
            ToMover::Rewrite(records) => records.into_iter().for_each(|record| self.rewrite(record)),
        }
    }

    fn opened(&mut self, container: ContainerId, file: Result<Arc<OwnedFd>, Status>) {
        let asked = self.opening.remove(&container).unwrap_or(0);
        // A writer that nobody told of yet may be of any store: they are asked in turn.
        let is_routed = self.setup.routes.find(container.writer).is_some();
        if file.as_ref().is_err_and(|&status| status == Status::NOT_FOUND) && !is_routed {
            let next = asked + 1;
            if next < self.setup.keepers.len() {
                return self.open(container, next);
            }
        }
        self.drop_file(|reads| reads.opened(container, file));
    }

    fn open(&mut self, container: ContainerId, store: usize) {
        self.opening.insert(container, store);
        let _ = self.setup.keepers[store].send(ToKeeper::Open(container));
    }

    /// Lets a keeper close what is no longer open: that may take long.
    fn drop_file(&mut self, replace: impl FnOnce(&mut Reads) -> Option<Arc<OwnedFd>>) {
        if let Some(file) = replace(&mut self.reads) {
            self.tell(ToKeeper::Drop(file));
        }
    }

    fn rewrite(&mut self, record: Record) {
        let location = Location::from_extent(record.extent).expect("a record that was read is sound");
        let Ok(mut pages) = Pages::new(record.length_bytes) else { return };
        let target = HostBytes::of_pages(&mut pages, record.length_bytes as usize);
        let (piece, checksum) = (record.piece, record.checksum);
        let origin = Origin::Rewrite { record, _pages: pages };
        self.reads.take(Load { origin, location, piece, checksum, target });
    }

    fn cancel(&mut self, request_id: u64) {
        let is_meant = |origin: &Origin| origin.request_id() == Some(request_id);
        if self.reads.end(Status::CANCELLED, is_meant) + self.writes.end(Status::CANCELLED, is_meant) > 0 {
            return;
        }
        if self.awaited.remove(&request_id).is_some() {
            self.setup.exchange.complete(Completion::new(request_id, Status::CANCELLED, 0));
        }
        // What the engine has cannot be recalled; it completes with its result.
    }

    fn expire(&mut self) {
        let now_ns = monotonic_ns();
        if self.next_deadline_ns() > now_ns {
            return;
        }
        let is_over = |origin: &Origin| origin.deadline_ns() <= now_ns;
        self.reads.end(Status::EXPIRED, is_over);
        self.writes.end(Status::EXPIRED, is_over);
        for (request_id, _) in self.awaited.extract_if(|_, &mut deadline_ns| deadline_ns <= now_ns) {
            self.setup.exchange.complete(Completion::new(request_id, Status::EXPIRED, 0));
        }
    }

    fn next_deadline_ns(&self) -> u64 {
        let awaited = self.awaited.values().copied().min().unwrap_or(u64::MAX);
        awaited.min(self.reads.next_deadline_ns()).min(self.writes.next_deadline_ns())
    }

    fn begin(&mut self) {
        for container in self.reads.begin(&mut self.traffic) {
            let store = self.setup.routes.find(container.writer).unwrap_or(0);
            self.open(container, store);
        }
        for message in self.writes.begin(&mut self.traffic) {
            self.tell(message);
        }
    }

    fn reap(&mut self) {
        for (flight, result) in self.traffic.reap() {
            match flight {
                Flight::Read(reading) => {
                    let (stores, failed) = self.reads.land(reading, result);
                    stores.into_iter().for_each(|store| self.writes.take(store));
                    self.drop_file(|_| failed);
                }
                Flight::Write(writing) => {
                    let landed = self.writes.land(writing, result, &mut self.traffic);
                    self.awaited.extend(landed.awaited);
                    landed.messages.into_iter().for_each(|message| self.tell(message));
                    let exchange = &self.setup.exchange;
                    landed.completions.into_iter().for_each(|completion| exchange.complete(completion));
                }
                Flight::Seal(sealing) => {
                    let message = self.writes.sealed(sealing, result);
                    self.tell(message);
                }
            }
        }
    }

    /// Sleeps until somebody calls, or the next deadline.
    fn sleep(&self) {
        let until_deadline_ns = self.next_deadline_ns().saturating_sub(monotonic_ns());
        self.wait(LOOK.min(Duration::from_nanos(until_deadline_ns)));
    }

    fn wait(&self, at_most: Duration) {
        let timeout =
            Timespec { tv_sec: at_most.as_secs() as i64, tv_nsec: i64::from(at_most.subsec_nanos()) };
        let bell = &self.setup.exchange.mover_bell;
        let bell_fd = bell.as_fd();
        let engine = self.traffic.event_fd();
        let mut fds = [PollFd::new(&bell_fd, PollFlags::IN), PollFd::new(&engine, PollFlags::IN)];
        // Interrupted or failed: the next turn looks.
        let _ = poll(&mut fds, Some(&timeout));
        bell.quiet();
    }

    /// Lets what is under way come to its end, seals, and lets the keepers finish.
    fn end(mut self) {
        self.reads.abandon();
        for message in self.writes.abandon(&mut self.traffic) {
            self.tell(message);
        }
        while !self.traffic.is_idle() {
            self.traffic.send();
            self.reap();
            self.reads.abandon();
            for message in self.writes.abandon(&mut self.traffic) {
                self.tell(message);
            }
            if !self.traffic.is_idle() {
                self.wait(LOOK);
            }
        }
        self.setup.exchange.threads.gave_memory_back();
        let mode = *self.setup.close_mode.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for keeper in &self.setup.keepers {
            let _ = keeper.send(ToKeeper::Close(mode));
        }
    }
}

/// Now, in seconds since 1970.
pub(crate) fn unix_s() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as u32)
}
