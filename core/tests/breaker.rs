//! The circuit breaker: the whole table, and histories of operations against a plain account of what is out.
#![cfg(not(loom))]

use cascade_core::breaker::{Breaker, Event, Limits, Snapshot, State, next};
use proptest::prelude::*;
use std::fmt::Write;

const LIMITS: Limits = Limits { failures_max: 3, pause_ns: 100 };
const NOW: u64 = 1000;

const STATES: [State; 6] = [
    State::Closed { failures: 0 },
    State::Closed { failures: 1 },
    State::Closed { failures: 2 },
    State::Open { until_ns: NOW },
    State::Open { until_ns: NOW + 1 },
    State::HalfOpen,
];

const EVENTS: [Event; 6] =
    [Event::Ask, Event::Answered, Event::Failed, Event::Undecided, Event::Overdue, Event::Returned];

/// The heading of an event's column. Exhaustive on purpose: the compiler asks for the column of a new event.
const fn heading(event: Event) -> &'static str {
    match event {
        Event::Ask => "ask",
        Event::Answered => "answered",
        Event::Failed => "failed",
        Event::Undecided => "undecided",
        Event::Overdue => "overdue",
        Event::Returned => "returned",
    }
}

fn name(snapshot: Snapshot) -> String {
    let state = match snapshot.state {
        State::Closed { failures } => format!("Closed:{failures}"),
        State::Open { until_ns } => format!("Open@{until_ns}"),
        State::HalfOpen => "HalfOpen".into(),
    };
    if snapshot.overdue == 0 { state } else { format!("{state}+{}", snapshot.overdue) }
}

fn row(out: &mut String, cells: impl IntoIterator<Item = String>) {
    let line: String = cells.into_iter().map(|cell| format!("{cell:<14}")).collect();
    writeln!(out, "{}", line.trim_end()).expect("a string takes everything");
}

#[test]
fn a_breaker_has_exactly_these_arrows() {
    let mut table = String::new();
    row(&mut table, std::iter::once("state".to_owned()).chain(EVENTS.map(|e| heading(e).to_owned())));
    for overdue in [0, 2] {
        // What is overdue keeps a breaker open: the other states have none.
        for state in STATES.into_iter().filter(|s| overdue == 0 || matches!(s, State::Open { .. })) {
            let found = Snapshot { state, overdue };
            let results = EVENTS.map(|event| next(found, NOW, event, LIMITS).map_or("-".to_owned(), name));
            row(&mut table, std::iter::once(name(found)).chain(results));
        }
    }
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("breaker_transitions", table);
    });
}

#[test]
fn a_tier_that_hangs_is_left_alone_until_all_that_hung_is_back() {
    let mut breaker = Breaker::new(LIMITS);
    assert!(breaker.ask(0) && breaker.ask(0));
    breaker.tell(10, Event::Overdue);
    breaker.tell(11, Event::Overdue);
    assert!(!breaker.ask(10_000), "however long ago that was");
    breaker.tell(10_000, Event::Returned);
    assert!(!breaker.ask(10_001));
    breaker.tell(10_002, Event::Returned);
    assert!(breaker.ask(10_003), "a probe");
    assert!(!breaker.ask(10_003), "and no second one");
    breaker.tell(10_004, Event::Answered);
    assert!(!breaker.is_fenced());
}

#[test]
fn a_failed_probe_costs_another_pause() {
    let mut breaker = Breaker::new(LIMITS);
    (0..3).for_each(|_| breaker.tell(0, Event::Failed));
    assert!(!breaker.ask(99));
    assert!(breaker.ask(100));
    breaker.tell(105, Event::Failed);
    assert!(!breaker.ask(204));
    assert!(breaker.ask(205));
    breaker.tell(206, Event::Undecided);
    assert!(breaker.ask(206), "a probe that tells nothing is tried again");
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Ask,
    End(Event),
    Late,
    Wait(u64),
}

proptest! {
    #[test]
    fn nothing_is_asked_while_something_is_overdue_and_one_probe_is_out_at_most(
        steps in prop::collection::vec(
            prop_oneof![
                4 => Just(Step::Ask),
                3 => prop_oneof![Just(Event::Answered), Just(Event::Failed), Just(Event::Undecided)].prop_map(Step::End),
                1 => Just(Step::Late),
                2 => (1u64..150).prop_map(Step::Wait),
            ],
            1..300,
        )
    ) {
        let mut breaker = Breaker::new(LIMITS);
        let (mut now, mut out, mut overdue, mut failures) = (0, 0u32, 0u32, 0u32);
        for step in steps {
            match step {
                Step::Ask => {
                    let was_fenced = breaker.is_fenced();
                    prop_assert_eq!(breaker.would_ask(now), { let mut copy = breaker; copy.ask(now) });
                    if breaker.ask(now) {
                        prop_assert_eq!(overdue, 0);
                        prop_assert!(failures < LIMITS.failures_max || was_fenced);
                        if was_fenced {
                            prop_assert_eq!(breaker.snapshot().state, State::HalfOpen);
                            prop_assert!(!breaker.ask(now), "two probes");
                        }
                        out += 1;
                    }
                }
                Step::End(event) if out > 0 => {
                    out -= 1;
                    failures = match event {
                        Event::Failed => failures + 1,
                        Event::Answered => 0,
                        _ => failures,
                    };
                    breaker.tell(now, event);
                }
                Step::Late if out > 0 => {
                    (out, overdue) = (out - 1, overdue + 1);
                    breaker.tell(now, Event::Overdue);
                }
                Step::Wait(span) => {
                    now += span;
                    if overdue > 0 && span > 100 {
                        overdue -= 1;
                        breaker.tell(now, Event::Returned);
                    }
                }
                _ => {}
            }
            prop_assert_eq!(breaker.snapshot().overdue, overdue);
        }
        // Whatever happened: a tier that answers again is in use again.
        (0..overdue).for_each(|_| breaker.tell(now, Event::Returned));
        now += LIMITS.pause_ns;
        if breaker.snapshot().state == State::HalfOpen {
            breaker.tell(now, Event::Answered);
        }
        if breaker.ask(now) {
            breaker.tell(now, Event::Answered);
        }
        prop_assert!(!breaker.is_fenced());
    }
}
