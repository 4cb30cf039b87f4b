//! The circuit breaker of a tier (Nygard, "Release It!", 2007): whether it is asked at all.
//!
//! ```text
//! Closed ──failures in a row, or one that is overdue──▶ Open ──a pause, none overdue──▶ HalfOpen
//!   ▲                                                    ▲                                 │
//!   └──────────────────── the probe comes back ──────────┼─────────────────────────────────┘
//!                                                        └── it fails, or is overdue
//! ```
//!
//! Invariants: while an operation is overdue nothing more is asked; of a tier that was given up one probe is out at most.
//! An operation is overdue once, and ends with [`Event::Returned`] then, however it ended: what took so long says nothing of now.
//! Pinned by `core/tests/breaker.rs` and `core/tests/snapshots/breaker_transitions.snap`.

use crate::flow::NowNs;

/// When a tier is given up, and for how long at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Failures in a row after which it is; at least 1.
    pub failures_max: u32,
    /// How long it is not asked then, in nanoseconds.
    pub pause_ns: u64,
}

/// Whether the tier is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is.
    Closed {
        /// Failures in a row.
        failures: u32,
    },
    /// It is not.
    #[doc(alias = "fenced")]
    Open {
        /// When it is tried again, unless something is overdue then.
        until_ns: NowNs,
    },
    /// One operation finds out whether it is worth asking again.
    HalfOpen,
}

/// The state, and what is out that should have been back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Whether the tier is asked.
    pub state: State,
    /// Operations under way that are overdue.
    pub overdue: u32,
}

/// What may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Somebody wants to ask.
    Ask,
    /// The storage answered, were it with "not there" or "full".
    Answered,
    /// It failed.
    Failed,
    /// An operation ended without telling anything: withdrawn, or past the deadline of who wanted it.
    Undecided,
    /// An operation should have been back by now.
    Overdue,
    /// An operation that was overdue came back.
    Returned,
}

/// What becomes of a breaker, or `None` where the event has no place: what may not be asked, and a return of what was not
/// overdue.
pub const fn next(found: Snapshot, now: NowNs, event: Event, limits: Limits) -> Option<Snapshot> {
    let Snapshot { state, overdue } = found;
    let open = State::Open { until_ns: now.saturating_add(limits.pause_ns) };
    let state = match (state, event) {
        (State::Closed { .. }, Event::Ask | Event::Undecided) => state,
        (State::Closed { .. } | State::HalfOpen, Event::Answered) => State::Closed { failures: 0 },
        (State::Closed { failures }, Event::Failed) if failures + 1 < limits.failures_max => {
            State::Closed { failures: failures + 1 }
        }
        (State::Closed { .. } | State::HalfOpen, Event::Failed) => open,
        (State::Open { until_ns }, Event::Ask) if overdue == 0 && until_ns <= now => State::HalfOpen,
        (State::Open { .. }, Event::Answered | Event::Failed | Event::Undecided) => state,
        (State::HalfOpen, Event::Undecided) => State::Open { until_ns: now },
        (_, Event::Overdue) => return Some(Snapshot { state: open, overdue: overdue + 1 }),
        (State::Open { .. }, Event::Returned) if overdue > 0 => {
            return Some(Snapshot { state, overdue: overdue - 1 });
        }
        (_, Event::Ask | Event::Returned) => return None,
    };
    Some(Snapshot { state, overdue })
}

/// A breaker.
#[derive(Clone, Copy, Debug)]
pub struct Breaker {
    limits: Limits,
    snapshot: Snapshot,
}

impl Breaker {
    /// One of a tier that works.
    ///
    /// # Panics
    /// If it would be given up without a failure.
    pub const fn new(limits: Limits) -> Self {
        assert!(limits.failures_max > 0, "no failure is no reason");
        Self { limits, snapshot: Snapshot { state: State::Closed { failures: 0 }, overdue: 0 } }
    }

    /// Whether the tier may be asked now. After a pause the one who asks has the probe: its end must be told.
    #[must_use]
    pub fn ask(&mut self, now: NowNs) -> bool {
        self.step(now, Event::Ask)
    }

    /// Something happened to an operation.
    ///
    /// # Panics
    /// If one came back as overdue that was not.
    pub fn tell(&mut self, now: NowNs, event: Event) {
        assert!(self.step(now, event), "{event:?} has no place in {:?}", self.snapshot);
    }

    /// Whether the tier is asked at all now: `ask` may say yes.
    pub fn would_ask(&self, now: NowNs) -> bool {
        next(self.snapshot, now, Event::Ask, self.limits).is_some()
    }

    /// The state.
    pub const fn snapshot(&self) -> Snapshot {
        self.snapshot
    }

    /// Whether the tier is given up, or on trial.
    pub const fn is_fenced(&self) -> bool {
        !matches!(self.snapshot.state, State::Closed { .. })
    }

    fn step(&mut self, now: NowNs, event: Event) -> bool {
        let next = next(self.snapshot, now, event, self.limits);
        self.snapshot = next.unwrap_or(self.snapshot);
        next.is_some()
    }
}
