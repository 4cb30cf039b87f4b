//! The loads: gathered by container, coalesced, verified.
//!
//! Invariants: a load completes once, and `OK` only if what landed has the piece's seal and sum; its target is the host's again
//! only when its transfer is done. What an extent says is checked against nothing but the bytes: they decide.

use crate::coalesce::{GAP_BYTES_MAX, Plan, Want, plan};
use crate::exchange::Exchange;
use crate::files::Files;
use crate::format::{BLOCK_BYTES, ContainerId, Location};
use crate::heat::Heat;
use crate::io::Direction;
use crate::memory::Pages;
use crate::order::{Load, Origin, Store, status_of};
use crate::traffic::{Flight, Traffic};
use cascade_core::piece::seal;
use cascade_tier::{Extent, Status};
use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

/// The loads that were not begun, and what is known of where they lie.
pub(crate) struct Reads {
    exchange: Arc<Exchange>,
    ready: Vec<Load>,
    /// Loads of containers that are being opened.
    waiting: HashMap<ContainerId, Vec<Load>>,
    files: Files,
    /// Pieces that were removed from containers that are still there.
    removed: HashSet<(ContainerId, u64)>,
    /// Which pieces were loaded lately.
    heat: Arc<Mutex<Heat>>,
    /// Where that goes which lies between two pieces; nobody reads it.
    scratch: Pages,
}

/// A transfer of pieces that are loaded.
pub(crate) struct Reading {
    container: ContainerId,
    start: u64,
    landings: Vec<Landing>,
    pub(crate) staged_bytes: u64,
}

/// Loads of one span.
struct Landing {
    start: u64,
    /// The blocks of the span, or of its rest if the whole ones go straight to the target.
    pages: Option<Pages>,
    loads: Vec<Load>,
    is_direct: bool,
}

impl Reads {
    pub(crate) fn new(exchange: Arc<Exchange>, heat: Arc<Mutex<Heat>>) -> io::Result<Reads> {
        Ok(Reads {
            exchange,
            ready: Vec::new(),
            waiting: HashMap::new(),
            files: Files::default(),
            removed: HashSet::new(),
            heat,
            scratch: Pages::new(GAP_BYTES_MAX)?,
        })
    }

    /// Takes a load of the host's in, or answers it at once.
    pub(crate) fn take(&mut self, load: Load) {
        let Location { container, offset, length } = load.location;
        if length != load.target.length() {
            load.origin.fail(&self.exchange, Status::CORRUPT);
        } else if self.removed.contains(&(container, offset)) {
            load.origin.fail(&self.exchange, Status::NOT_FOUND);
        } else {
            self.ready.push(load);
        }
    }

    /// Begins what can be begun, and names the containers that have to be opened for the rest.
    pub(crate) fn begin(&mut self, traffic: &mut Traffic) -> Vec<ContainerId> {
        let mut to_open = Vec::new();
        if self.ready.is_empty() || traffic.is_full() {
            return to_open;
        }
        let mut loads = std::mem::take(&mut self.ready);
        loads.sort_by_key(|load| (load.location.container, load.location.offset));
        let mut loads = loads.into_iter().peekable();
        while let Some(first) = loads.next() {
            let container = first.location.container;
            let mut same = vec![first];
            while let Some(load) = loads.next_if(|load| load.location.container == container) {
                same.push(load);
            }
            match self.files.get(container) {
                Some(file) => self.start(&file, container, same, traffic),
                None => {
                    let waiting = self.waiting.entry(container).or_default();
                    if waiting.is_empty() {
                        to_open.push(container);
                    }
                    waiting.append(&mut same);
                }
            }
        }
        to_open
    }

    /// Starts loads of one container, which are sorted by offset; what is too much now stays ready.
    fn start(
        &mut self,
        file: &Arc<OwnedFd>,
        container: ContainerId,
        loads: Vec<Load>,
        traffic: &mut Traffic,
    ) {
        let wants: Vec<Want> = loads
            .iter()
            .map(|load| Want {
                offset: load.location.offset,
                length: load.location.length,
                is_direct: load.target.is_aligned()
                    && load.target.length() >= BLOCK_BYTES
                    && load.location.offset.is_multiple_of(BLOCK_BYTES),
            })
            .collect();
        let mut loads: Vec<Option<Load>> = loads.into_iter().map(Some).collect();
        for plan in plan(&wants) {
            if traffic.is_full() {
                break;
            }
            if let Err(error) = self.start_plan(file, container, &plan, &mut loads, traffic) {
                // There are no pages to be had.
                for index in plan.spans.iter().flat_map(|span| &span.wants) {
                    if let Some(load) = loads[*index].take() {
                        load.origin.fail(&self.exchange, status_of(&error));
                    }
                }
            }
        }
        self.ready.extend(loads.into_iter().flatten());
    }

