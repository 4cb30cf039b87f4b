//! Every state × event result of the slot machine, as a table that reviewers see change.
//!
//! A new state or event does not compile here until it has its row or column. After a change that is meant, accept the
//! new table with `INSTA_UPDATE=always cargo test -p cascade-core --test transitions`.
#![cfg(not(loom))]

use cascade_core::slot::{Event, GENERATION_MAX, Snapshot, State, next};
use std::fmt::Write;

const EVENTS: [Event; 7] = [
    Event::Grant { client: 4 },
    Event::Load,
    Event::Publish,
    Event::Drain,
    Event::Restore,
    Event::Revoke,
    Event::Reclaim,
];

/// The heading of an event's column. Exhaustive on purpose: the compiler asks for the column of a new event.
const fn heading(event: Event) -> &'static str {
    match event {
        Event::Grant { .. } => "grant(4)",
        Event::Load => "load",
        Event::Publish => "publish",
        Event::Drain => "drain",
        Event::Restore => "restore",
        Event::Revoke => "revoke",
        Event::Reclaim => "reclaim",
    }
}

fn name(snapshot: Snapshot) -> String {
    let Snapshot { state, generation, client } = snapshot;
    let generation = match generation {
        GENERATION_MAX => "max".to_owned(),
        generation => generation.to_string(),
    };
    let client = if client == 0 { String::new() } else { format!("({client})") };
    format!("{state:?}{client}@{generation}")
}

fn row(out: &mut String, cells: impl IntoIterator<Item = String>) {
    let line: String = cells.into_iter().map(|cell| format!("{cell:<15}")).collect();
    writeln!(out, "{}", line.trim_end()).expect("a string takes everything");
}

#[test]
fn the_slot_machine_has_exactly_these_arrows() {
    let mut table = String::new();
    row(&mut table, std::iter::once("state".to_owned()).chain(EVENTS.map(|e| heading(e).to_owned())));
    for generation in [5, GENERATION_MAX] {
        for state in State::ALL {
            let client = if state == State::Granted { 9 } else { 0 };
            let found = Snapshot { state, generation, client };
            let results = EVENTS.map(|event| next(found, event).map_or("-".to_owned(), name));
            row(&mut table, std::iter::once(name(found)).chain(results));
        }
    }
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("slot_transitions", table);
    });
}

#[test]
fn a_generation_only_grows_and_only_by_reclaim() {
    for state in State::ALL {
        for event in EVENTS {
            let found = Snapshot { state, generation: 5, client: 0 };
            if let Some(then) = next(found, event) {
                assert_eq!(
                    then.generation,
                    if event == Event::Reclaim { 6 } else { 5 },
                    "{found:?} {event:?}"
                );
                assert_eq!(then.client != 0, then.state == State::Granted, "{found:?} {event:?}");
            }
        }
    }
}

#[test]
fn nothing_leaves_retired() {
    for event in EVENTS {
        assert_eq!(
            next(Snapshot { state: State::Retired, generation: GENERATION_MAX, client: 0 }, event),
            None
        );
    }
}
