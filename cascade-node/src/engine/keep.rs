//! What the node keeps in memory for a client that asked for it, until the client has a hold of its own.
//!
//! Invariants: a keep is a claim like a client's, on one slot of a chain's last block, and counts in every scan; there is one
//! for a ticket, and so many for a client; it goes when it is cancelled, when its time is over, with its client, or with the
//! node. It keeps nothing back from a clean stop.

use cascade_core::page::HOLD_CELLS;
use cascade_core::piece::PieceId;
use cascade_core::request::Ticket;
use cascade_core::slot::SlotRef;

use super::store::Store;

/// One chain that is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keep {
    page: u16,
    ticket: Ticket,
    pub(super) slot: SlotRef,
    until_ns: u64,
}

impl Store {
    /// Keeps the chain that ends with this piece for the question that the ticket names; what was kept for it before goes.
    /// `false`, and nothing changed, if the piece is not in memory.
    pub fn keep(&mut self, page: u16, ticket: Ticket, tail: &PieceId, until_ns: u64) -> bool {
        let Some(slot) = self.catalog.slot(tail) else { return false };
        self.unkeep(page, ticket);
        let mut own = (0..self.keeps.len()).filter(|&at| self.keeps[at].page == page);
        // A client that never cancels loses the oldest.
        if let (Some(oldest), true) = (own.next(), own.count() + 1 >= HOLD_CELLS) {
            self.keeps.remove(oldest);
        }
        self.keeps.push(Keep { page, ticket, slot, until_ns });
        true
    }

    /// Lets go of what is kept for a question; `true` if there was something.
    pub fn unkeep(&mut self, page: u16, ticket: Ticket) -> bool {
        let before = self.keeps.len();
        self.keeps.retain(|keep| (keep.page, keep.ticket) != (page, ticket));
        self.keeps.len() < before
    }

    /// Sets until when a question's chain is kept.
    pub fn keep_until(&mut self, page: u16, ticket: Ticket, until_ns: u64) {
        for keep in &mut self.keeps {
            if (keep.page, keep.ticket) == (page, ticket) {
                keep.until_ns = until_ns;
            }
        }
    }

    /// Lets go of what was kept for a client.
    pub(super) fn unkeep_all_of(&mut self, page: u16) {
        self.keeps.retain(|keep| keep.page != page);
    }

    /// Lets go of what was kept long enough.
    pub fn lapse(&mut self, now_ns: u64) {
        let before = self.keeps.len();
        self.keeps.retain(|keep| keep.until_ns > now_ns);
        self.counters.lapsed_keeps += (before - self.keeps.len()) as u64;
    }

    /// Chains that are kept.
    pub fn kept(&self) -> usize {
        self.keeps.len()
    }
}
