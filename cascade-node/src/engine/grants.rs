//! Slots handed to clients ahead of need, and the requests that wait for some.

use cascade_core::flow::{Action, Flow, Occupancy};
use cascade_core::grant::{LANE_CELLS, Lane};
use cascade_core::page::{LANES, Page};
use cascade_core::request::{Ticket, Verdict};

use super::memory::SegmentMemory;
use super::now_ns;
use super::store::Store;
use crate::config::Clients;

/// Slots that one call makes free beyond those that are wanted at once.
const EVICT_AHEAD_MAX: u64 = 32;
/// How often requests that wait are tried again while nothing tells that there is more room, in nanoseconds.
const RETRY_PAUSE_NS: u64 = 1_000_000;

/// A client's request for slots that cannot be granted yet.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    page: u16,
    ticket: Ticket,
    slot_bytes: u64,
    deadline_ns: u64,
}

/// The margins of handing out, and who waits.
#[derive(Debug)]
pub(super) struct Grants {
    share: f64,
    cells_max: u64,
    flow: Flow,
    growing: Vec<(u8, u32)>,
    waiting: Vec<Waiting>,
    retry_at_ns: u64,
    next_lane: usize,
}

impl Grants {
    pub(super) fn new(config: &Clients, flow: Flow) -> Self {
        Self {
            share: config.grant_share,
            cells_max: u64::from(config.grants_per_class_max).min(LANE_CELLS as u64),
            flow,
            growing: Vec::new(),
            waiting: Vec::new(),
            retry_at_ns: 0,
            next_lane: 0,
        }
    }

    /// Requests that wait for slots.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Answers a request for slots, now or when there are some. `None`: it waits.
    pub(super) fn reserve(
        &mut self,
        store: &mut Store,
        memory: &mut SegmentMemory,
        page: u16,
        len_bytes: u64,
        deadline_ns: u64,
        ticket: Ticket,
    ) -> Option<Verdict> {
        let Some(slot_bytes) = store.segment().geometry().slot_bytes(len_bytes) else {
            return Some(Verdict::TooLarge);
        };
        if store.is_draining {
            store.counters.refused_draining += 1;
            return Some(Verdict::NoRoom);
        }
        let waiting = Waiting { page, ticket, slot_bytes, deadline_ns };
        let verdict = self.attempt(store, memory, &waiting);
        if verdict.is_none() {
            // A client has so many completion entries, and waits for one answer in each.
            self.waiting.retain(|other| other.page != page || other.ticket.index() != ticket.index());
            self.waiting.push(waiting);
        }
        verdict
    }

    /// Tries the waiting requests again; calls `answer` for those that are decided.
    pub(super) fn retry(
        &mut self,
        store: &mut Store,
        memory: &mut SegmentMemory,
        mut answer: impl FnMut(&mut Store, u16, Ticket, Verdict),
    ) {
        if now_ns() < self.retry_at_ns {
            return;
        }
        self.retry_at_ns = now_ns() + RETRY_PAUSE_NS;
        let waiting = std::mem::take(&mut self.waiting);
        for request in waiting {
            match self.attempt(store, memory, &request) {
                Some(verdict) => answer(store, request.page, request.ticket, verdict),
                None => self.waiting.push(request),
            }
        }
    }

