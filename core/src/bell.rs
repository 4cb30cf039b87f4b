//! When to ring a doorbell: the flag with which a sleeper asks for it.
//!
//! ```text
//! sleeper                                  waker
//! flag = 1                                 store the work
//! fence(SeqCst)                            fence(SeqCst)
//! any work?  no: sleep on the eventfd      flag set?  write the eventfd
//! flag = 0
//! ```
//!
//! One of the two sees the other (Dijkstra's store buffer, the same shape as [`crate::hazard`]), so a waker that does
//! not ring has left work which the sleeper finds before it sleeps. Ringing costs a system call; while the other side is
//! awake nobody pays it. Invariants: the sleeper alone stores to the flag; a stale flag costs one needless ring, never
//! a lost one. Who dies asleep leaves the flag set: harmless, its eventfd goes with it.
//! Pinned by `core/tests/loom_bell.rs`.

use crate::sync::{AtomicU64, Ordering, fence};

/// The flag of one sleeper, in shared memory; the same view serves both sides.
#[doc(alias = "doorbell")]
#[derive(Clone, Copy, Debug)]
pub struct Bell<'m> {
    asleep: &'m AtomicU64,
}

impl<'m> Bell<'m> {
    /// Views the flag: [`crate::page::Page::asleep`] or [`crate::segment::Segment::node_asleep`].
    pub const fn new(asleep: &'m AtomicU64) -> Self {
        Self { asleep }
    }

    /// Announces that the caller is about to sleep. It must look for work once more after this, and sleep only if there
    /// is none. Threads that share one flag must share one sleep too: the first to [`disarm`](Self::disarm) ends it.
    pub fn arm(&self) {
        self.asleep.store(1, Ordering::Relaxed);
        // SeqCst: pairs with the fence in `must_ring`; either the waker sees the flag or our second look sees its work.
        fence(Ordering::SeqCst);
    }

    /// Says that the caller is awake, whether it slept or not: no more rings are needed.
    pub fn disarm(&self) {
        // Relaxed: who still sees the old value rings once for nothing.
        self.asleep.store(0, Ordering::Relaxed);
    }

    /// Whether the other side must be rung for the work that the caller has just stored.
    #[must_use = "a bell that is not rung leaves the other side asleep"]
    pub fn must_ring(&self) -> bool {
        // SeqCst: pairs with the fence in `arm`; the work is stored before the flag is read.
        fence(Ordering::SeqCst);
        self.asleep.load(Ordering::Relaxed) != 0
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::zeroed_words;

    #[test]
    fn only_a_sleeper_is_rung() {
        let words = zeroed_words(1);
        let bell = Bell::new(&words[0]);
        assert!(!bell.must_ring());
        bell.arm();
        assert!(bell.must_ring());
        bell.disarm();
        assert!(!bell.must_ring());
    }
}
