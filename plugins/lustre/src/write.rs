//! The stores: laid into records of our open container, which is sealed when it is full.
//!
//! Invariants: a store completes `OK` only when its bytes are in the file, and the keeper hears of it before the host does;
//! records of a container do not overlap; after a failed write nothing more goes into that container.

use crate::exchange::Exchange;
use crate::format::{BLOCK_BYTES, ContainerId, Footer, Head, Location, footer_bytes};
use crate::io::Direction;
use crate::link::{Acquired, Stored, ToKeeper};
use crate::memory::Pages;
use crate::order::{Origin, Store, status_of};
use crate::record::{LARGE_BYTES, Layout};
use crate::traffic::{Flight, Traffic};
use cascade_tier::{Completion, Record, Status, monotonic_ns};
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

/// So many bytes may wait to be rewritten.
const REWRITE_BYTES_MAX: u64 = 64 << 20;

/// The stores that were not begun, and the containers that they go into.
pub(crate) struct Writes {
    exchange: Arc<Exchange>,
    /// Whether stores complete only when they are durable.
    is_synced: bool,
    /// How long not to ask again for a container that was refused.
    pause: Duration,
    waiting: VecDeque<Store>,
    current: Option<Open>,
    /// Full, or spoiled, but with writes under way.
    retired: Vec<Open>,
    has_asked: bool,
    refused: Option<Refused>,
}

/// Until when, and how, stores are refused.
#[derive(Clone, Copy)]
struct Refused {
    until_ns: u64,
    status: Status,
}

/// A container that is written.
struct Open {
    container: ContainerId,
    file: Arc<OwnedFd>,
    next: u64,
    bytes: u64,
    /// What is in it.
    pieces: Vec<Record>,
    /// How many are in it, or may be soon.
    pieces_begun: u64,
    records_under_way: usize,
}

/// A record that is written.
pub(crate) struct Writing {
    container: ContainerId,
    record_bytes: u64,
    stores: Vec<Store>,
    pages: Vec<Pages>,
}

/// What comes of a record that was written.
#[derive(Default)]
pub(crate) struct Landed {
    /// For the keeper, before the completions are the host's.
    pub(crate) messages: Vec<ToKeeper>,
    pub(crate) completions: Vec<Completion>,
    /// Requests that the keeper answers, with their deadlines.
    pub(crate) awaited: Vec<(u64, u64)>,
}

/// A footer that is written.
pub(crate) struct Sealing {
    container: ContainerId,
    file: Arc<OwnedFd>,
    /// How long the container is without the footer.
    records_bytes: u64,
    pages: Pages,
}

impl Writing {
    pub(crate) fn staged_bytes(&self) -> u64 {
        self.pages.iter().map(|pages| pages.length() as u64).sum()
    }
}

impl Sealing {
    pub(crate) fn staged_bytes(&self) -> u64 {
        self.pages.length() as u64
    }
}

impl Writes {
    pub(crate) fn new(exchange: Arc<Exchange>, is_synced: bool, pause: Duration) -> Writes {
        Writes {
            exchange,
            is_synced,
            pause,
            waiting: VecDeque::new(),
            current: None,
            retired: Vec::new(),
            has_asked: false,
            refused: None,
        }
    }

    /// Takes a store in, or answers it at once. Pieces that are rewritten wait for room, for they are rewritten when there is
    /// none; as many as memory allows.
    pub(crate) fn take(&mut self, store: Store) {
        let is_refused = match &store.origin {
            Origin::Host { .. } => self.refusal(),
            Origin::Rewrite { .. } => (self.rewrite_bytes() > REWRITE_BYTES_MAX).then_some(Status::NO_SPACE),
        };
        match is_refused {
            Some(status) => store.origin.fail(&self.exchange, status),
            None => self.waiting.push_back(store),
        }
    }

    /// What pieces take in memory that wait to be rewritten.
    fn rewrite_bytes(&self) -> u64 {
        let rewrites = self.waiting.iter().filter(|store| store.origin.request_id().is_none());
        rewrites.map(|store| store.source.length()).sum()
    }

    fn refusal(&mut self) -> Option<Status> {
        if self.refused.is_some_and(|refused| refused.until_ns <= monotonic_ns()) {
            self.refused = None;
        }
        self.refused.map(|refused| refused.status)
    }

