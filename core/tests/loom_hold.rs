//! A hold on a chain's tail against the recycler: who evicts only leaves cannot take a block out from under it.
#![cfg(loom)]

mod models;

use cascade_core::hazard::{Reader, protect, release};
use cascade_core::page::{PAGE_WORDS, Page};
use cascade_core::slot::State;
use cascade_core::sync::{AtomicU64, Ordering, zeroed_words};
use loom::sync::Arc;
use loom::thread;
use models::{Slot, explore, id, let_the_others_run};

/// A chain of two blocks, a page, and a word between two processes of one engine.
struct World {
    root: Slot,
    tail: Slot,
    page: Vec<AtomicU64>,
    message: AtomicU64,
}

fn world() -> Arc<World> {
    Arc::new(World {
        root: Slot::holding(0, 1),
        tail: Slot::holding(1, 2),
        page: zeroed_words(PAGE_WORDS),
        message: AtomicU64::new(0),
    })
}

impl World {
    /// The node's way through a chain: the leaf first, its parent only when the leaf is gone.
    fn evict_from_its_tail(&self) {
        let page = Page::new(&self.page);
        if self.tail.evict(|| page.claims().to_vec()) && self.root.evict(|| page.claims().to_vec()) {
            self.root.publish(7);
        }
    }

    /// Holds the tail; only then are the other blocks looked up, for before it they may be another chain's.
    fn hold(&self) -> Option<&AtomicU64> {
        let tail = self.tail.line().snapshot().filter(|seen| seen.state == State::Ready)?;
        let cell = Page::new(&self.page).hold(0);
        let at = self.tail.at(tail.generation);
        let held = protect(cell, at, self.tail.line().state_word(), Reader::Anyone);
        assert!(!held || self.tail.line().names(&id(2)));
        held.then_some(cell)
    }
}

#[test]
fn a_hold_on_the_tail_keeps_every_block_before_it() {
    explore(|| {
        let world = world();
        let shared = world.clone();
        let node = thread::spawn(move || shared.evict_from_its_tail());
        let_the_others_run();
        if let Some(cell) = world.hold() {
            assert_eq!(world.root.line().ready_with(&id(1)), Some(1), "a held block is not resident");
            assert_eq!(world.root.bytes(), 1);
            assert_eq!(world.tail.bytes(), 2);
            release(cell);
        }
        node.join().unwrap();
    });
}

#[test]
fn another_process_reads_under_a_hold_until_it_is_told_back() {
    explore(|| {
        let world = world();
        let node = {
            let world = world.clone();
            thread::spawn(move || world.evict_from_its_tail())
        };
        let_the_others_run();
        // The scheduler holds and tells the worker, which has no claim of its own, what to read.
        if let Some(cell) = world.hold() {
            let worker = {
                let world = world.clone();
                thread::spawn(move || {
                    assert_eq!(world.root.bytes(), 1);
                    world.message.store(1, Ordering::Release);
                })
            };
            while world.message.load(Ordering::Acquire) == 0 {
                thread::yield_now();
            }
            release(cell);
            worker.join().unwrap();
        }
        node.join().unwrap();
    });
}
