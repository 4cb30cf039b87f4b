//! A client's page: everything it writes for the node to read, and the little that the node writes back.
//!
//! Drawn in `core/docs/layout.md`. Pages lie side by side in one file; a client holds a lock on the byte range of its
//! own. Invariants: hazards, holds, ring tail, touches, chain area, tallies and the sleep flag are the client's; ring head, grants and
//! completions are the node's; each group has its own cache lines. All zeroes is an empty page, so a dead client's
//! claims are dropped by zeroing it.

use crate::chain::{ChainArea, KEY_WORDS};
use crate::grant::{LANE_WORDS, Lane};
use crate::request::{COMPLETION_WORDS, Completion, REQUEST_WORDS, Ticket};
use crate::ring::Ring;
use crate::sync::{AtomicU64, Ordering};
use crate::tally::{TALLIES, Tallies};
use crate::touch::{NOTE_WORDS, Touches};
use crate::view::WORD_BYTES;

/// Pins a client may have at once.
pub const HAZARD_CELLS: usize = in_models(1024, 2);
/// Chains a client may hold at once.
pub const HOLD_CELLS: usize = in_models(512, 2);
/// Slot sizes a client may have grants of at once.
pub const LANES: usize = in_models(16, 1);
/// Requests of a client that may wait for an answer at once.
pub const COMPLETIONS: usize = in_models(128, 1);
/// Requests that may lie in the ring at once.
pub const RING_ENTRIES: usize = in_models(512, 1);
/// Matched chains that may wait to be noted.
pub const TOUCH_NOTES: usize = in_models(256, 1);
/// Keys of a chain that are handed to the node at once.
pub const CHAIN_KEYS: usize = in_models(512, 1);
/// Shares that one question about a chain may be about.
pub const CHAIN_SHARES: usize = in_models(64, 1);
/// Stripes that a client counts in; models count nothing.
pub const TALLY_STRIPES: usize = in_models(8, 0);

/// The first number; in a model the second: loom keeps the history of every word, so its pages are small.
const fn in_models(real: usize, small: usize) -> usize {
    if cfg!(loom) { small } else { real }
}

const LINE: usize = 8;
const OWNER: usize = 0;
const EPOCH: usize = 1;
const ASLEEP: usize = LINE;
const RING_TAIL: usize = 2 * LINE;
const RING_HEAD: usize = 3 * LINE;
const TOUCHED: usize = 4 * LINE;
const HAZARDS_USED: usize = 5 * LINE;
const HOLDS_USED: usize = 5 * LINE + 1;
const HAZARDS: usize = 8 * LINE;
const HOLDS: usize = HAZARDS + HAZARD_CELLS;
const GRANTS: usize = HOLDS + HOLD_CELLS;
const ANSWERS: usize = GRANTS + LANES * LANE_WORDS;
const REQUESTS: usize = ANSWERS + COMPLETIONS * COMPLETION_WORDS;
const NOTES: usize = REQUESTS + RING_ENTRIES * REQUEST_WORDS;
const KEYS: usize = NOTES + TOUCH_NOTES * NOTE_WORDS;
const SHARES: usize = KEYS + CHAIN_KEYS * KEY_WORDS;
const COUNTS: usize = (SHARES + CHAIN_SHARES).next_multiple_of(in_models(2 * LINE, 1));
/// Words of a page that mean something.
pub const PAGE_WORDS: usize = COUNTS + TALLY_STRIPES * TALLIES;
/// Bytes from one page to the next: whole memory pages on every architecture.
pub const PAGE_BYTES: usize = (PAGE_WORDS * WORD_BYTES).next_multiple_of(1 << 16);

/// One client's page.
#[derive(Clone, Copy, Debug)]
pub struct Page<'m> {
    words: &'m [AtomicU64],
}

impl<'m> Page<'m> {
    /// Views a page.
    ///
    /// # Panics
    /// If there are fewer than [`PAGE_WORDS`] words.
    pub fn new(words: &'m [AtomicU64]) -> Self {
        assert!(words.len() >= PAGE_WORDS);
        Self { words: &words[..PAGE_WORDS] }
    }