    /// Begins what can be begun. Asks for a container where that is what it waits for.
    pub(crate) fn begin(&mut self, traffic: &mut Traffic) -> Vec<ToKeeper> {
        let mut messages = Vec::new();
        let is_refused = self.refusal().is_some();
        while !self.waiting.is_empty() && !traffic.is_full() {
            let Some(open) = &mut self.current else {
                if !self.has_asked && !is_refused {
                    self.has_asked = true;
                    messages.push(ToKeeper::Acquire);
                }
                break;
            };
            let mut layout = Layout::new();
            let room = open.bytes - open.next;
            let fits = |store: &&Store| layout.take(store.source.length(), room, open.pieces_begun);
            let count = self.waiting.iter().take_while(fits).count();
            if count == 0 {
                self.retired.extend(self.current.take());
                messages.extend(self.seal(traffic));
                continue;
            }
            let stores: Vec<Store> = self.waiting.drain(..count).collect();
            if let Err((error, stores)) = start(open, &layout, stores, traffic) {
                let status = status_of(&error);
                stores.iter().for_each(|store| store.origin.fail(&self.exchange, status));
            } else {
                self.exchange.count(|counts| counts.writes += 1);
            }
        }
        messages
    }

    /// A container was made for us, or none is to be had.
    pub(crate) fn acquired(&mut self, acquired: Result<Acquired, Status>) {
        self.has_asked = false;
        match acquired {
            Ok(Acquired { container, file, bytes }) => {
                let (next, pieces, pieces_begun, records_under_way) = (0, Vec::new(), 0, 0);
                self.current =
                    Some(Open { container, file, next, bytes, pieces, pieces_begun, records_under_way });
            }
            Err(status) => self.refuse(status),
        }
    }

    /// Answers all that wait, and what comes in the next time.
    fn refuse(&mut self, status: Status) {
        let until_ns = monotonic_ns() + self.pause.as_nanos() as u64;
        self.refused = Some(Refused { until_ns, status });
        self.end(status, |origin| origin.request_id().is_some());
    }

    /// A record was written, or was not.
    pub(crate) fn land(
        &mut self,
        writing: Writing,
        result: io::Result<u64>,
        traffic: &mut Traffic,
    ) -> Landed {
        let is_current = self.current.as_ref().is_some_and(|open| open.container == writing.container);
        let open = self.current.iter_mut().chain(&mut self.retired);
        let open = open.into_iter().find(|open| open.container == writing.container);
        let open = open.expect("a container with records under way is kept");
        open.records_under_way -= 1;
        let failure = match result {
            Ok(moved) if moved == writing.record_bytes => None,
            Ok(_) => Some(Status::IO),
            Err(error) => Some(status_of(&error)),
        };
        let mut landed = Landed::default();
        if let Some(status) = failure {
            writing.stores.iter().for_each(|store| store.origin.fail(&self.exchange, status));
            if is_current {
                self.retired.extend(self.current.take());
            }
            if status == Status::READ_ONLY {
                self.refuse(status);
            }
        } else {
            let (stored, awaited, completions) = open.stored(&writing.stores, self.is_synced);
            (landed.awaited, landed.completions) = (awaited, completions);
            let bytes: u64 = writing.stores.iter().map(|store| store.source.length()).sum();
            self.exchange.count(|counts| {
                counts.stored_pieces += stored.news_from as u64;
                counts.rewritten_pieces += (stored.records.len() - stored.news_from) as u64;
                counts.stored_bytes += bytes;
            });
            landed.messages.push(ToKeeper::Stored(stored));
        }
        landed.messages.extend(self.seal(traffic));
        landed
    }

    /// Seals the retired containers that nothing more goes into.
    fn seal(&mut self, traffic: &mut Traffic) -> Vec<ToKeeper> {
        let mut messages = Vec::new();
        for open in self.retired.extract_if(.., |open| open.records_under_way == 0) {
            let Open { container, file, next, pieces, .. } = open;
            let footer = footer_bytes(pieces.len() as u64);
            match Pages::new(footer) {
                Ok(mut pages) if !pieces.is_empty() => {
                    Footer::encode_into(container, next, &pieces, pages.bytes_mut(0..footer as usize));
                    let parts = vec![pages.part(0..footer as usize)];
                    let sealing = Sealing { container, file: Arc::clone(&file), records_bytes: next, pages };
                    traffic.start(file, next, Direction::Write, parts, Flight::Seal(sealing));
                }
                _ => messages.push(ToKeeper::Sealed { container, bytes: next, file }),
            }
        }
        messages
    }

    /// A footer was written, or was not: then the container has none, and is read without.
    pub(crate) fn sealed(&mut self, sealing: Sealing, result: io::Result<u64>) -> ToKeeper {
        let Sealing { container, file, records_bytes, pages } = sealing;
        let footer_bytes = pages.length() as u64;
        let is_whole = result.is_ok_and(|moved| moved == footer_bytes);
        let bytes = if is_whole { records_bytes + footer_bytes } else { records_bytes };
        ToKeeper::Sealed { container, bytes, file }
    }

