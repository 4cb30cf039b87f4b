//! Readers against the recycler: a pinned slot keeps its bytes, and nobody reads what is being written.
#![cfg(loom)]

mod models;

use cascade_core::hazard::{Reader, Scan, protect, release};
use cascade_core::page::{PAGE_WORDS, Page};
use cascade_core::slot::Event;
use cascade_core::sync::{AtomicU64, zeroed_words};
use loom::sync::Arc;
use loom::thread;
use models::{Slot, explore, let_the_others_run};

struct World {
    slots: [Slot; 2],
    cells: Vec<AtomicU64>,
}

fn world() -> Arc<World> {
    Arc::new(World { slots: [Slot::holding(0, 1), Slot::holding(1, 2)], cells: zeroed_words(1) })
}

#[test]
fn a_pinned_slot_is_never_recycled() {
    explore(|| {
        let world = world();
        let shared = world.clone();
        let node = thread::spawn(move || {
            let slot = &shared.slots[0];
            if slot.evict(|| vec![&shared.cells]) {
                slot.publish(7);
            }
        });
        let_the_others_run();
        let slot = &world.slots[0];
        if slot.pin(&world.cells[0], 1) {
            assert_eq!(slot.bytes(), 1);
            release(&world.cells[0]);
        }
        node.join().unwrap();
    });
}

#[test]
fn a_reader_of_what_was_just_published_sees_all_of_it() {
    explore(|| {
        let world = Arc::new(World { slots: [Slot::new(0), Slot::new(1)], cells: zeroed_words(1) });
        let shared = world.clone();
        let node = thread::spawn(move || shared.slots[0].publish(1));
        let_the_others_run();
        let slot = &world.slots[0];
        // Straight to the pin: a claim on the first generation, made before anybody looked at the line.
        if protect(&world.cells[0], slot.at(1), slot.line().state_word(), Reader::Anyone) {
            assert_eq!(slot.bytes(), 1);
            assert_eq!(slot.line().meta(), models::meta(1));
            release(&world.cells[0]);
        }
        node.join().unwrap();
    });
}

#[test]
fn a_cell_used_again_gives_its_first_slot_up_for_good() {
    explore(|| {
        let world = world();
        let shared = world.clone();
        let node = thread::spawn(move || {
            let slot = &shared.slots[0];
            if slot.evict(|| vec![&shared.cells]) {
                slot.publish(7);
            }
        });
        let_the_others_run();
        let cell = &world.cells[0];
        if world.slots[0].pin(cell, 1) {
            assert_eq!(world.slots[0].bytes(), 1);
            release(cell);
        }
        // The node may see this word in the cell and never the zero before it; it must see the reads before it too.
        assert!(world.slots[1].pin(cell, 2));
        assert_eq!(world.slots[1].bytes(), 2);
        release(cell);
        node.join().unwrap();
    });
}

#[test]
fn a_scan_sees_the_pins_that_a_page_says_are_in_use() {
    explore(|| {
        let slot = Arc::new(Slot::holding(0, 1));
        let words = Arc::new(zeroed_words(PAGE_WORDS));
        let (shared, shared_words) = (slot.clone(), words.clone());
        let node = thread::spawn(move || {
            let page = Page::new(&shared_words);
            if shared.evict(|| page.claims().to_vec()) {
                shared.fill(7);
            }
        });
        let_the_others_run();
        let cell = Page::new(&words).hazard(1);
        if slot.pin(cell, 1) {
            assert_eq!(slot.bytes(), 1);
            release(cell);
        }
        node.join().unwrap();
    });
}

#[test]
fn a_mark_made_by_one_thread_serves_the_pins_of_another() {
    explore(|| {
        let slot = Arc::new(Slot::holding(0, 1));
        let words = Arc::new(zeroed_words(PAGE_WORDS));
        let node = {
            let (slot, words) = (slot.clone(), words.clone());
            thread::spawn(move || {
                let page = Page::new(&words);
                if slot.evict(|| page.claims().to_vec()) {
                    slot.fill(7);
                }
            })
        };
        let marker = {
            let words = words.clone();
            thread::spawn(move || {
                Page::new(&words).hazard(1);
            })
        };
        let_the_others_run();
        // Cell 0 is in use if cell 1 is: this thread may find it marked and leave the mark alone.
        let cell = Page::new(&words).hazard(0);
        if slot.pin(cell, 1) {
            assert_eq!(slot.bytes(), 1);
            release(cell);
        }
        marker.join().unwrap();
        node.join().unwrap();
    });
}

#[test]
fn a_filler_reads_its_own_write_until_the_slot_is_revoked_and_unread() {
    explore(|| {
        let world = Arc::new(World { slots: [Slot::new(0), Slot::new(1)], cells: zeroed_words(1) });
        let slot = &world.slots[0];
        slot.line().step(Event::Grant { client: 4 }).unwrap();
        slot.fill(1);
        let shared = world.clone();
        let node = thread::spawn(move || {
            let slot = &shared.slots[0];
            slot.line().step(Event::Revoke).unwrap();
            let mut scan = Scan::new(Vec::new());
            scan.add(&shared.cells);
            scan.finish();
            if !scan.names(slot.at(1)) {
                slot.line().step(Event::Reclaim).unwrap();
                slot.publish(7);
            }
        });
        let_the_others_run();
        if protect(&world.cells[0], slot.at(1), slot.line().state_word(), Reader::Filler(4)) {
            assert_eq!(slot.bytes(), 1);
            release(&world.cells[0]);
        }
        node.join().unwrap();
    });
}

#[test]
fn a_piece_given_up_under_its_reader_keeps_its_bytes_until_it_is_unread() {
    explore(|| {
        let world = world();
        let shared = world.clone();
        let node = thread::spawn(move || {
            let slot = &shared.slots[0];
            slot.line().step(Event::Revoke).unwrap();
            // Unlike a victim it does not come back: the node looks again until nobody reads it.
            for _ in 0..2 {
                let mut scan = Scan::new(Vec::new());
                scan.add(&shared.cells);
                scan.finish();
                if !scan.names(slot.at(1)) {
                    slot.line().step(Event::Reclaim).unwrap();
                    return slot.publish(7);
                }
            }
        });
        let_the_others_run();
        let slot = &world.slots[0];
        if slot.pin(&world.cells[0], 1) {
            assert_eq!((slot.bytes(), slot.line().meta()), (1, models::meta(1)));
            release(&world.cells[0]);
        }
        node.join().unwrap();
    });
}

#[test]
fn the_pin_of_a_killed_client_is_gone_with_its_page() {
    explore(|| {
        let slot = Arc::new(Slot::holding(0, 1));
        let words = Arc::new(zeroed_words(PAGE_WORDS));
        let (shared, shared_words) = (slot.clone(), words.clone());
        // The client dies wherever it is: before its pin, within it, or holding it.
        let client = thread::spawn(move || {
            let cell = Page::new(&shared_words).hazard(0);
            if shared.pin(cell, 1) {
                assert_eq!(shared.bytes(), 1);
            }
        });
        let_the_others_run();
        let page = Page::new(&words);
        let evicted = slot.evict(|| page.claims().to_vec());
        client.join().unwrap();
        page.clear();
        if !evicted {
            assert!(slot.evict(|| page.claims().to_vec()), "the claim of a dead client is still in force");
        }
        slot.fill(7);
    });
}