    fn start_plan(
        &mut self,
        file: &Arc<OwnedFd>,
        container: ContainerId,
        plan: &Plan,
        loads: &mut [Option<Load>],
        traffic: &mut Traffic,
    ) -> io::Result<()> {
        let mut pages = Vec::new();
        for span in &plan.spans {
            let whole = if span.is_direct {
                let rest = loads[span.wants[0]].as_ref().map_or(0, |load| load.target.rest().length());
                if rest > 0 { Some(Pages::new(BLOCK_BYTES)?) } else { None }
            } else {
                Some(Pages::new(span.end - span.start)?)
            };
            pages.push(whole);
        }
        let (mut parts, mut at, mut landings, mut staged_bytes) = (Vec::new(), plan.start(), Vec::new(), 0);
        for (span, mut pages) in plan.spans.iter().zip(pages) {
            if span.start > at {
                parts.push(self.scratch.part(0..(span.start - at) as usize));
            }
            at = span.end;
            let of_span = span.wants.iter().filter_map(|&index| loads[index].take());
            let of_span: Vec<Load> = of_span.collect();
            if span.is_direct {
                parts.push(of_span[0].target.whole_blocks().part());
            }
            if let Some(pages) = &mut pages {
                staged_bytes += pages.length() as u64;
                parts.push(pages.part(0..pages.length()));
            }
            landings.push(Landing { start: span.start, pages, loads: of_span, is_direct: span.is_direct });
        }
        let pieces: usize = landings.iter().map(|landing| landing.loads.len()).sum();
        self.exchange.count(|counts| {
            counts.reads += 1;
            counts.coalesced_loads += pieces as u64 - 1;
        });
        let start = plan.start();
        let reading = Reading { container, start, landings, staged_bytes };
        traffic.start(Arc::clone(file), start, Direction::Read, parts, Flight::Read(reading));
        Ok(())
    }

    /// Verifies what has landed and answers. What was read to be rewritten comes back as stores; a file that failed, to be
    /// closed.
    pub(crate) fn land(
        &mut self,
        reading: Reading,
        result: io::Result<u64>,
    ) -> (Vec<Store>, Option<Arc<OwnedFd>>) {
        let moved = match result {
            Ok(moved) => moved,
            Err(error) => {
                let status = status_of(&error);
                for load in reading.landings.iter().flat_map(|landing| &landing.loads) {
                    load.origin.fail(&self.exchange, status);
                }
                // Opened anew it may work again, as after an eviction by the server.
                return (Vec::new(), self.files.remove(reading.container));
            }
        };
        let end = reading.start + moved;
        let mut stores = Vec::new();
        for landing in reading.landings {
            let Landing { start, pages, loads, is_direct } = landing;
            for load in loads {
                let status = check(&load, start, end, pages.as_ref(), is_direct);
                if status.is_ok() {
                    stores.extend(self.loaded(load, !is_direct));
                } else {
                    load.origin.fail(&self.exchange, status);
                }
            }
        }
        (stores, None)
    }

    fn loaded(&self, load: Load, is_copied: bool) -> Option<Store> {
        let bytes = load.target.length();
        let completion = load.origin.done(bytes, Extent::default());
        self.exchange.count(|counts| {
            counts.loaded_pieces += u64::from(completion.is_some());
            counts.loaded_bytes += if completion.is_some() { bytes } else { 0 };
            counts.copied_bytes += if is_copied { bytes } else { 0 };
        });
        if let Some(completion) = completion {
            self.heat.lock().unwrap_or_else(PoisonError::into_inner).note(load.location);
            self.exchange.complete(completion);
        }
        match load.origin {
            Origin::Host { .. } => None,
            Origin::Rewrite { record, .. } => {
                Some(Store { record, source: load.target, origin: load.origin })
            }
        }
    }

    /// A container was opened, or could not be.
    #[must_use = "who drops a file may wait for the file system"]
    pub(crate) fn opened(
        &mut self,
        container: ContainerId,
        file: Result<Arc<OwnedFd>, Status>,
    ) -> Option<Arc<OwnedFd>> {
        let loads = self.waiting.remove(&container).unwrap_or_default();
        match file {
            Ok(file) => {
                self.ready.extend(loads);
                self.files.insert(container, file)
            }
            Err(status) => {
                loads.iter().for_each(|load| load.origin.fail(&self.exchange, status));
                None
            }
        }
    }

    /// A container was deleted.
    #[must_use = "who drops a file may wait for the file system"]
    pub(crate) fn gone(&mut self, container: ContainerId) -> Option<Arc<OwnedFd>> {
        self.removed.retain(|(of, _)| *of != container);
        self.files.remove(container)
    }

    /// A piece was removed.
    pub(crate) fn removed(&mut self, location: Location) {
        self.removed.insert((location.container, location.offset));
    }

    /// Takes out the loads that were not begun and that `is_over`, answered with a status.
    pub(crate) fn end(&mut self, status: Status, is_over: impl Fn(&Origin) -> bool) -> usize {
        let exchange = &self.exchange;
        let mut count = 0;
        let mut stays = |load: &Load| {
            let is_over = is_over(&load.origin);
            if is_over {
                load.origin.fail(exchange, status);
                count += 1;
            }
            !is_over
        };
        self.ready.retain(&mut stays);
        // The containers stay on the list: they are being opened.
        self.waiting.values_mut().for_each(|loads| loads.retain(&mut stays));
        count
    }

    pub(crate) fn next_deadline_ns(&self) -> u64 {
        let loads = self.ready.iter().chain(self.waiting.values().flatten());
        loads.map(|load| load.origin.deadline_ns()).min().unwrap_or(u64::MAX)
    }

    /// Drops what was not begun, without an answer.
    pub(crate) fn abandon(&mut self) {
        self.ready.clear();
        self.waiting.clear();
    }
}

/// Whether the piece is what landed; moves it to its target where it did not land there.
fn check(load: &Load, span_start: u64, end: u64, pages: Option<&Pages>, is_direct: bool) -> Status {
    let Location { offset, length, .. } = load.location;
    if offset + length > end {
        // The file ends before: it was cut short.
        return Status::NOT_FOUND;
    }
    let seal = seal(&load.piece.into(), length);
    let sum = match pages {
        Some(pages) if is_direct => {
            let sum = load.target.whole_blocks().sum(seal);
            load.target.rest().copy_from(pages, 0, sum)
        }
        Some(pages) => load.target.copy_from(pages, (offset - span_start) as usize, seal),
        None => load.target.sum(seal),
    };
    if sum.value() == load.checksum { Status::OK } else { Status::CORRUPT }
}
