//! The threads of a tier, how they are asked to end, and what they still have.
//! Invariant: who waits for them waits up to a bound; one that hangs in the file system is left behind.

use crate::bell::Bell;
use cascade_tier::{Status, TierError};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The threads of a tier.
#[derive(Clone, Debug, Default)]
pub(crate) struct Threads {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    running: Mutex<usize>,
    ended: Condvar,
    is_closing: AtomicBool,
    has_panicked: AtomicBool,
    /// No transfer has any memory of the host's any more.
    has_no_memory: AtomicBool,
}

impl Threads {
    /// That they live: without them what was taken would never complete.
    pub(crate) fn check(&self) -> Result<(), TierError> {
        // Relaxed: it is only ever set, and a later call sees it.
        if self.shared.has_panicked.load(Ordering::Relaxed) {
            return Err(TierError::new(
                Status::PANICKED,
                "a thread of the tier is gone; close it and open it again",
            ));
        }
        Ok(())
    }

    /// To be held by each thread for as long as it runs.
    pub(crate) fn started(&self) -> Running {
        *self.shared.lock() += 1;
        Running(Arc::clone(&self.shared))
    }

    /// Whether the host closes: what waits is not begun any more.
    pub(crate) fn is_closing(&self) -> bool {
        // Acquire: pairs with the Release in `close`.
        self.shared.is_closing.load(Ordering::Acquire)
    }

    /// Asks them to end, rings for the one that sleeps by this bell, and waits up to a bound. `false` if some have not ended.
    pub(crate) fn close(&self, bell: &Bell, wait: Duration) -> bool {
        // Release: pairs with the Acquire in `is_closing`.
        self.shared.is_closing.store(true, Ordering::Release);
        bell.ring();
        let patience = Instant::now() + wait;
        let mut running = self.shared.lock();
        while *running > 0 {
            let left = patience.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.shared.ended.wait_timeout(running, left);
            running = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// The mover has ended: nothing lands in the host's memory any more.
    pub(crate) fn gave_memory_back(&self) {
        // Release: pairs with the Acquire in `have_memory`.
        self.shared.has_no_memory.store(true, Ordering::Release);
    }

    /// Whether transfers may have memory of the host's.
    pub(crate) fn have_memory(&self) -> bool {
        // Acquire: pairs with the Release in `gave_memory_back`.
        !self.shared.has_no_memory.load(Ordering::Acquire)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, usize> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread of the tier runs.
#[derive(Debug)]
pub(crate) struct Running(Arc<Shared>);

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.has_panicked.store(true, Ordering::Relaxed);
        }
        *self.0.lock() -= 1;
        self.0.ended.notify_all();
    }
}
