//! The thread that does the operations, and the two queues before and behind it.
//! Invariants: every operation that was taken leaves by exactly one completion, unless the tier is closed first; the event
//! descriptor is readable while a completion waits. Operations run one after the other, in the order of submission.

use crate::transfer::{Foreign, Memories};
use cascade_tier::{Completion, Memory, MemoryId, NO_DEADLINE, Operation, Status, TierError, monotonic_ns};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{read, write};
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{Builder, JoinHandle};

/// How many operations may be under way, completions that were not polled included.
pub(crate) const QUEUE_DEPTH: usize = 256;

/// The running worker. Dropping it ends what is under way and waits for the thread.
#[derive(Debug)]
pub(crate) struct Worker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    memories: Memories,
    state: Mutex<State>,
    work: Condvar,
    event: OwnedFd,
    /// The running operation was withdrawn, or the tier is being closed.
    stop_running: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    pending: VecDeque<Operation>,
    running: Option<Operation>,
    completed: VecDeque<Completion>,
    foreign: Foreign,
    counts: Counts,
    is_rung: bool,
    closing: bool,
}

/// What the worker counted.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub(crate) struct Counts {
    pub(crate) operations: u64,
    pub(crate) failed: u64,
    pub(crate) refused_for_space: u64,
    pub(crate) expired: u64,
    pub(crate) cancelled: u64,
    pub(crate) bytes: u64,
}

