//! The slot line without a pin: what a reader believes of it is whole, whatever the node does meanwhile.
#![cfg(loom)]

mod models;

use cascade_core::slot::Event;
use loom::sync::Arc;
use loom::thread;
use models::{Slot, id, meta};

#[test]
fn a_line_is_whole_once_its_slot_is_ready() {
    loom::model(|| {
        let slot = Arc::new(Slot::new(3));
        let shared = slot.clone();
        let node = thread::spawn(move || shared.publish(1));
        assert!(matches!(slot.line().read(), None | Some((1, _))));
        if let Some((_, found)) = slot.line().read() {
            assert_eq!(found, meta(1));
        }
        node.join().unwrap();
        assert_eq!(slot.line().read(), Some((1, meta(1))));
    });
}

#[test]
fn a_line_that_changes_under_its_reader_is_not_believed() {
    loom::model(|| {
        let slot = Arc::new(Slot::holding(3, 1));
        let shared = slot.clone();
        let node = thread::spawn(move || {
            assert!(shared.evict(Vec::new));
            shared.line().step(Event::Grant { client: 0 }).unwrap();
            shared.line().describe(&meta(2));
            shared.line().step(Event::Publish).unwrap();
        });
        match slot.line().read() {
            None => (),
            Some((1, found)) => assert_eq!(found, meta(1)),
            Some((generation, found)) => assert_eq!((generation, found), (2, meta(2))),
        }
        node.join().unwrap();
    });
}

#[test]
fn a_name_is_found_at_the_generation_that_bears_it() {
    loom::model(|| {
        let slot = Arc::new(Slot::holding(3, 1));
        let shared = slot.clone();
        let node = thread::spawn(move || {
            assert!(shared.evict(Vec::new));
            shared.line().step(Event::Grant { client: 0 }).unwrap();
            shared.line().describe(&meta(2));
            shared.line().step(Event::Publish).unwrap();
        });
        assert!(matches!(slot.line().ready_with(&id(1)), None | Some(1)));
        assert!(matches!(slot.line().ready_with(&id(2)), None | Some(2)));
        node.join().unwrap();
    });
}
