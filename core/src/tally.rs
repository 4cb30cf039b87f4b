//! Tallies: what a client counts of its own doing, in its page, so that the node can tell of all clients and asks none.
//!
//! Hits and misses make no call, so only the client knows of them. Invariants: a tally only grows while its page has an owner;
//! threads count in stripes of their own, relaxed, and together the tallies are no snapshot of one moment. They are claims, as
//! everything in a page is: good for people and dashboards, and nothing is decided by them.

use crate::sync::{AtomicU64, Ordering};

/// Kinds of tallies.
pub const TALLIES: usize = 16;

/// What is counted. The order is that in the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tally {
    /// Pieces read or pinned.
    Hits,
    /// Bytes copied out.
    BytesOut,
    /// Misses of pieces that are not there.
    MissesAbsent,
    /// Misses because a checksum did not match.
    MissesCorrupt,
    /// Misses because the budget of pins or holds was spent.
    MissesPinBudget,
    /// Misses because the destination was too short.
    MissesTooShort,
    /// Misses of what did not come from a lower tier in time.
    MissesExpired,
    /// Misses of what was not tried to be brought, since it would have come too late.
    MissesDeclined,
    /// Misses of what lies in a lower tier that is given up for now.
    MissesFenced,
    /// Chains that the node was asked to bring into memory, and answered.
    Promotions,
    /// Blocks of those chains that were in memory then.
    PromotedBlocks,
    /// Pieces committed.
    Puts,
    /// Bytes of the pieces committed.
    BytesIn,
    /// Pieces that the node did not take.
    Refused,
    /// Calls that had to wait for the node.
    Waits,
    /// Times that the client attached to a node after its first.
    Reattaches,
}

impl Tally {
    /// All, in order.
    pub const ALL: [Tally; TALLIES] = [
        Tally::Hits,
        Tally::BytesOut,
        Tally::MissesAbsent,
        Tally::MissesCorrupt,
        Tally::MissesPinBudget,
        Tally::MissesTooShort,
        Tally::MissesExpired,
        Tally::MissesDeclined,
        Tally::MissesFenced,
        Tally::Promotions,
        Tally::PromotedBlocks,
        Tally::Puts,
        Tally::BytesIn,
        Tally::Refused,
        Tally::Waits,
        Tally::Reattaches,
    ];

    /// What it is called in status and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Tally::Hits => "hits",
            Tally::BytesOut => "bytes_out",
            Tally::MissesAbsent => "misses_absent",
            Tally::MissesCorrupt => "misses_corrupt",
            Tally::MissesPinBudget => "misses_pin_budget",
            Tally::MissesTooShort => "misses_too_short",
            Tally::MissesExpired => "misses_expired",
            Tally::MissesDeclined => "misses_declined",
            Tally::MissesFenced => "misses_fenced",
            Tally::Promotions => "promotions",
            Tally::PromotedBlocks => "promoted_blocks",
            Tally::Puts => "puts",
            Tally::BytesIn => "bytes_in",
            Tally::Refused => "refused",
            Tally::Waits => "waits",
            Tally::Reattaches => "reattaches",
        }
    }
}

/// The tallies of one page.
#[derive(Clone, Copy, Debug)]
pub struct Tallies<'m> {
    words: &'m [AtomicU64],
}

impl<'m> Tallies<'m> {
    /// Views the words of the stripes, one after the other.
    ///
    /// # Panics
    /// If there are not whole stripes.
    pub fn new(words: &'m [AtomicU64]) -> Self {
        assert!(words.len().is_multiple_of(TALLIES));
        Self { words }
    }

    /// Counts `n`. Threads that name different stripes do not write to the same cache lines, as far as there are stripes.
    ///
    /// # Panics
    /// If there are no stripes.
    #[inline]
    pub fn add(&self, stripe: usize, tally: Tally, n: u64) {
        let stripe = stripe % (self.words.len() / TALLIES);
        // Relaxed: nothing is ordered by a tally.
        self.words[stripe * TALLIES + tally as usize].fetch_add(n, Ordering::Relaxed);
    }

    /// The sums over all stripes.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for (at, word) in self.words.iter().enumerate() {
            let total = &mut totals.0[at % TALLIES];
            *total = total.wrapping_add(word.load(Ordering::Relaxed));
        }
        totals
    }
}

/// What came together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals([u64; TALLIES]);

impl Totals {
    /// One of them.
    pub const fn get(&self, tally: Tally) -> u64 {
        self.0[tally as usize]
    }

    /// These, and others.
    #[must_use]
    pub fn and(mut self, others: &Totals) -> Self {
        for (total, other) in self.0.iter_mut().zip(others.0) {
            *total = total.wrapping_add(other);
        }
        self
    }

    /// All, with their names.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Tally::ALL.into_iter().map(|tally| (tally.name(), self.get(tally)))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::zeroed_words;

    #[test]
    fn stripes_are_summed_and_every_kind_has_its_own_word() {
        let words = zeroed_words(3 * TALLIES);
        let tallies = Tallies::new(&words);
        for (at, tally) in Tally::ALL.into_iter().enumerate() {
            assert_eq!(tally as usize, at);
            (0..5).for_each(|stripe| tallies.add(stripe, tally, at as u64 + 1));
        }
        let totals = tallies.totals();
        for (at, (_, total)) in totals.iter().enumerate() {
            assert_eq!(total, 5 * (at as u64 + 1));
        }
        assert_eq!(totals.and(&totals).get(Tally::Reattaches), 2 * 5 * 16);
    }

    #[test]
    fn a_page_that_claims_nonsense_overflows_nothing() {
        let words = zeroed_words(2 * TALLIES);
        words[0].store(u64::MAX, Ordering::Relaxed);
        let totals = Tallies::new(&words).totals();
        assert_eq!(totals.and(&totals).get(Tally::Hits), u64::MAX - 1);
    }
}