impl Worker {
    pub(crate) fn start(memories: Memories) -> Result<Worker, TierError> {
        let failed =
            |what: &str, error: std::io::Error| TierError::new(Status::IO, format!("{what}: {error}"));
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|error| failed("cannot make an event descriptor; raise `ulimit -n`", error.into()))?;
        let shared = Arc::new(Shared {
            memories,
            state: Mutex::default(),
            work: Condvar::new(),
            event,
            stop_running: AtomicBool::new(false),
        });
        let theirs = Arc::clone(&shared);
        let thread = Builder::new()
            .name("cascade-shm".to_owned())
            .spawn(move || theirs.run())
            .map_err(|error| failed("cannot start the allocation thread; raise `ulimit -u`", error))?;
        Ok(Worker { shared, thread: Some(thread) })
    }

    pub(crate) fn memories(&self) -> &Memories {
        &self.shared.memories
    }

    pub(crate) fn event(&self) -> BorrowedFd<'_> {
        self.shared.event.as_fd()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.shared.lock().counts
    }

    pub(crate) fn under_way(&self) -> usize {
        self.shared.lock().under_way()
    }

    /// That the thread lives: without it nothing that was taken would ever complete.
    pub(crate) fn check(&self) -> Result<(), TierError> {
        match &self.thread {
            Some(thread) if !thread.is_finished() => Ok(()),
            _ => Err(TierError::new(
                Status::PANICKED,
                "the allocation thread is gone; close the tier and open it again",
            )),
        }
    }

    pub(crate) fn submit(&self, operations: &[Operation]) -> usize {
        let mut state = self.shared.lock();
        let taken = operations.len().min(QUEUE_DEPTH - state.under_way());
        state.pending.extend(&operations[..taken]);
        drop(state);
        if taken > 0 {
            self.shared.work.notify_one();
        }
        taken
    }

    pub(crate) fn poll(&self, completions: &mut [Completion]) -> usize {
        let mut state = self.shared.lock();
        // The thread may be busy for long: what expired while it waited need not wait for it.
        let now_ns = monotonic_ns();
        while let Some(index) = state.pending.iter().position(|operation| operation.deadline_ns <= now_ns) {
            state.withdraw(index, Status::EXPIRED);
        }
        let count = completions.len().min(state.completed.len());
        for (place, completion) in completions.iter_mut().zip(state.completed.drain(..count)) {
            *place = completion;
        }
        self.shared.ring_or_quiet(&mut state);
        count
    }

    pub(crate) fn cancel(&self, request_id: u64) -> Result<(), TierError> {
        let mut state = self.shared.lock();
        if let Some(index) = state.pending.iter().position(|operation| operation.request_id == request_id) {
            state.withdraw(index, Status::CANCELLED);
            self.shared.ring_or_quiet(&mut state);
            return Ok(());
        }
        if state.running.is_some_and(|operation| operation.request_id == request_id) {
            // Relaxed: the lock orders it after the start of this operation and before that of the next.
            self.shared.stop_running.store(true, Ordering::Relaxed);
            return Ok(());
        }
        if state.completed.iter().any(|completion| completion.request_id == request_id) {
            return Ok(());
        }
        Err(TierError::new(Status::NOT_FOUND, format!("request {request_id} is not under way")))
    }

    /// Makes foreign memory known, under the first number that is free.
    pub(crate) fn learn(&self, memory: &Memory) -> Result<MemoryId, TierError> {
        let mut state = self.shared.lock();
        let first = self.shared.memories.regions.len() as MemoryId;
        let id = (first..MemoryId::MAX).find(|id| !state.foreign.contains_key(id)).ok_or_else(|| {
            TierError::new(Status::NO_SPACE, "too many memories are registered; forget some")
        })?;
        state.foreign.insert(id, *memory);
        Ok(id)
    }

    pub(crate) fn forget(&self, id: MemoryId) -> Result<(), TierError> {
        let mut state = self.shared.lock();
        if state.running.iter().chain(&state.pending).any(|operation| operation.action.uses(id)) {
            return Err(TierError::invalid(format!("memory {id} is in use; poll its operations first")));
        }
        match state.foreign.remove(&id) {
            Some(_) => Ok(()),
            None => Err(TierError::new(
                Status::NOT_FOUND,
                format!("memory {id} was never registered or imported"),
            )),
        }
    }

    /// Ends what is under way and waits for the thread.
    fn stop(&mut self) {
        self.shared.lock().closing = true;
        // Relaxed: it is only a hint to be quick; `closing` is under the lock.
        self.shared.stop_running.store(true, Ordering::Relaxed);
        self.shared.work.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic in it has been told of by `check`; here only its end matters.
            let _ = thread.join();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change of the state is one step, so a panic leaves nothing half done.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn run(&self) {
        let mut state = self.lock();
        while !state.closing {
            let Some(operation) = state.pending.pop_front() else {
                state = self.work.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
                continue;
            };
            state.running = Some(operation);
            self.stop_running.store(false, Ordering::Relaxed);
            let foreign = state.foreign.clone();
            drop(state);
            let interrupted = || self.interrupted(operation.deadline_ns);
            let completion = match interrupted() {
                Some(status) => Completion::new(operation.request_id, status, 0),
                None => self.memories.perform(&operation, &foreign, &interrupted),
            };
            state = self.lock();
            state.running = None;
            state.complete(completion);
            self.ring_or_quiet(&mut state);
        }
    }

    fn interrupted(&self, deadline_ns: u64) -> Option<Status> {
        if self.stop_running.load(Ordering::Relaxed) {
            return Some(Status::CANCELLED);
        }
        (deadline_ns != NO_DEADLINE && deadline_ns <= monotonic_ns()).then_some(Status::EXPIRED)
    }

    /// Makes the event descriptor say whether completions wait. A system call only if that changed.
    fn ring_or_quiet(&self, state: &mut State) {
        let waits = !state.completed.is_empty();
        if waits == state.is_rung {
            return;
        }
        state.is_rung = waits;
        // Neither can fail: the counter goes from 0 to 1 and back.
        let result =
            if waits { write(&self.event, &1_u64.to_ne_bytes()) } else { read(&self.event, &mut [0_u8; 8]) };
        debug_assert_eq!(result, Ok(8));
    }
}

impl State {
    fn under_way(&self) -> usize {
        self.pending.len() + usize::from(self.running.is_some()) + self.completed.len()
    }

    fn withdraw(&mut self, index: usize, status: Status) {
        if let Some(operation) = self.pending.remove(index) {
            self.complete(Completion::new(operation.request_id, status, 0));
        }
    }

    fn complete(&mut self, completion: Completion) {
        self.counts.operations += 1;
        self.counts.bytes += completion.bytes;
        match completion.status {
            Status::OK => {}
            Status::EXPIRED => self.counts.expired += 1,
            Status::CANCELLED => self.counts.cancelled += 1,
            Status::NO_SPACE => self.counts.refused_for_space += 1,
            _ => self.counts.failed += 1,
        }
        self.completed.push_back(completion);
    }
}
