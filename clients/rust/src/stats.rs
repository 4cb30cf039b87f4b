//! What a client counts about itself: in its page, where the node sees it too, and here what pages held that were given up.

use crate::attachment::Attachment;
use crate::cells::stripe;
use crate::outcome::Reason;
use cascade_core::tally::{Tally, Totals};

/// Counters of one client since it connected. Each only grows; together they are no snapshot of one moment. What a call counts
/// that is under way while the client attaches to another segment may be lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Pieces read or pinned.
    pub hits: u64,
    /// Bytes copied out.
    pub bytes_out: u64,
    /// Misses of pieces that are not resident.
    pub misses_absent: u64,
    /// Misses because a checksum did not match.
    pub misses_corrupt: u64,
    /// Misses because the budget of pins or holds was spent.
    pub misses_pin_budget: u64,
    /// Misses because the destination was too short.
    pub misses_too_short: u64,
    /// Misses of what did not come from a lower tier in time.
    pub misses_expired: u64,
    /// Misses of what was not tried to be brought, since it would have come too late.
    pub misses_declined: u64,
    /// Misses of what lies in a lower tier that is given up for now.
    pub misses_fenced: u64,
    /// Chains that the node was asked to bring into memory, and answered.
    pub promotions: u64,
    /// Blocks of those chains that were in memory then.
    pub promoted_blocks: u64,
    /// Pieces committed.
    pub puts: u64,
    /// Bytes of the pieces committed.
    pub bytes_in: u64,
    /// Pieces that the node did not take.
    pub refused: u64,
    /// Calls that had to wait for the node.
    pub waits: u64,
    /// Times that the client attached to a node after its first.
    pub reattaches: u64,
}

impl From<Totals> for Stats {
    fn from(totals: Totals) -> Self {
        Self {
            hits: totals.get(Tally::Hits),
            bytes_out: totals.get(Tally::BytesOut),
            misses_absent: totals.get(Tally::MissesAbsent),
            misses_corrupt: totals.get(Tally::MissesCorrupt),
            misses_pin_budget: totals.get(Tally::MissesPinBudget),
            misses_too_short: totals.get(Tally::MissesTooShort),
            misses_expired: totals.get(Tally::MissesExpired),
            misses_declined: totals.get(Tally::MissesDeclined),
            misses_fenced: totals.get(Tally::MissesFenced),
            promotions: totals.get(Tally::Promotions),
            promoted_blocks: totals.get(Tally::PromotedBlocks),
            puts: totals.get(Tally::Puts),
            bytes_in: totals.get(Tally::BytesIn),
            refused: totals.get(Tally::Refused),
            waits: totals.get(Tally::Waits),
            reattaches: totals.get(Tally::Reattaches),
        }
    }
}

impl Attachment {
    /// Counts. Not in a forked child: the page is not mapped there.
    #[inline]
    pub(crate) fn tally(&self, tally: Tally, n: u64) {
        self.page().tallies().add(stripe(), tally, n);
    }

    /// Counts a miss.
    pub(crate) fn tally_miss(&self, reason: Reason) {
        let tally = match reason {
            Reason::Absent => Tally::MissesAbsent,
            Reason::Corrupt => Tally::MissesCorrupt,
            Reason::PinBudget => Tally::MissesPinBudget,
            Reason::Expired => Tally::MissesExpired,
            Reason::Declined => Tally::MissesDeclined,
            Reason::Fenced => Tally::MissesFenced,
            Reason::TooShort { .. } => Tally::MissesTooShort,
        };
        self.tally(tally, 1);
    }
}