    /// Nobody waits for this answer any more; `true` if it was still open.
    pub(super) fn cancel(&mut self, page: u16, ticket: Ticket) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|waiting| waiting.page != page || waiting.ticket != ticket);
        self.waiting.len() < before
    }

    /// The client is gone.
    pub(super) fn forget(&mut self, page: u16) {
        self.waiting.retain(|waiting| waiting.page != page);
    }

    /// Fills a client's lane up again after it has taken from it.
    pub(super) fn top_up(
        &mut self,
        store: &mut Store,
        memory: &mut SegmentMemory,
        page: u16,
        slot_bytes: u64,
    ) {
        if store.is_draining {
            return;
        }
        let Some(shared) = store.segment().page(page) else { return };
        let Some(lane) = shared.lane_for(slot_bytes) else { return };
        let target = self.target(store, slot_bytes);
        if (lane.outstanding() as u64) * 2 < target.max(2) {
            self.fill(store, memory, page, lane, slot_bytes, target);
        }
    }

    /// Chunks that got their memory, or did not.
    pub(super) fn collect_growth(&mut self, store: &mut Store, memory: &mut SegmentMemory) -> bool {
        let Ok(grown) = memory.grown() else { return false };
        self.retry_at_ns = if grown.is_empty() { self.retry_at_ns } else { 0 };
        for growth in &grown {
            self.growing.retain(|&chunk| chunk != (growth.arena, growth.chunk));
            if growth.status.is_ok() {
                self.flow.grown();
                store.back(growth.arena, growth.chunk);
            } else {
                store.counters.refused_growths += 1;
                tracing::warn!(status = %growth.status, "the segment does not grow further for now");
                self.flow.growth_refused(now_ns());
            }
        }
        !grown.is_empty()
    }

    /// Bytes of memory that come without an eviction, as far as can be told.
    pub(super) fn growth_bytes(&self, store: &Store) -> u64 {
        match self.flow.may_grow(now_ns()) {
            true => store.unbacked_chunks() * store.segment().geometry().chunk_bytes,
            false => 0,
        }
    }

    /// Whether chunks are on their way.
    pub(super) fn is_growing(&self) -> bool {
        !self.growing.is_empty()
    }

    /// Others on this machine need memory: gives one chunk back, and does not grow again for a while.
    pub(super) fn shrink(&mut self, store: &mut Store, memory: &mut SegmentMemory) -> bool {
        self.flow.hold_growth(now_ns());
        store.shrink().is_some_and(|(arena, chunk)| memory.release(arena, chunk).is_ok())
    }

    /// Starts putting memory behind more chunks.
    pub(super) fn grow(&mut self, store: &Store, memory: &mut SegmentMemory, chunks: u64) {
        let more: Vec<(u8, u32)> =
            store.unbacked().filter(|chunk| !self.growing.contains(chunk)).take(chunks as usize).collect();
        let accepted = memory.grow(&more).unwrap_or(0);
        self.growing.extend(&more[..accepted]);
        for _ in accepted as u64..chunks {
            self.flow.grown();
        }
        if accepted == 0 && chunks > 0 {
            // The tier takes no more for now: whoever needs room now gets it by eviction.
            self.flow.hold_growth(now_ns());
        }
    }

    /// The first step of growth, before anybody asks.
    pub(super) fn begin(&mut self, store: &Store, memory: &mut SegmentMemory, chunks: u64) {
        let chunks = chunks.min(store.unbacked_chunks());
        self.flow.started(chunks);
        self.grow(store, memory, chunks);
    }

    fn attempt(
        &mut self,
        store: &mut Store,
        memory: &mut SegmentMemory,
        request: &Waiting,
    ) -> Option<Verdict> {
        let shared = store.segment().page(request.page)?;
        let lane = match shared.lane_for(request.slot_bytes) {
            Some(lane) => lane,
            None => self.claim_lane(store, request.page, &shared, request.slot_bytes),
        };
        let target = self.target(store, request.slot_bytes);
        self.fill(store, memory, request.page, lane, request.slot_bytes, target);
        if lane.outstanding() == 0 {
            self.call_in(store, |page, lane| page != request.page && lane.slot_bytes() == request.slot_bytes);
            self.fill(store, memory, request.page, lane, request.slot_bytes, 1);
        }
        if lane.outstanding() == 0 {
            // Grants of other sizes lie about in every chunk, so that none can be recut: without them one can.
            self.call_in(store, |_, _| true);
            self.fill(store, memory, request.page, lane, request.slot_bytes, 1);
        }
        if lane.outstanding() > 0 {
            return Some(Verdict::Granted);
        }
        let more_is_coming = self.is_growing() || store.lingers(request.slot_bytes);
        if !more_is_coming {
            return Some(Verdict::NoRoom);
        }
        (now_ns() >= request.deadline_ns).then_some(Verdict::Expired)
    }

    /// Cells that a lane is filled to: the client's part of the share, at least one.
    fn target(&self, store: &Store, slot_bytes: u64) -> u64 {
        let geometry = store.segment().geometry();
        let bytes: u64 = geometry.arenas().map(|arena| geometry.arena_bytes(arena)).sum();
        let slots = (bytes as f64 * self.share) as u64 / slot_bytes / (store.pages.len() as u64).max(1);
        slots.clamp(1, self.cells_max)
    }

    fn fill(
        &mut self,
        store: &mut Store,
        memory: &mut SegmentMemory,
        page: u16,
        lane: Lane<'static>,
        slot_bytes: u64,
        target: u64,
    ) {
        let missing = target.saturating_sub(lane.outstanding() as u64);
        if missing == 0 {
            return;
        }
        self.provide(store, memory, slot_bytes, missing, true);
        for _ in 0..missing {
            let Some(slot) = store.grant(page, slot_bytes) else { return };
            store.counters.grants += 1;
            if !lane.hand_out(slot) {
                store.take_back(page, slot);
                return;
            }
        }
    }

    /// Lets the flow decide how `wanted` slots become free, and does it; without `evicts` only by growth.
    pub(super) fn provide(
        &mut self,
        store: &mut Store,
        memory: &mut SegmentMemory,
        slot_bytes: u64,
        wanted: u64,
        evicts: bool,
    ) {
        let geometry = *store.segment().geometry();
        let occupancy = Occupancy {
            free_slots: store.free_slots(slot_bytes),
            slots: store.backed_bytes() / slot_bytes,
            unbacked_chunks: store.unbacked_chunks(),
            slots_per_chunk: geometry.chunk_bytes / slot_bytes,
        };
        let mut action = self.flow.demand(now_ns(), wanted, occupancy);
        if let Action::Grow { chunks } = action {
            self.grow(store, memory, chunks);
            action = self.flow.demand(now_ns(), wanted, occupancy);
        }
        if let (Action::Evict { slots }, true) = (action, evicts) {
            // The margin fills up over many calls, so that no single one makes everybody wait.
            let slots = slots.min(wanted.saturating_sub(occupancy.free_slots) + EVICT_AHEAD_MAX);
            store.make_room(slot_bytes, occupancy.free_slots + slots);
        }
    }

    /// A lane for a size that the client has none for: an empty one, or in turn one whose grants go back.
    fn claim_lane(
        &mut self,
        store: &mut Store,
        page: u16,
        shared: &Page<'static>,
        slot_bytes: u64,
    ) -> Lane<'static> {
        let lane =
            (0..LANES).map(|i| shared.lane(i)).find(|lane| lane.slot_bytes() == 0).unwrap_or_else(|| {
                self.next_lane = (self.next_lane + 1) % LANES;
                shared.lane(self.next_lane)
            });
        for slot in lane.revoke() {
            store.take_back(page, slot);
        }
        lane.assign(slot_bytes);
        lane
    }

    /// Calls in the grants in the lanes so chosen that clients have not taken. They get others with their next commit.
    fn call_in(&mut self, store: &mut Store, mut choose: impl FnMut(u16, Lane<'static>) -> bool) {
        for page in store.pages.clone() {
            let Some(shared) = store.segment().page(page) else { continue };
            for lane in (0..LANES).map(|i| shared.lane(i)).filter(|&lane| choose(page, lane)) {
                for slot in lane.revoke() {
                    store.take_back(page, slot);
                }
            }
        }
    }
}
