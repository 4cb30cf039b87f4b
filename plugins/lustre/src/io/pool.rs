//! The engine of threads that call `preadv` and `pwritev`: for direct and buffered files, wherever there are no rings.
//!
//! Invariants: no lock is held around a call that may hang; a thread that hangs is left behind, by a replacement while the
//! engine lives and for good when it goes; what is under way then still owns its memory.

use super::request::{Outcome, Request};
use super::sys;
use super::{Depth, Done, Engine, Transfer};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd};
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A call that takes longer hangs, for what the number of threads is concerned.
const HANGING_AFTER: Duration = Duration::from_secs(2);

/// So many times the depth is the number of threads when all but those of one depth hang.
const THREADS_PER_DEPTH_MAX: usize = 4;

/// The engine of threads.
pub struct Pool {
    name: &'static str,
    shared: Arc<Shared>,
}

struct Shared {
    depth: Depth,
    state: Mutex<State>,
    work: Condvar,
    event: OwnedFd,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    done: Vec<Done>,
    /// Transfers that were accepted and not reaped.
    under_way: usize,
    threads: usize,
    /// Of the threads, those that wait for work or are just starting.
    idle: usize,
    /// Since when a call is being made, for each that is.
    calls: Vec<Call>,
    closed: bool,
}

#[derive(Clone, Copy)]
struct Call {
    thread: thread::ThreadId,
    since: Instant,
}

/// A request, and the transfer that it is of.
struct Job {
    flight: Arc<Flight>,
    request: Request,
}

struct Flight {
    transfer: Transfer,
    outcome: Mutex<Outcome>,
}

impl Pool {
    /// An engine that is called `name`.
    ///
    /// # Errors
    /// No thread or no descriptor is to be had.
    pub fn new(name: &'static str, depth: Depth) -> io::Result<Pool> {
        depth.check();
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let shared = Arc::new(Shared { depth, state: Mutex::default(), work: Condvar::new(), event });
        // One thread is there from the start, so that later failures to start one cost speed only.
        shared.start_thread(&mut shared.lock())?;
        Ok(Pool { name, shared })
    }
}

impl Engine for Pool {
    fn name(&self) -> &'static str {
        self.name
    }

    unsafe fn submit(&mut self, transfer: Transfer) -> Result<(), Transfer> {
        let shared = &self.shared;
        let mut state = shared.lock();
        if state.under_way >= shared.depth.transfers {
            return Err(transfer);
        }
        state.under_way += 1;
        let length = transfer.length();
        let requests = Request::cut(length, shared.depth.request_bytes);
        let outcome = Mutex::new(Outcome::new(requests.len(), length));
        let flight = Arc::new(Flight { transfer, outcome });
        for request in requests {
            state.waiting.push_back(Job { flight: flight.clone(), request });
            shared.work.notify_one();
        }
        shared.see_to_threads(&mut state);
        Ok(())
    }

    fn reap(&mut self, done: &mut Vec<Done>) {
        // Before the look: what is done after it makes the descriptor readable again.
        let _ = rustix::io::read(&self.shared.event, &mut [0_u8; 8]);
        let mut state = self.shared.lock();
        state.under_way -= state.done.len();
        done.append(&mut state.done);
        self.shared.see_to_threads(&mut state);
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        self.shared.event.as_fd()
    }

    fn under_way(&self) -> usize {
        self.shared.lock().under_way
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.work.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts threads while work waits for one, and as many may run.
    fn see_to_threads(self: &Arc<Self>, state: &mut State) {
        while state.idle < state.waiting.len() && state.threads < self.threads_max(state) {
            if self.start_thread(state).is_err() {
                return;
            }
        }
    }

    fn threads_max(&self, state: &State) -> usize {
        let hanging = state.calls.iter().filter(|call| call.since.elapsed() > HANGING_AFTER).count();
        (self.depth.requests + hanging).min(self.depth.requests * THREADS_PER_DEPTH_MAX)
    }

    fn start_thread(self: &Arc<Self>, state: &mut State) -> io::Result<()> {
        let shared = self.clone();
        thread::Builder::new().name("cascade-io".to_owned()).spawn(move || shared.work())?;
        state.threads += 1;
        state.idle += 1;
        Ok(())
    }

    /// What a thread does.
    fn work(&self) {
        let thread = thread::current().id();
        let mut vectors = Vec::new();
        let mut state = self.lock();
        // One that hung and came back is one too many.
        while !state.closed && state.threads <= self.threads_max(&state) {
            let Some(job) = state.waiting.pop_front() else {
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.idle -= 1;
            state.calls.push(Call { thread, since: Instant::now() });
            drop(state);
            let done = job.perform(&mut vectors);
            state = self.lock();
            state.calls.retain(|call| call.thread != thread);
            state.idle += 1;
            if let Some(done) = done {
                state.done.push(done);
                // The counter cannot overflow: it is at most the number of transfers under way.
                let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
            }
        }
        state.idle -= 1;
        state.threads -= 1;
    }
}

impl Job {
    /// Makes the calls of the request; the end of its transfer, if this was its last.
    fn perform(mut self, vectors: &mut Vec<libc::iovec>) -> Option<Done> {
        let transfer = &self.flight.transfer;
        let error = loop {
            let asked = self.request.vectors(&transfer.parts, vectors);
            let offset = transfer.offset.saturating_add(self.request.position());
            // SAFETY: the submitter's promise: the parts are this transfer's until it is done.
            let moved = unsafe { sys::move_at(transfer.file.as_fd(), transfer.direction, vectors, offset) };
            match moved.and_then(|moved| self.request.advance(transfer.direction, asked, moved)) {
                Ok(true) => break None,
                Ok(false) => {}
                Err(error) => break Some(error),
            }
        };
        let mut outcome = self.flight.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        let result = outcome.end(&self.request, error)?;
        Some(Done { token: transfer.token, result })
    }
}
