//! The slot line without a pin: what a reader believes of it is whole, whatever the node does meanwhile.
#![cfg(loom)]

mod models;

use cascade_core::slot::Event;
use loom::sync::Arc;
use loom::thread;
use models::{Slot, explore, id, let_the_others_run, meta};

#[test]
fn a_line_is_whole_once_its_slot_is_ready() {
    explore(|| {
        let slot = Arc::new(Slot::new(3));
        let shared = slot.clone();
        let reader = thread::spawn(move || {
            if let Some(found) = shared.line().read() {
                assert_eq!(found, (1, meta(1)));
            }
        });
        let_the_others_run();
        slot.publish(1);
        reader.join().unwrap();
        assert_eq!(slot.line().read(), Some((1, meta(1))));
    });
}

#[test]
fn a_line_that_changes_under_its_reader_is_not_believed() {
    explore(|| {
        let slot = Arc::new(Slot::holding(3, 1));
        let shared = slot.clone();
        let reader = thread::spawn(move || match shared.line().read() {
            None => (),
            Some((1, found)) => assert_eq!(found, meta(1)),
            Some((generation, found)) => assert_eq!((generation, found), (2, meta(2))),
        });
        let_the_others_run();
        // Without the fence of a scan in between: `describe` keeps its promise alone.
        for event in [Event::Drain, Event::Reclaim, Event::Grant { client: 0 }] {
            slot.line().step(event).unwrap();
        }
        slot.line().describe(&meta(2));
        slot.line().step(Event::Publish).unwrap();
        reader.join().unwrap();
    });
}

#[test]
fn a_name_is_found_at_the_generation_that_bears_it() {
    explore(|| {
        let slot = Arc::new(Slot::holding(3, 1));
        let shared = slot.clone();
        let node = thread::spawn(move || {
            assert!(shared.evict(Vec::new));
            shared.line().step(Event::Grant { client: 0 }).unwrap();
            shared.line().describe(&meta(2));
            shared.line().step(Event::Publish).unwrap();
        });
        let_the_others_run();
        assert!(matches!(slot.line().ready_with(&id(1)), None | Some(1)));
        assert!(matches!(slot.line().ready_with(&id(2)), None | Some(2)));
        node.join().unwrap();
    });
}
