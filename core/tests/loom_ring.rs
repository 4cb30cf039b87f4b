//! Requests and their answers: every entry once, whole, and with what it speaks of; nothing is lost with its consumer.
#![cfg(loom)]

mod models;

use cascade_core::request::{COMPLETION_WORDS, Completion, Ticket, Verdict};
use cascade_core::ring::Ring;
use cascade_core::sync::{AtomicU64, zeroed_words};
use loom::sync::Arc;
use loom::thread;
use models::{Slot, explore, let_the_others_run};

const ENTRY: usize = 2;

struct World {
    ring: Vec<AtomicU64>,
    // What the entries speak of: bytes that loom watches.
    slot: Slot,
}

impl World {
    fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self { ring: zeroed_words(2 + capacity * ENTRY), slot: Slot::new(0) })
    }

    fn ring(&self) -> Ring<'_> {
        Ring::new(&self.ring[0], &self.ring[1], &self.ring[2..], ENTRY)
    }

    fn push(&self, value: u64) -> u64 {
        loop {
            if let Some(position) = self.ring().push(&[value, !value]) {
                return position;
            }
            thread::yield_now();
        }
    }

    fn peek(&self) -> u64 {
        while self.ring().pending() == Ok(0) {
            thread::yield_now();
        }
        let [value, check] = self.ring().peek::<ENTRY>();
        assert_eq!(check, !value, "a torn entry");
        value
    }
}

#[test]
fn a_ring_that_wraps_delivers_every_entry_once_and_whole() {
    explore(|| {
        let world = World::new(2);
        let shared = world.clone();
        let client = thread::spawn(move || (1..=3).for_each(|value| _ = shared.push(value)));
        for expected in 1..=3 {
            assert_eq!(world.peek(), expected);
            world.ring().done();
        }
        client.join().unwrap();
        assert_eq!(world.ring().pending(), Ok(0));
    });
}

#[test]
fn what_an_entry_speaks_of_is_there_when_it_is_seen() {
    explore(|| {
        let world = World::new(1);
        let shared = world.clone();
        let client = thread::spawn(move || {
            shared.slot.fill(1);
            shared.push(1);
        });
        world.peek();
        assert_eq!(world.slot.bytes(), 1);
        client.join().unwrap();
    });
}

#[test]
fn a_push_that_wraps_comes_after_the_work_on_the_entry_before_it() {
    explore(|| {
        let world = World::new(1);
        let shared = world.clone();
        let client = thread::spawn(move || {
            shared.slot.fill(1);
            assert_eq!(shared.push(1), 0);
            assert_eq!(shared.push(2), 1);
            shared.slot.fill(2);
        });
        world.peek();
        assert_eq!(world.slot.bytes(), 1);
        world.ring().done();
        client.join().unwrap();
    });
}

#[test]
fn what_is_processed_has_had_its_effect() {
    explore(|| {
        let world = World::new(1);
        let position = world.push(1);
        let shared = world.clone();
        let node = thread::spawn(move || {
            shared.peek();
            shared.slot.fill(1);
            shared.ring().done();
        });
        let_the_others_run();
        if world.ring().processed() > position {
            assert_eq!(world.slot.bytes(), 1);
        }
        node.join().unwrap();
    });
}

#[test]
fn a_consumer_killed_and_restarted_takes_the_entry_up_again() {
    explore(|| {
        let world = World::new(1);
        let client = {
            let world = world.clone();
            thread::spawn(move || (1..=2).for_each(|value| _ = world.push(value)))
        };
        // The first node reads the entry and dies before it is done with it.
        let killed = {
            let world = world.clone();
            thread::spawn(move || world.peek())
        };
        assert_eq!(killed.join().unwrap(), 1);
        for expected in 1..=2 {
            assert_eq!(world.peek(), expected);
            world.ring().done();
        }
        client.join().unwrap();
    });
}

#[test]
fn a_verdict_that_is_seen_brings_its_effect() {
    explore(|| {
        let world = Arc::new((zeroed_words(COMPLETION_WORDS), Slot::new(0)));
        let ticket = Ticket::new(1, 0);
        let shared = world.clone();
        let client = thread::spawn(move || {
            if let Some(verdict) = Completion::new(&shared.0).poll(ticket) {
                assert_eq!((verdict, shared.1.bytes()), (Verdict::Fresh, 1));
            }
        });
        let_the_others_run();
        world.1.fill(1);
        Completion::new(&world.0).answer(ticket, Verdict::Fresh);
        client.join().unwrap();
    });
}

#[test]
fn an_answer_is_never_taken_for_that_of_another_ticket() {
    explore(|| {
        let words = Arc::new(zeroed_words(COMPLETION_WORDS));
        let (first, second) = (Ticket::new(1, 0), Ticket::new(2, 0));
        let shared = words.clone();
        let node = thread::spawn(move || {
            Completion::new(&shared).answer(first, Verdict::Expired);
            Completion::new(&shared).answer(second, Verdict::Fresh);
        });
        let_the_others_run();
        // The first ticket was given up; its entry serves the second one.
        let completion = Completion::new(&words);
        assert!(matches!(completion.poll(second), None | Some(Verdict::Fresh)));
        node.join().unwrap();
        assert_eq!(completion.poll(second), Some(Verdict::Fresh));
    });
}
