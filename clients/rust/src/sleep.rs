//! How threads wait for the node: one of them sleeps on the client's bell for all.
//!
//! The page has one sleep flag, so the threads of a client share one sleep: the first to wait arms the bell and polls;
//! the others wait for it in this process. Bells and socket are watched edge-triggered and never drained, so a poller
//! outside ([`Sleep::event_fd`]) sees each ring too. Invariants: nobody sleeps longer than [`SLICE`] without looking
//! around; once a poller has asked for the descriptor, the bell stays armed.

use crate::attachment::{Attachment, Link};
use crate::error::Error;
use cascade_core::bell::Bell;
use rustix::event::{Timespec, epoll};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// The longest anybody sleeps without checking that the node lives.
pub(crate) const SLICE: Duration = Duration::from_millis(50);

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Sleep {
    taken: Mutex<bool>,
    over: Condvar,
    inside: OwnedFd,
    outside: OwnedFd,
    polled: AtomicBool,
}

impl Sleep {
    pub(crate) fn new() -> Result<Self, Error> {
        let watch = || epoll::create(epoll::CreateFlags::CLOEXEC).map_err(Error::io("making a watch"));
        Ok(Self {
            taken: Mutex::new(false),
            over: Condvar::new(),
            inside: watch()?,
            outside: watch()?,
            polled: AtomicBool::new(false),
        })
    }

    /// Watches the bell and the socket of a new link.
    pub(crate) fn watch(&self, attachment: &Attachment, link: &Link) -> Result<(), Error> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
        for watch in [&self.inside, &self.outside] {
            for source in [link.client_bell.as_fd(), link.connection.as_fd()] {
                epoll::add(watch, source, epoll::EventData::new_u64(0), flags)
                    .map_err(Error::io("watching the node"))?;
            }
        }
        if self.polled.load(Ordering::Relaxed) {
            Bell::new(attachment.page().asleep()).arm();
        }
        Ok(())
    }

    /// Watches a link no longer. Needed while the node keeps its ends open.
    pub(crate) fn unwatch(&self, link: &Link) {
        for watch in [&self.inside, &self.outside] {
            for source in [link.client_bell.as_fd(), link.connection.as_fd()] {
                // Not watched is as good.
                let _ = epoll::delete(watch, source);
            }
        }
    }

    /// Sleeps until the node rings, but at most `longest` and at most [`SLICE`]; not at all if `is_there` says so after
    /// the bell was armed.
    pub(crate) fn sleep(&self, attachment: &Attachment, longest: Duration, is_there: impl FnOnce() -> bool) {
        let slice = longest.min(SLICE);
        let page = attachment.page();
        let bell = Bell::new(page.asleep());
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if *taken {
            // The bell was armed under the lock: what is not there by now will ring, and who sleeps for us passes it on.
            if !is_there() {
                drop(self.over.wait_timeout(taken, slice));
            }
            return;
        }
        *taken = true;
        bell.arm();
        drop(taken);
        if !is_there() {
            wait(&self.inside, slice);
        }
        taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.polled.load(Ordering::Relaxed) {
            bell.disarm();
        }
        *taken = false;
        drop(taken);
        self.over.notify_all();
    }

    /// A descriptor that is readable when the node has rung since [`Sleep::clear`], or has gone.
    pub(crate) fn event_fd(&self, attachment: &Attachment) -> BorrowedFd<'_> {
        let _taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock: no sleeper that has not seen this disarms the bell after it.
        self.polled.store(true, Ordering::Relaxed);
        Bell::new(attachment.page().asleep()).arm();
        self.outside.as_fd()
    }

    /// Forgets the rings that [`Sleep::event_fd`] has shown.
    pub(crate) fn clear(&self) {
        wait(&self.outside, Duration::ZERO);
    }
}

/// Awaits and consumes edges.
fn wait(watch: &OwnedFd, longest: Duration) {
    let timeout = Timespec { tv_sec: 0, tv_nsec: longest.min(SLICE).as_nanos() as _ };
    let mut events = Vec::with_capacity(4);
    // Interrupted is a short sleep; the caller looks around and comes again.
    let _ = epoll::wait(watch, rustix::buffer::spare_capacity(&mut events), Some(&timeout));
}
