//! A whole client page of nonsense, read as the node reads it. For every input: bounded work, nothing outside of the page,
//! and after [`Page::clear`] an empty page.
//!
//! The input is a list of (word, value): pages are large, and what matters is a few words that fit together.
#![no_main]

use cascade_core::chain::{CHAIN_PIECES_MAX, Located};
use cascade_core::hazard::Scan;
use cascade_core::page::{
    CHAIN_KEYS, CHAIN_SHARES, COMPLETIONS, HAZARD_CELLS, HOLD_CELLS, LANES, PAGE_WORDS, Page, RING_ENTRIES, TOUCH_NOTES,
};
use cascade_core::request::{REQUEST_WORDS, Request, Ticket, Verdict};
use cascade_core::slot::SlotRef;
use cascade_core::sync::{Ordering, zeroed_words};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let words = zeroed_words(PAGE_WORDS);
    let (seen, patches) = bytes.split_at(bytes.len().min(8));
    for patch in patches.chunks_exact(10) {
        let at = usize::from(u16::from_le_bytes([patch[0], patch[1]])) % PAGE_WORDS;
        let value = u64::from_le_bytes(patch[2..].try_into().expect("eight bytes"));
        words[at].store(value, Ordering::Relaxed);
    }
    let page = Page::new(&words);

    let mut touches = 0;
    let seen = seen.try_into().map_or(0, u64::from_le_bytes);
    page.touches().read(seen, |_| touches += 1);
    assert!(touches <= TOUCH_NOTES);

    let ring = page.ring();
    if let Ok(mut pending) = ring.pending() {
        assert!(pending <= RING_ENTRIES as u64);
        while pending > 0 {
            match Request::decode(&ring.peek::<REQUEST_WORDS>()) {
                Ok(
                    Request::Reserve { ticket, .. } | Request::Flush { ticket } | Request::Cancel { ticket },
                ) => {
                    if let Some(completion) = page.completion(ticket) {
                        completion.answer(ticket, Verdict::Flushed);
                        assert_eq!(completion.poll(ticket), Some(Verdict::Flushed));
                    }
                }
                Ok(Request::Keys { count, .. }) => {
                    assert_eq!(page.chain().keys(count as usize).count(), count as usize);
                    assert!(count as usize <= CHAIN_KEYS);
                }
                Ok(Request::Locate(question) | Request::Promote(question)) => {
                    let shares: Vec<_> = page.chain().shares(question.shares as usize).collect();
                    assert!(shares.len() == question.shares as usize && shares.len() <= CHAIN_SHARES);
                    assert!(question.blocks as usize * shares.len() <= CHAIN_PIECES_MAX);
                    if let Some(completion) = page.completion(question.ticket) {
                        completion.answer_with(question.ticket, Verdict::Located, Located::in_memory(1));
                        assert_eq!(completion.located(), Located::in_memory(1));
                    }
                }
                Ok(_) => {}
                Err(_) => break,
            }
            ring.done();
            pending -= 1;
        }
    }

    let mut scan = Scan::new(Vec::new());
    let claims = page.claims();
    assert!(claims[0].len() <= HAZARD_CELLS);
    assert!(claims[1].len() <= HOLD_CELLS);
    claims.iter().for_each(|cells| scan.add(cells));
    scan.finish();

    let slot = SlotRef { arena: 0, slot: 1, generation: 1 };
    let _ = scan.names(slot);
    for lane in (0..LANES).map(|i| page.lane(i)) {
        let named = lane.peek().count();
        assert!(named <= lane.outstanding());
        // Cells that name no slot are nobody's: neither taken nor handed out again.
        assert_eq!(lane.revoke().count(), named);
        let _ = lane.hand_out(slot);
    }
    for index in 0..=COMPLETIONS as u16 {
        let _ = page.completion(Ticket::new(1, index));
    }
    page.clear();
    assert!(words.iter().all(|word| word.load(Ordering::Relaxed) == 0));
});
