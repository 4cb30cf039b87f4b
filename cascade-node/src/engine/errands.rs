//! Chains that are being brought for clients: from the question to the answer.
//!
//! What a survey found to be needed becomes a wish of the flow; when that is over, or its deadline is, the part that is in memory
//! is counted again, kept, and answered. Invariants: a question is answered once, unless it is cancelled or its client goes; as
//! much as has come is kept from eviction while the rest comes; what would come too late is not asked for.

use std::collections::HashMap;

use cascade_core::chain::Located;
use cascade_core::flow::NowNs;
use cascade_core::governor::Urgency;
use cascade_core::piece::PieceId;
use cascade_core::request::{Ticket, Verdict};
use cascade_core::rule::Rule;

use super::below::Direction;
use super::locate::Asked;
use super::lower::Lower;
use super::now_ns;
use super::promote::{Answered, Granted, Wish};
use super::pump::Engine;
use super::store::Store;

/// A chain on its way.
#[derive(Debug)]
struct Errand {
    asked: Asked,
    /// Not all of it was asked for, as some would come too late.
    is_cut: bool,
    /// What was reached when it was looked at last.
    reached: Option<PieceId>,
}

/// All chains on their way, by the number of the wish.
#[derive(Debug, Default)]
pub(super) struct Errands {
    by_wish: HashMap<u64, Errand>,
}

impl Errands {
    /// Takes out those that are so; their wishes.
    fn remove(&mut self, mut is_it: impl FnMut(&Asked) -> bool) -> Vec<u64> {
        let gone: Vec<u64> =
            self.by_wish.iter().filter(|(_, errand)| is_it(&errand.asked)).map(|(&wish, _)| wish).collect();
        gone.iter().for_each(|wish| drop(self.by_wish.remove(wish)));
        gone
    }
}

impl Engine {
    /// Has brought what has to be brought of a chain, as far as it comes in time.
    pub(super) fn promote(&mut self, mut asked: Asked) {
        let Located { blocks, memory_blocks, .. } = asked.survey.located;
        if blocks == memory_blocks {
            return self.promoted(&asked, Verdict::Promoted, memory_blocks);
        }
        let now = now_ns();
        let Some(lower) = self.lower.as_mut().filter(|lower| !lower.below.is_given_up(now, Direction::Read))
        else {
            self.store.counters.fenced_chains += 1;
            return self.promoted(&asked, Verdict::Fenced, memory_blocks);
        };
        // The survey lists the last block first.
        asked.survey.needed.reverse();
        let pieces: Vec<PieceId> =
            asked.survey.needed.iter().map(|&probe| asked.survey.piece(probe)).collect();
        let deadline_ns = asked.question.deadline_ns;
        let in_time = in_time(&self.store, lower, &pieces, now, deadline_ns);
        // Of a window one block is of no use without the others.
        let can_be_cut = asked.survey.shares().iter().all(|share| share.rule == Rule::Prefix);
        let is_cut = in_time < pieces.len();
        if is_cut && (in_time == 0 || !can_be_cut) {
            self.store.counters.declined_chains += 1;
            return self.promoted(&asked, Verdict::Declined, memory_blocks);
        }
        let wish = Wish {
            pieces: pieces[..in_time].to_vec(),
            deadline_ns,
            urgency: Urgency::Waited,
            near: self.store.near_to(asked.page),
        };
        let wish = lower.wish(wish);
        self.errands.by_wish.insert(wish, Errand { asked, is_cut, reached: None });
    }

    /// Takes up which wishes are over, and keeps what has come of the others.
    pub(super) fn run_errands(&mut self, answered: &[Answered]) {
        for over in answered {
            let Some(Errand { asked, is_cut, .. }) = self.errands.by_wish.remove(&over.wish) else {
                continue;
            };
            let verdict = match over.granted {
                Granted::Fenced => Verdict::Fenced,
                Granted::Late => Verdict::Expired,
                Granted::All | Granted::Part if is_cut => Verdict::Declined,
                Granted::All | Granted::Part => Verdict::Promoted,
            };
            let counters = &mut self.store.counters;
            match verdict {
                Verdict::Fenced => counters.fenced_chains += 1,
                Verdict::Expired => counters.expired_chains += 1,
                Verdict::Declined => counters.declined_chains += 1,
                _ => {}
            }
            self.chains.close(asked, verdict);
        }
        let Some(lower) = &self.lower else { return };
        for (&wish, errand) in &mut self.errands.by_wish {
            let reached = lower.promotions.reached(wish);
            if reached != errand.reached
                && let Some(piece) = reached
            {
                let Asked { page, question, .. } = &errand.asked;
                self.store.keep(*page, question.ticket, &piece, u64::MAX);
                errand.reached = reached;
            }
        }
    }

    /// Nobody waits for this answer any more; `true` if it was still open.
    pub(super) fn cancel_errand(&mut self, page: u16, ticket: Ticket) -> bool {
        self.drop_errands(|asked| (asked.page, asked.question.ticket) == (page, ticket))
    }

    /// The completion entry of this ticket has another use from now on: a client waits for one answer in each.
    pub(super) fn supersede_errand(&mut self, page: u16, ticket: Ticket) {
        self.drop_errands(|asked| asked.page == page && asked.question.ticket.index() == ticket.index());
    }

    /// The client is gone.
    pub(super) fn forget_errands(&mut self, page: u16) {
        self.drop_errands(|asked| asked.page == page);
    }

    fn drop_errands(&mut self, is_it: impl FnMut(&Asked) -> bool) -> bool {
        let gone = self.errands.remove(is_it);
        if let Some(lower) = &mut self.lower {
            gone.iter().for_each(|&wish| lower.promotions.forget(wish));
        }
        !gone.is_empty()
    }
}

/// How many of these pieces will be there before the deadline, as far as can be told.
fn in_time(store: &Store, lower: &Lower, pieces: &[PieceId], now: NowNs, deadline_ns: NowNs) -> usize {
    let left_ns = deadline_ns.saturating_sub(now);
    let mut bytes = lower.below.read_pace().bytes_within(now, left_ns);
    if left_ns == 0 {
        return 0;
    }
    let comes = pieces.iter().take_while(|id| {
        let len_bytes = store.catalog.residency(id).stored().map_or(0, |at| store.stored.get(at).len_bytes);
        let is_within = len_bytes <= bytes;
        bytes = bytes.saturating_sub(len_bytes);
        is_within
    });
    comes.count()
}
