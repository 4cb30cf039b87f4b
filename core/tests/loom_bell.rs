//! Who rings and who sleeps: no interleaving leaves work behind a sleeper that nobody rings.
#![cfg(loom)]

use cascade_core::bell::Bell;
use cascade_core::sync::{AtomicU64, Ordering, zeroed_words};
use loom::sync::Arc;
use loom::thread;

/// The eventfd of the models: a semaphore that the waker posts.
fn rung(eventfd: &AtomicU64) -> bool {
    eventfd.load(Ordering::Acquire) != 0
}

#[test]
fn work_is_never_left_behind_a_sleeper() {
    loom::model(|| {
        // [flag, work, eventfd]
        let words = Arc::new(zeroed_words(3));
        let shared = words.clone();
        let waker = thread::spawn(move || {
            shared[1].store(1, Ordering::Release);
            if Bell::new(&shared[0]).must_ring() {
                shared[2].store(1, Ordering::Release);
            }
        });
        let bell = Bell::new(&words[0]);
        bell.arm();
        let sleeps = words[1].load(Ordering::Acquire) == 0;
        waker.join().unwrap();
        assert!(!sleeps || rung(&words[2]), "asleep with work waiting, and not rung");
        bell.disarm();
    });
}

#[test]
fn two_sides_that_wait_for_each_other_both_wake() {
    // A client posts a request and sleeps for the answer; the node sleeps until it is rung and then answers.
    loom::model(|| {
        // [node's flag, request, node's eventfd, client's flag, answer, client's eventfd]
        let words = Arc::new(zeroed_words(6));
        let shared = words.clone();
        let node = thread::spawn(move || {
            let bell = Bell::new(&shared[0]);
            bell.arm();
            let asleep = shared[1].load(Ordering::Acquire) == 0;
            if asleep {
                while !rung(&shared[2]) {
                    thread::yield_now();
                }
            }
            bell.disarm();
            assert_eq!(shared[1].load(Ordering::Acquire), 1, "rung without work");
            shared[4].store(1, Ordering::Release);
            if Bell::new(&shared[3]).must_ring() {
                shared[5].store(1, Ordering::Release);
            }
        });
        words[1].store(1, Ordering::Release);
        if Bell::new(&words[0]).must_ring() {
            words[2].store(1, Ordering::Release);
        }
        let bell = Bell::new(&words[3]);
        bell.arm();
        let asleep = words[4].load(Ordering::Acquire) == 0;
        node.join().unwrap();
        assert!(!asleep || rung(&words[5]), "the answer was not rung for");
        bell.disarm();
    });
}
