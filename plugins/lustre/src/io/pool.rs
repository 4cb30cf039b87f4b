//! The engine of threads that call `preadv` and `pwritev`: for direct and buffered files, wherever there are no rings.
//!
//! Invariants: no lock is held around a call that may hang; a thread that hangs is left behind, by a replacement while the
//! engine lives and for good when it goes; what is under way then still owns its memory.

use super::request::Job;
use super::sys;
use super::{Depth, Done, Engine, Part, Transfer};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fd::{AsFd, BorrowedFd};
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Instant;

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
        for job in Job::of(transfer, shared.depth.request_bytes) {
            state.waiting.push_back(job);
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
        self.depth.calls_max(state.calls.iter().map(|call| call.since))
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
            let done = perform(job, &mut vectors);
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

/// Makes the calls of a request; the end of its transfer, if this was its last.
fn perform(mut job: Job, vectors: &mut Vec<Part>) -> Option<Done> {
    loop {
        let asked = job.vectors(vectors);
        let (transfer, offset) = (job.transfer(), job.offset());
        // SAFETY: the submitter's promise: the parts are this transfer's until it is done.
        let moved = unsafe { sys::move_at(transfer.file.as_fd(), transfer.direction, vectors, offset) };
        if let Some(result) = job.advance(asked, moved) {
            return job.end(result);
        }
    }
}