    /// Takes out the stores that were not begun and that `is_over`, answered with a status.
    pub(crate) fn end(&mut self, status: Status, is_over: impl Fn(&Origin) -> bool) -> usize {
        let before = self.waiting.len();
        let exchange = &self.exchange;
        self.waiting.retain(|store| {
            let is_over = is_over(&store.origin);
            if is_over {
                store.origin.fail(exchange, status);
            }
            !is_over
        });
        before - self.waiting.len()
    }

    pub(crate) fn next_deadline_ns(&self) -> u64 {
        let deadlines = self.waiting.iter().map(|store| store.origin.deadline_ns());
        // What waits for room asks again then.
        let again = self.refused.filter(|_| !self.waiting.is_empty()).map(|refused| refused.until_ns);
        deadlines.chain(again).min().unwrap_or(u64::MAX)
    }

    /// Drops what was not begun, without an answer, and seals what is open.
    pub(crate) fn abandon(&mut self, traffic: &mut Traffic) -> Vec<ToKeeper> {
        self.waiting.clear();
        self.retired.extend(self.current.take());
        self.seal(traffic)
    }
}

impl Open {
    /// What the keeper has to know of a record; and of the host's requests in it, those that wait for that, or the completions.
    fn stored(&mut self, stores: &[Store], is_synced: bool) -> (Stored, Vec<(u64, u64)>, Vec<Completion>) {
        let is_host = |store: &&Store| store.origin.request_id().is_some();
        let hosts = stores.iter().filter(is_host);
        let rewritten = stores.iter().filter(|store| !is_host(store));
        let records: Vec<Record> = hosts.clone().chain(rewritten).map(|store| store.record).collect();
        self.pieces.extend(&records);
        let news_from = hosts.clone().count();
        let done =
            hosts.clone().filter_map(|store| store.origin.done(store.source.length(), store.record.extent));
        let done: Vec<Completion> = done.collect();
        let awaited =
            hosts.filter_map(|store| Some((store.origin.request_id()?, store.origin.deadline_ns())));
        let (awaited, answers, completions) =
            if is_synced { (awaited.collect(), done, Vec::new()) } else { (Vec::new(), Vec::new(), done) };
        (Stored { records, file: Arc::clone(&self.file), answers, news_from }, awaited, completions)
    }
}

/// Starts the write of a record; gives the stores back if there is no memory for it.
fn start(
    open: &mut Open,
    layout: &Layout,
    mut stores: Vec<Store>,
    traffic: &mut Traffic,
) -> Result<(), (io::Error, Vec<Store>)> {
    let offset = open.next;
    for (store, at) in stores.iter_mut().zip(layout.offsets()) {
        let location =
            Location { container: open.container, offset: offset + at, length: store.source.length() };
        store.record.extent = location.to_extent();
    }
    let mut pages = match staging(&stores, layout) {
        Ok(pages) => pages,
        Err(error) => return Err((error, stores)),
    };
    let head = Head {
        container: open.container,
        offset,
        record_bytes: layout.record_bytes(),
        pieces: stores.iter().map(|store| store.record).collect(),
    };
    let mut staged = pages.iter_mut();
    let packed = staged.next().expect("there is a head");
    head.encode_into(packed.bytes_mut(0..BLOCK_BYTES as usize));
    let mut parts = vec![packed.part(0..layout.staged_bytes() as usize)];
    for (store, at) in stores.iter().zip(layout.offsets()) {
        let source = store.source;
        if source.length() < LARGE_BYTES {
            source.copy_to(packed, at as usize);
        } else if source.is_aligned() {
            parts.push(source.whole_blocks().part());
            if source.rest().length() > 0 {
                let page = staged.next().expect("there is a page for each rest");
                source.rest().copy_to(page, 0);
                parts.push(page.part(0..page.length()));
            }
        } else {
            let page = staged.next().expect("there are pages for each piece that lies unaligned");
            source.copy_to(page, 0);
            parts.push(page.part(0..page.length()));
        }
    }
    open.next += layout.record_bytes();
    open.pieces_begun += stores.len() as u64;
    open.records_under_way += 1;
    let writing = Writing { container: open.container, record_bytes: layout.record_bytes(), stores, pages };
    traffic.start(Arc::clone(&open.file), offset, Direction::Write, parts, Flight::Write(writing));
    Ok(())
}

/// The memory of our own that a record goes through: head and packed pieces first, then what direct I/O does not take.
fn staging(stores: &[Store], layout: &Layout) -> io::Result<Vec<Pages>> {
    let mut pages = vec![Pages::new(layout.staged_bytes())?];
    for store in stores.iter().filter(|store| store.source.length() >= LARGE_BYTES) {
        if !store.source.is_aligned() {
            pages.push(Pages::new(store.source.length())?);
        } else if store.source.rest().length() > 0 {
            pages.push(Pages::new(BLOCK_BYTES)?);
        }
    }
    Ok(pages)
}