    /// Who has the page: 0 for nobody, otherwise a number that the node drew for this attachment.
    pub fn owner(&self) -> &'m AtomicU64 {
        &self.words[OWNER]
    }

    /// The epoch of the node that this client last attached to.
    pub fn epoch(&self) -> &'m AtomicU64 {
        &self.words[EPOCH]
    }

    /// Not 0 while the client sleeps and wants its doorbell rung.
    pub fn asleep(&self) -> &'m AtomicU64 {
        &self.words[ASLEEP]
    }

    /// Cell `index` of the pins; marks it as in use before it is used.
    ///
    /// # Panics
    /// If `index` is not below [`HAZARD_CELLS`].
    pub fn hazard(&self, index: usize) -> &'m AtomicU64 {
        self.cell(HAZARDS_USED, HAZARDS, HAZARD_CELLS, index)
    }

    /// Cell `index` of the holds; marks it as in use before it is used.
    ///
    /// # Panics
    /// If `index` is not below [`HOLD_CELLS`].
    pub fn hold(&self, index: usize) -> &'m AtomicU64 {
        self.cell(HOLDS_USED, HOLDS, HOLD_CELLS, index)
    }

    fn cell(&self, used: usize, base: usize, cells: usize, index: usize) -> &'m AtomicU64 {
        assert!(index < cells);
        // Relaxed: the SeqCst fence in `hazard::protect` orders this before the check of the slot's state, and the
        // node reads it after its own; so either the scan looks at the cell or the reader sees the victim draining.
        if self.words[used].load(Ordering::Relaxed) <= index as u64 {
            self.words[used].fetch_max(index as u64 + 1, Ordering::Relaxed);
        }
        &self.words[base + index]
    }

    /// All cells that may name a slot: pins, then holds. Read them after the fence of a scan.
    pub fn claims(&self) -> [&'m [AtomicU64]; 2] {
        let used = |at: usize, cells: usize| (self.words[at].load(Ordering::Relaxed) as usize).min(cells);
        [
            &self.words[HAZARDS..][..used(HAZARDS_USED, HAZARD_CELLS)],
            &self.words[HOLDS..][..used(HOLDS_USED, HOLD_CELLS)],
        ]
    }

    /// Grants of one slot size.
    ///
    /// # Panics
    /// If `index` is not below [`LANES`].
    pub fn lane(&self, index: usize) -> Lane<'m> {
        assert!(index < LANES);
        Lane::new(&self.words[GRANTS + index * LANE_WORDS..][..LANE_WORDS])
    }

    /// The lane for slots of exactly this size, if there is one.
    pub fn lane_for(&self, slot_bytes: u64) -> Option<Lane<'m>> {
        (0..LANES).map(|i| self.lane(i)).find(|lane| lane.slot_bytes() == slot_bytes)
    }

    /// The completion entry of a ticket, or `None` if there is no such entry.
    pub fn completion(&self, ticket: Ticket) -> Option<Completion<'m>> {
        let index = usize::from(ticket.index());
        (index < COMPLETIONS)
            .then(|| Completion::new(&self.words[ANSWERS + index * COMPLETION_WORDS..][..COMPLETION_WORDS]))
    }

    /// The requests of this client.
    pub fn ring(&self) -> Ring<'m> {
        let entries = &self.words[REQUESTS..][..RING_ENTRIES * REQUEST_WORDS];
        Ring::new(&self.words[RING_TAIL], &self.words[RING_HEAD], entries, REQUEST_WORDS)
    }

    /// The touches of this client.
    pub fn touches(&self) -> Touches<'m> {
        Touches::new(&self.words[TOUCHED], &self.words[NOTES..][..TOUCH_NOTES * NOTE_WORDS])
    }

    /// What this client asks about chains.
    pub fn chain(&self) -> ChainArea<'m> {
        ChainArea::new(&self.words[KEYS..SHARES], &self.words[SHARES..][..CHAIN_SHARES])
    }

    /// What this client counts.
    pub fn tallies(&self) -> Tallies<'m> {
        Tallies::new(&self.words[COUNTS..])
    }

    /// Empties the page. Only the node calls this, and only when its client is dead or has left.
    pub fn clear(&self) {
        for word in &self.words[OWNER + 1..] {
            word.store(0, Ordering::Relaxed);
        }
        // Release, and last: a node killed on the way leaves a page that still has an owner, so the next node clears
        // it again; the other way round, claims of nobody would pin their slots for ever.
        self.words[OWNER].store(0, Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::key::BlockKey;
    use crate::rule::Share;
    use crate::sync::zeroed_words;
    use crate::tally::Tally;
    use std::vec::Vec;

    #[test]
    fn a_scan_looks_at_used_cells_only() {
        let words = zeroed_words(PAGE_WORDS);
        let page = Page::new(&words);
        assert_eq!(page.claims().map(<[_]>::len), [0, 0]);
        page.hazard(4);
        page.hold(0);
        page.hazard(2);
        assert_eq!(page.claims().map(<[_]>::len), [5, 1]);
        words[HAZARDS_USED].store(u64::MAX, Ordering::Relaxed);
        assert_eq!(page.claims().map(<[_]>::len), [HAZARD_CELLS, 1]);
    }

    #[test]
    fn the_groups_of_a_page_do_not_overlap() {
        let words = zeroed_words(PAGE_WORDS);
        let page = Page::new(&words);
        page.hold(HOLD_CELLS - 1).store(u64::MAX, Ordering::Relaxed);
        assert_eq!(page.lane(0).slot_bytes(), 0);
        page.lane(LANES - 1).assign(1);
        assert_eq!(page.lane_for(1).unwrap().outstanding(), 0);
        assert!(page.completion(Ticket::new(1, COMPLETIONS as u16)).is_none());
        assert!(page.ring().push(&[u64::MAX; REQUEST_WORDS]).is_some());
        assert_eq!(page.touches().read(0, |_| {}), 0);
        page.chain().lay_keys(&[BlockKey::from_bytes([0xff; 32]); CHAIN_KEYS]);
        assert_eq!(page.chain().shares(CHAIN_SHARES).collect::<Vec<_>>(), [Share::default(); CHAIN_SHARES]);
        page.chain().lay_shares(&[Share::new(u16::MAX, u16::MAX); CHAIN_SHARES]);
        assert_eq!(page.touches().read(0, |_| {}), 0);
        page.tallies().add(TALLY_STRIPES - 1, Tally::Reattaches, 7);
        assert_eq!(page.chain().shares(CHAIN_SHARES).next(), Some(Share::new(u16::MAX, u16::MAX)));
        assert_eq!(page.tallies().totals().get(Tally::Reattaches), 7);
        page.clear();
        assert!(words.iter().all(|word| word.load(Ordering::Relaxed) == 0));
    }
}
