//! Keys of a chain, handed to the node a batch at a time through one area: each is taken up whole, and once.
#![cfg(loom)]

mod models;

use cascade_core::key::BlockKey;
use cascade_core::page::{CHAIN_KEYS, PAGE_WORDS, Page};
use cascade_core::request::{REQUEST_WORDS, Request};
use cascade_core::rule::Share;
use cascade_core::sync::{AtomicU64, zeroed_words};
use loom::sync::Arc;
use loom::thread;
use models::{explore, let_the_others_run};

const BATCHES: u64 = 2;

fn key(n: u64) -> BlockKey {
    BlockKey::from_words([n, 0, 0, n])
}

/// The client's way: the area is free once the ring has passed what was posted about it. Nobody waits here, since a thread
/// that yields sees all that is there.
fn hand_over(words: &[AtomicU64]) {
    let page = Page::new(words);
    for batch in 1..=BATCHES {
        page.chain().lay_keys(&[key(batch); CHAIN_KEYS]);
        page.chain().lay_shares(&[Share::new(batch as u16, 0)]);
        let request = Request::Keys { first: 0, count: CHAIN_KEYS as u32 };
        let position = page.ring().push::<REQUEST_WORDS>(&request.encode()).expect("the ring has room again");
        if page.ring().processed() <= position {
            return;
        }
    }
}

/// The node's way: the batches that it finds, the first being number `batch`; the number of the next.
fn take_up(words: &[AtomicU64], mut batch: u64) -> u64 {
    let page = Page::new(words);
    while page.ring().pending() != Ok(0) {
        let request = Request::decode(&page.ring().peek::<REQUEST_WORDS>());
        assert!(matches!(request, Ok(Request::Keys { .. })));
        assert_eq!(page.chain().keys(1).next(), Some(key(batch)), "keys of another batch");
        assert_eq!(page.chain().shares(1).next(), Some(Share::new(batch as u16, 0)));
        page.ring().done();
        batch += 1;
    }
    batch
}

#[test]
fn keys_and_shares_are_taken_up_before_they_are_overwritten() {
    explore(|| {
        let words: Arc<Vec<AtomicU64>> = Arc::new(zeroed_words(PAGE_WORDS));
        let shared = words.clone();
        let node = thread::spawn(move || take_up(&shared, 1));
        let_the_others_run();
        hand_over(&words);
        take_up(&words, node.join().unwrap());
    });
}
