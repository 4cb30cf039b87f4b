//! Faults around an engine. Invariants: as of any engine: each transfer is done once, and nothing here waits.

use super::rules::{Call, Faults, LOOK_EVERY, Verdict, name_of};
use crate::io::{ALIGNMENT_BYTES, Direction, Done, Engine, Part, Transfer};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// As many transfers are held back, and no more.
const HELD_MAX: usize = 256;

/// An engine whose transfers meet faults.
pub struct FaultyEngine {
    inner: Box<dyn Engine>,
    faults: Arc<Faults>,
    generation: u64,
    held: Vec<Held>,
    done: Vec<Done>,
    /// Runs out when something that is held is due.
    timer: OwnedFd,
    /// Readable when the timer or the inner engine is.
    either: OwnedFd,
}

/// A transfer that was not handed on yet.
struct Held {
    transfer: Transfer,
    verdict: Verdict,
}

impl FaultyEngine {
    /// Faults around an engine.
    ///
    /// # Errors
    /// No descriptor is to be had.
    pub fn new(inner: Box<dyn Engine>, faults: Arc<Faults>) -> io::Result<FaultyEngine> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let either = epoll::create(CreateFlags::CLOEXEC)?;
        for source in [timer.as_fd(), inner.event_fd()] {
            epoll::add(&either, source, EventData::new_u64(0), EventFlags::IN)?;
        }
        Ok(FaultyEngine { inner, faults, generation: 0, held: Vec::new(), done: Vec::new(), timer, either })
    }

    fn meet(&self, transfer: &Transfer) -> Verdict {
        let call = match transfer.direction {
            Direction::Read => Call::Read,
            Direction::Write => Call::Write,
        };
        self.faults.meet(call, &name_of(&transfer.file), transfer.length())
    }

    /// Hands on what is due, and looks at what hangs again when the rules have changed.
    fn release(&mut self) {
        let (now, generation) = (Instant::now(), self.faults.generation());
        let changed = generation != self.generation;
        self.generation = generation;
        for mut held in std::mem::take(&mut self.held) {
            if held.verdict.hang && changed {
                held.verdict = self.meet(&held.transfer);
            }
            if held.verdict.hang || held.verdict.until.is_some_and(|until| until > now) {
                self.held.push(held);
            } else {
                self.hand_on(held);
            }
        }
        self.set_timer();
    }

    fn hand_on(&mut self, held: Held) {
        let Held { mut transfer, verdict } = held;
        if let Some(error) = verdict.error {
            self.done.push(Done { token: transfer.token, result: Err(error) });
            return;
        }
        if verdict.short {
            transfer.parts = half(&transfer);
        }
        // SAFETY: as our submitter promised.
        if let Err(transfer) = unsafe { self.inner.submit(transfer) } {
            // There is no room now; it has met its faults.
            self.held.push(Held { transfer, verdict: Verdict::default() });
        }
    }

    fn set_timer(&self) {
        let due = if !self.done.is_empty() {
            Duration::from_nanos(1)
        } else if !self.held.is_empty() {
            LOOK_EVERY
        } else {
            Duration::ZERO
        };
        let value = Timespec { tv_sec: 0, tv_nsec: due.as_nanos() as i64 };
        let once = Itimerspec { it_interval: Timespec::default(), it_value: value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once).expect("the timer is ours");
    }
}

/// The first half of a transfer, in whole pages.
fn half(transfer: &Transfer) -> Vec<Part> {
    let mut left = transfer.length() / 2;
    left -= left % ALIGNMENT_BYTES;
    let mut parts = transfer.parts.clone();
    for part in &mut parts {
        part.length = part.length.min(left as usize);
        left -= part.length as u64;
    }
    parts.retain(|part| part.length > 0);
    parts
}

impl Engine for FaultyEngine {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    unsafe fn submit(&mut self, transfer: Transfer) -> Result<(), Transfer> {
        if self.held.len() + self.done.len() >= HELD_MAX {
            return Err(transfer);
        }
        let verdict = self.meet(&transfer);
        if verdict.is_none() {
            // SAFETY: as our submitter promised.
            return unsafe { self.inner.submit(transfer) };
        }
        self.held.push(Held { transfer, verdict });
        self.release();
        Ok(())
    }

    fn reap(&mut self, done: &mut Vec<Done>) {
        let _ = rustix::io::read(&self.timer, &mut [0_u8; 8]);
        self.inner.reap(done);
        self.release();
        done.append(&mut self.done);
        self.set_timer();
    }

    fn event_fd(&self) -> BorrowedFd<'_> {
        self.either.as_fd()
    }

    fn under_way(&self) -> usize {
        self.inner.under_way() + self.held.len() + self.done.len()
    }
}
