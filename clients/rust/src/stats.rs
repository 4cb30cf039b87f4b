//! What a client counts about itself: relaxed, in stripes, so that counting costs a hit next to nothing.

use crate::cells::stripe;
use crate::outcome::Reason;
use std::sync::atomic::{AtomicU64, Ordering};

const STRIPES: usize = 16;
const COUNTERS: usize = 16;

/// What is counted; the order is that of [`Stats`].
#[derive(Clone, Copy)]
pub(crate) enum Count {
    Hits,
    BytesOut,
    MissesAbsent,
    MissesCorrupt,
    MissesPinBudget,
    MissesTooShort,
    MissesExpired,
    MissesDeclined,
    MissesFenced,
    Promotions,
    PromotedBlocks,
    Puts,
    BytesIn,
    Refused,
    Waits,
    Reattaches,
}

/// Counters of one client since it connected. Each only grows; together they are no snapshot of one moment.
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

#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe([AtomicU64; COUNTERS]);

/// The counters behind [`Stats`].
#[derive(Debug, Default)]
pub(crate) struct Counters([Stripe; STRIPES]);

impl Counters {
    #[inline]
    pub(crate) fn add(&self, count: Count, n: u64) {
        self.0[stripe() % STRIPES].0[count as usize].fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn miss(&self, reason: Reason) {
        let count = match reason {
            Reason::Absent => Count::MissesAbsent,
            Reason::Corrupt => Count::MissesCorrupt,
            Reason::PinBudget => Count::MissesPinBudget,
            Reason::Expired => Count::MissesExpired,
            Reason::Declined => Count::MissesDeclined,
            Reason::Fenced => Count::MissesFenced,
            Reason::TooShort { .. } => Count::MissesTooShort,
        };
        self.add(count, 1);
    }

    pub(crate) fn read(&self) -> Stats {
        let sum = |count: Count| {
            self.0.iter().map(|stripe| stripe.0[count as usize].load(Ordering::Relaxed)).sum::<u64>()
        };
        Stats {
            hits: sum(Count::Hits),
            bytes_out: sum(Count::BytesOut),
            misses_absent: sum(Count::MissesAbsent),
            misses_corrupt: sum(Count::MissesCorrupt),
            misses_pin_budget: sum(Count::MissesPinBudget),
            misses_too_short: sum(Count::MissesTooShort),
            misses_expired: sum(Count::MissesExpired),
            misses_declined: sum(Count::MissesDeclined),
            misses_fenced: sum(Count::MissesFenced),
            promotions: sum(Count::Promotions),
            promoted_blocks: sum(Count::PromotedBlocks),
            puts: sum(Count::Puts),
            bytes_in: sum(Count::BytesIn),
            refused: sum(Count::Refused),
            waits: sum(Count::Waits),
            reattaches: sum(Count::Reattaches),
        }
    }
}

const _: () = assert!(Count::Reattaches as usize + 1 == COUNTERS);
