//! What the host and the threads of an open tier hand each other.
//!
//! Invariants: every operation that was taken leaves by exactly one completion, unless the tier is closed first; the event
//! descriptor is readable while a completion waits; no lock here is held around anything that can wait.

use crate::bell::Bell;
use crate::memory::HostBytes;
use crate::stats::Counts;
use crate::threads::Threads;
use cascade_tier::{Action, Completion, Memory, MemoryId, MemoryRange, News, Operation, Status, TierError};
use std::collections::{HashMap, VecDeque};
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many operations may be under way, completions that were not polled included.
pub(crate) const QUEUE_DEPTH: usize = 1024;

/// So many news may wait for the host before reading what others stored goes on: memory for them is bounded.
pub(crate) const NEWS_WAITING: usize = 65_536;

/// What the host asked for, in order.
#[derive(Debug)]
pub(crate) enum Request {
    /// To do something, with the memory that it is about.
    Operation(Operation, Option<HostBytes>),
    /// Not to do it any more, if that is still possible.
    Cancel(u64),
}

/// What the host and the threads hand each other.
#[derive(Debug)]
pub(crate) struct Exchange {
    state: Mutex<State>,
    /// Readable while completions wait.
    event: Bell,
    /// Wakes the mover.
    pub(crate) mover_bell: Bell,
    /// Those who work behind it.
    pub(crate) threads: Threads,
}

#[derive(Debug, Default)]
struct State {
    requests: VecDeque<Request>,
    /// What was taken and not polled yet, with the memory that it has.
    under_way: HashMap<u64, Option<MemoryId>>,
    completed: VecDeque<Completion>,
    memories: HashMap<MemoryId, Known>,
    news: VecDeque<News>,
    counts: Counts,
}

#[derive(Debug)]
struct Known {
    memory: Memory,
    /// Operations under way that name it.
    uses: usize,
}

impl Exchange {
    pub(crate) fn new() -> Result<Exchange, TierError> {
        Ok(Exchange {
            state: Mutex::default(),
            event: Bell::new()?,
            mover_bell: Bell::new()?,
            threads: Threads::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change of the state is one step, so a panic leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // The host's side.

    pub(crate) fn learn(&self, memory: &Memory) -> Result<MemoryId, TierError> {
        let mut state = self.lock();
        let id = (0..MemoryId::MAX).find(|id| !state.memories.contains_key(id)).ok_or_else(|| {
            TierError::new(Status::NO_SPACE, "too many memories are registered; forget some")
        })?;
        state.memories.insert(id, Known { memory: *memory, uses: 0 });
        Ok(id)
    }

    pub(crate) fn forget(&self, id: MemoryId) -> Result<(), TierError> {
        let mut state = self.lock();
        match state.memories.get(&id) {
            None => Err(TierError::new(
                Status::NOT_FOUND,
                format!("memory {id} was never registered or imported"),
            )),
            Some(known) if known.uses > 0 => {
                Err(TierError::invalid(format!("memory {id} is in use; poll its operations first")))
            }
            Some(_) => {
                state.memories.remove(&id);
                Ok(())
            }
        }
    }

    /// Takes as many as there is room for.
    pub(crate) fn submit(&self, operations: &[Operation]) -> usize {
        let mut state = self.lock();
        let taken = operations.len().min(QUEUE_DEPTH.saturating_sub(state.under_way.len()));
        for operation in &operations[..taken] {
            state.accept(operation);
        }
        self.event.set(!state.completed.is_empty());
        drop(state);
        if taken > 0 {
            self.mover_bell.ring();
        }
        taken
    }

    pub(crate) fn poll(&self, completions: &mut [Completion]) -> usize {
        let mut state = self.lock();
        let count = completions.len().min(state.completed.len());
        for place in &mut completions[..count] {
            let completion = state.completed.pop_front().expect("as many as were counted");
            state.under_way.remove(&completion.request_id);
            *place = completion;
        }
        self.event.set(!state.completed.is_empty());
        count
    }

    pub(crate) fn cancel(&self, request_id: u64) -> Result<(), TierError> {
        let mut state = self.lock();
        if !state.under_way.contains_key(&request_id) {
            return Err(TierError::new(Status::NOT_FOUND, format!("request {request_id} is not under way")));
        }
        state.requests.push_back(Request::Cancel(request_id));
        drop(state);
        self.mover_bell.ring();
        Ok(())
    }

    pub(crate) fn take_news(&self, news: &mut [News]) -> usize {
        let mut state = self.lock();
        let count = news.len().min(state.news.len());
        for place in &mut news[..count] {
            *place = state.news.pop_front().expect("as many as were counted");
        }
        count
    }

    pub(crate) fn event(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.lock().counts.clone()
    }

    /// How many operations are under way, and how many news wait.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let state = self.lock();
        (state.under_way.len(), state.news.len())
    }

    // The threads' side.

    /// Moves what the host asked for since the last time into `requests`.
    pub(crate) fn take_requests(&self, requests: &mut VecDeque<Request>) {
        requests.append(&mut self.lock().requests);
    }

    /// Answers an operation. Its memory is the host's from now on.
    pub(crate) fn complete(&self, completion: Completion) {
        let mut state = self.lock();
        state.complete(completion);
        self.event.set(true);
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut Counts)) {
        change(&mut self.lock().counts);
    }

    /// Appends news, however many wait.
    pub(crate) fn tell(&self, news: impl IntoIterator<Item = News>) {
        self.lock().news.extend(news);
    }

    /// Whether there is room for more news.
    pub(crate) fn has_room(&self) -> bool {
        self.lock().news.len() < NEWS_WAITING
    }
}

impl State {
    fn accept(&mut self, operation: &Operation) {
        let range = match operation.action {
            Action::Store { source, .. } => Some(source),
            Action::Load { target, .. } => Some(target),
            _ => None,
        };
        let host = range.map(|range| self.host(range));
        self.under_way.insert(operation.request_id, None);
        match host {
            Some(None) => self.complete(Completion::new(operation.request_id, Status::INVALID, 0)),
            Some(Some((memory, host))) => {
                self.memories.get_mut(&memory).expect("it was just found").uses += 1;
                self.under_way.insert(operation.request_id, Some(memory));
                self.requests.push_back(Request::Operation(*operation, Some(host)));
            }
            None => self.requests.push_back(Request::Operation(*operation, None)),
        }
    }

    fn host(&self, range: MemoryRange) -> Option<(MemoryId, HostBytes)> {
        let known = self.memories.get(&range.memory)?;
        Some((range.memory, HostBytes::within(&known.memory, range)?))
    }

    fn complete(&mut self, completion: Completion) {
        let memory = self.under_way.get_mut(&completion.request_id).and_then(Option::take);
        if let Some(known) = memory.and_then(|id| self.memories.get_mut(&id)) {
            known.uses -= 1;
        }
        self.counts.completed(completion.status);
        self.completed.push_back(completion);
    }
}
