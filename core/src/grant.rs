//! Grants: free slots handed out ahead of need, so that a put reserves without asking.
//!
//! A client's page holds lanes, one for each slot size it uses; a lane is a word of size and cells of one slot
//! reference each. The node fills empty cells; the client takes and the node revokes by compare-and-swap on the same
//! word, so exactly one of them gets the slot. Invariants: only the node stores a non-zero cell; a reference appears in
//! at most one cell of all clients, and a taken one never comes back; a word that names no slot (a flipped bit) is as
//! good as empty, since nobody can take it.

use crate::slot::SlotRef;
use crate::sync::{AtomicU64, Ordering};

/// Words of a lane: its slot size and the cells.
pub const LANE_WORDS: usize = if cfg!(loom) { 3 } else { 32 };
/// Cells of a lane.
pub const LANE_CELLS: usize = LANE_WORDS - 1;

/// Grants of one slot size to one client.
#[derive(Clone, Copy, Debug)]
pub struct Lane<'m> {
    words: &'m [AtomicU64],
}

impl<'m> Lane<'m> {
    /// Views a lane.
    ///
    /// # Panics
    /// If there are not exactly [`LANE_WORDS`] words.
    pub fn new(words: &'m [AtomicU64]) -> Self {
        assert!(words.len() == LANE_WORDS);
        Self { words }
    }

    /// Bytes of the slots in this lane; 0 for a lane not in use.
    ///
    /// A hint: the node may revoke the lane and assign it anew before [`Lane::take`]. How much fits a slot that was
    /// taken is for its extent to say.
    pub fn slot_bytes(&self) -> u64 {
        // Relaxed: nothing is concluded from a hint.
        self.words[0].load(Ordering::Relaxed)
    }

    /// Gives an empty lane a size. Only the node calls this.
    pub fn assign(&self, slot_bytes: u64) {
        self.words[0].store(slot_bytes, Ordering::Relaxed);
    }

    /// Hands out a slot; `false` if all cells are full. Only the node calls this.
    #[must_use]
    pub fn hand_out(&self, slot: SlotRef) -> bool {
        match self.cells().iter().find(|cell| named(cell, Ordering::Relaxed).is_none()) {
            // Release: pairs with the Acquire in `take`; the slot is Granted before it can be taken.
            Some(cell) => cell.store(slot.pack(), Ordering::Release),
            None => return false,
        }
        true
    }

    /// Takes a slot, or `None` if none is handed out. Any thread of the client calls this.
    #[must_use]
    pub fn take(&self) -> Option<SlotRef> {
        self.cells().iter().find_map(claim)
    }

    /// Takes all slots back that the client has not taken, and empties the cells that name none. Only the node calls
    /// this.
    pub fn revoke(&self) -> impl Iterator<Item = SlotRef> + use<'m> {
        let used = |cell: &&AtomicU64| cell.load(Ordering::Relaxed) != 0;
        // Acquire: pairs with the Release in `hand_out`, that of a node before us included. A swap always wins against
        // the compare-and-swap of a taker that comes later, and yields nothing after one that came earlier.
        self.cells().iter().filter(used).filter_map(|cell| SlotRef::unpack(cell.swap(0, Ordering::Acquire)))
    }

    /// Slots handed out and not taken: what [`Lane::take`] can still yield.
    pub fn outstanding(&self) -> usize {
        self.cells().iter().filter(|cell| named(cell, Ordering::Relaxed).is_some()).count()
    }

    /// What the cells name, for adoption: slots that the client may still take.
    pub fn peek(&self) -> impl Iterator<Item = SlotRef> + use<'m> {
        self.cells().iter().filter_map(|cell| named(cell, Ordering::Acquire))
    }

    fn cells(&self) -> &'m [AtomicU64] {
        &self.words[1..]
    }
}

/// The slot that a cell names, if it names one.
fn named(cell: &AtomicU64, order: Ordering) -> Option<SlotRef> {
    SlotRef::unpack(cell.load(order))
}

/// Wins or loses the one race for a cell.
fn claim(cell: &AtomicU64) -> Option<SlotRef> {
    let word = cell.load(Ordering::Relaxed);
    let slot = SlotRef::unpack(word)?;
    // Acquire: pairs with the Release in `hand_out`. The swap decides between taker and revoker; it tells the loser
    // nothing but that the cell is empty, so it releases nothing.
    cell.compare_exchange(word, 0, Ordering::Acquire, Ordering::Relaxed).is_ok().then_some(slot)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::zeroed_words;
    use std::vec::Vec;

    #[test]
    fn a_grant_goes_to_its_taker_or_back_to_the_node() {
        let words = zeroed_words(LANE_WORDS);
        let lane = Lane::new(&words);
        lane.assign(4096);
        let slot = |slot| SlotRef { arena: 0, slot, generation: 1 };
        for i in 0..LANE_CELLS as u32 {
            assert!(lane.hand_out(slot(i)));
        }
        assert!(!lane.hand_out(slot(99)));
        assert_eq!(lane.take(), Some(slot(0)));
        assert_eq!(lane.outstanding(), LANE_CELLS - 1);
        let back: Vec<_> = lane.revoke().collect();
        assert_eq!(back.len(), LANE_CELLS - 1);
        assert_eq!(lane.take(), None);
    }

    #[test]
    fn a_cell_that_names_no_slot_is_as_good_as_empty() {
        let words = zeroed_words(LANE_WORDS);
        let lane = Lane::new(&words);
        // Generation 0: no slot has it.
        let damaged = 1 << 56 | 7;
        words[1..].iter().for_each(|cell| cell.store(damaged, Ordering::Relaxed));
        assert_eq!(lane.outstanding(), 0, "what cannot be taken is not outstanding");
        assert_eq!(lane.take(), None);
        let slot = SlotRef { arena: 0, slot: 3, generation: 1 };
        assert!(lane.hand_out(slot));
        assert_eq!(lane.take(), Some(slot));

        words[2].store(slot.pack(), Ordering::Relaxed);
        assert_eq!(lane.revoke().collect::<Vec<_>>(), [slot]);
        assert!(words[1..].iter().all(|cell| cell.load(Ordering::Relaxed) == 0), "revoking empties them all");
    }
}
