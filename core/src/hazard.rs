//! Pins are hazards (Michael, "Hazard Pointers", 2004): a reader names the slot it reads in a word of its own page.
//!
//! ```text
//! reader                                   node
//! cell = (arena, slot, generation)         state = Draining
//! fence(SeqCst)                            fence(SeqCst)
//! state still Ready at generation?         any cell that names it?
//!   yes: pinned                              yes: Ready again
//!   no:  cell = 0, a miss                    no:  Free, generation + 1
//! ```
//!
//! One of the two sees the other: with both fences no interleaving frees a slot under a reader (loom finds the race
//! without either). Invariants: a cell belongs to one client, which alone stores to it; the node only reads it, and
//! clears it when the client is dead. Nothing to repair after a kill, nothing leaked.

use crate::slot::{SlotRef, Snapshot, State};
use crate::sync::{AtomicU64, Ordering, fence};
use alloc::vec::Vec;

/// Who reads: published pieces only, or also the slots that this client itself is filling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// Sees Ready slots.
    Anyone,
    /// Also sees slots that are Granted to this client: its own writes, before the node's verdict.
    Filler(u16),
}

/// Pins `target`: on `true`, the slot keeps its bytes and its line until [`release`] is called on `cell`.
///
/// `state` is the state word of that very slot. On `false` the cell is empty again.
#[must_use]
pub fn protect(cell: &AtomicU64, target: SlotRef, state: &AtomicU64, reader: Reader) -> bool {
    // Release: pairs with the Acquire in `Scan::add`. The node may see this word and never the zero that `release`
    // stored before it; it must see the end of the reads under the cell's last pin all the same.
    cell.store(target.pack(), Ordering::Release);
    // SeqCst: pairs with the fence in `Scan::new`; either the scan sees the cell or we see Draining.
    fence(Ordering::SeqCst);
    // Acquire: pairs with the Release in `Line::step`; the line of a Ready slot is complete.
    let pinned = match Snapshot::unpack(state.load(Ordering::Acquire)) {
        Some(s) if s.generation == target.generation => match s.state {
            State::Ready => true,
            State::Granted => reader == Reader::Filler(s.client),
            _ => false,
        },
        _ => false,
    };
    if !pinned {
        cell.store(0, Ordering::Relaxed);
    }
    pinned
}

/// Gives the pin in `cell` back.
pub fn release(cell: &AtomicU64) {
    // Release: pairs with the Acquire in `Scan::add`; all reads of the slot happen before its reuse.
    cell.store(0, Ordering::Release);
}

/// The slots that clients name at one moment. Make it after the victims are Draining or Revoked.
#[derive(Debug, Default)]
pub struct Scan {
    named: Vec<u64>,
}

impl Scan {
    /// Starts a scan; `buffer` is recycled so that steady state allocates nothing.
    pub fn new(mut buffer: Vec<u64>) -> Self {
        buffer.clear();
        // SeqCst: pairs with the fence in `protect`.
        fence(Ordering::SeqCst);
        Self { named: buffer }
    }

    /// Looks at the cells of one client.
    pub fn add(&mut self, cells: &[AtomicU64]) {
        // Acquire: pairs with the Release in `release` and `protect`; what is no longer named is no longer read.
        self.named.extend(cells.iter().map(|cell| cell.load(Ordering::Acquire)).filter(|&word| word != 0));
    }

    /// Counts in a claim of the node's own, which needs no cell.
    pub fn name(&mut self, target: SlotRef) {
        self.named.push(target.pack());
    }

    /// Ends the looking; now [`Scan::names`] may be asked.
    pub fn finish(&mut self) {
        self.named.sort_unstable();
    }

    /// Whether a client names this use of the slot.
    pub fn names(&self, target: SlotRef) -> bool {
        self.named.binary_search(&target.pack()).is_ok()
    }

    /// Every use of a slot that a client names.
    pub fn iter(&self) -> impl Iterator<Item = SlotRef> + '_ {
        self.named.iter().filter_map(|&word| SlotRef::unpack(word))
    }

    /// Gives the buffer back for the next scan.
    pub fn into_buffer(self) -> Vec<u64> {
        self.named
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::slot::{Event, LINE_WORDS, Line};
    use crate::sync::zeroed_words;

    const TARGET: SlotRef = SlotRef { arena: 0, slot: 3, generation: 1 };

    #[test]
    fn only_its_filler_pins_a_granted_slot() {
        let words = zeroed_words(LINE_WORDS);
        let line = Line::new(&words);
        let cells = zeroed_words(2);
        line.step(Event::Grant { client: 7 }).unwrap();
        assert!(!protect(&cells[0], TARGET, line.state_word(), Reader::Anyone));
        assert!(!protect(&cells[0], TARGET, line.state_word(), Reader::Filler(8)));
        assert!(protect(&cells[0], TARGET, line.state_word(), Reader::Filler(7)));
    }

    #[test]
    fn a_scan_sees_pins_until_they_are_released() {
        let words = zeroed_words(LINE_WORDS);
        let line = Line::new(&words);
        let cells = zeroed_words(2);
        line.step(Event::Grant { client: 7 }).unwrap();
        line.step(Event::Publish).unwrap();
        assert!(protect(&cells[1], TARGET, line.state_word(), Reader::Anyone));
        let scan = |cells: &[AtomicU64]| {
            let mut scan = Scan::new(Vec::new());
            scan.add(cells);
            scan.finish();
            scan.names(TARGET)
        };
        assert!(scan(&cells));
        release(&cells[1]);
        assert!(!scan(&cells));
        line.step(Event::Drain).unwrap();
        assert!(!protect(&cells[1], TARGET, line.state_word(), Reader::Anyone));
        assert!(!scan(&cells));
    }
}
