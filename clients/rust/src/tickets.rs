//! Completion entries of the page: who waits for which answer.
//!
//! Invariant: an entry is used again only once no answer to its last ticket can come any more, so a late answer never
//! meets a new question. That is so when the ring has passed the last request that can be answered there:
//!
//! - a commit or flush is answered before the ring passes it, by whichever node comes to it;
//! - a reserve or a question about a chain may be made to wait, and answered at any time after the ring has passed it; but a cancel behind it strikes
//!   it from those that wait, and no node comes to what the ring has passed: after the cancel, nobody has it any more,
//!   whether the node that took up the cancel knew of it or not.

use cascade_core::page::{COMPLETIONS, Page};
use cascade_core::request::{Request, Ticket, Verdict};
use cascade_core::ring::Ring;
use cascade_core::sync::{AtomicU64, Ordering};

/// A request that awaits its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) ticket: Ticket,
    /// Where in the ring it was posted.
    pub(crate) position: u64,
    /// The epoch just before it was posted: no earlier node came to it.
    pub(crate) epoch: u64,
    /// Whether the node may answer it later than it comes to it: a reserve, a question about a chain.
    pub(crate) may_wait: bool,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Waiting,
    Given(Verdict),
    /// The node that was asked is gone, and with it probably the answer: the next one may still give it.
    Lost,
}

impl Asked {
    /// Notes what was asked at `position`, the epoch being that just before.
    pub(crate) fn new(request: &Request, ticket: Ticket, position: u64, epoch: u64) -> Self {
        let may_wait = matches!(request, Request::Reserve { .. } | Request::Locate(_) | Request::Promote(_));
        Self { ticket, position, epoch, may_wait }
    }

    /// The position behind which no answer comes any more, if that is known; `None` if it takes a cancel.
    pub(crate) fn last_answerable(&self, page: &Page<'_>, epoch: &AtomicU64) -> Option<u64> {
        if !self.may_wait {
            return Some(self.position);
        }
        let is_answered = page.completion(self.ticket).is_some_and(|entry| entry.poll(self.ticket).is_some());
        let is_passed = page.ring().processed() > self.position;
        // Acquire, and last: a node raises the epoch before it comes to anything, so if it is still the same, one node
        // alone has answered the request and passed it, and no other ever comes to it.
        let is_same = epoch.load(Ordering::Acquire) == self.epoch;
        (is_answered && is_passed && is_same).then_some(self.position)
    }

    /// Looks for the answer; `epoch` is the segment's at present.
    pub(crate) fn look(&self, page: &Page<'_>, epoch: u64) -> Answer {
        let poll = || page.completion(self.ticket).and_then(|entry| entry.poll(self.ticket));
        if let Some(verdict) = poll() {
            return Answer::Given(verdict);
        }
        if epoch == self.epoch || page.ring().processed() <= self.position {
            return Answer::Waiting;
        }
        // The answer is written before the request counts as processed; look again now that it does.
        poll().map_or(Answer::Lost, Answer::Given)
    }
}

/// The free entries, and those that may still be answered though nobody listens.
#[derive(Debug)]
pub(crate) struct Tickets {
    free: Vec<u16>,
    // Each with the position that the ring has to pass.
    resting: Vec<(u16, u64)>,
    sequence: u64,
}

impl Tickets {
    pub(crate) fn new() -> Self {
        Self { free: (0..COMPLETIONS as u16).collect(), resting: Vec::new(), sequence: 0 }
    }

    /// Takes an entry, or `None` if all may still be answered.
    pub(crate) fn take(&mut self, ring: Ring<'_>) -> Option<Ticket> {
        let processed = ring.processed();
        let free = &mut self.free;
        self.resting.retain(|&(index, position)| {
            let is_passed = position < processed;
            if is_passed {
                free.push(index);
            }
            !is_passed
        });
        let index = self.free.pop()?;
        self.sequence += 1;
        Some(Ticket::new(self.sequence, index))
    }

    /// Gives an entry back that was never asked with.
    pub(crate) fn give(&mut self, ticket: Ticket) {
        self.free.push(ticket.index());
    }

    /// Gives an entry back for when the ring has passed `position`: that of [`Asked::last_answerable`].
    pub(crate) fn rest(&mut self, ticket: Ticket, position: u64) {
        self.resting.push((ticket.index(), position));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cascade_core::page::PAGE_WORDS;
    use cascade_core::request::REQUEST_WORDS;
    use cascade_core::sync::zeroed_words;

    fn post(page: &Page<'_>, request: &Request) -> u64 {
        page.ring().push::<REQUEST_WORDS>(&request.encode()).unwrap()
    }

    fn reserve(ticket: Ticket) -> Request {
        Request::Reserve { len_bytes: 1, deadline_ns: 0, ticket }
    }

    #[test]
    fn an_entry_rests_until_the_ring_has_passed_the_last_request_that_may_be_answered_there() {
        let words = zeroed_words(PAGE_WORDS);
        let page = Page::new(&words);
        let mut tickets = Tickets::new();
        let taken: Vec<_> = (0..COMPLETIONS).map(|_| tickets.take(page.ring()).unwrap()).collect();
        let ticket = taken[5];
        post(&page, &reserve(ticket));
        let cancelled_at = post(&page, &Request::Cancel { ticket });
        tickets.rest(ticket, cancelled_at);
        // The node knows nothing of it, and answers neither.
        page.ring().done();
        assert_eq!(tickets.take(page.ring()), None, "another node may have it waiting");
        page.ring().done();
        let again = tickets.take(page.ring()).unwrap();
        assert_eq!(again.index(), ticket.index());
        assert_ne!(again, ticket);
    }

    #[test]
    fn what_is_answered_when_the_ring_passes_it_needs_no_cancel() {
        let words = zeroed_words(PAGE_WORDS);
        let page = Page::new(&words);
        let ticket = Ticket::new(1, 0);
        let position = post(&page, &Request::Flush { ticket });
        let asked = Asked { ticket, position, epoch: 1, may_wait: false };
        for epoch in [1, 2] {
            assert_eq!(asked.last_answerable(&page, &AtomicU64::new(epoch)), Some(position));
        }
    }

    #[test]
    fn a_reserve_is_over_only_when_the_node_that_was_asked_has_answered_and_passed_it() {
        let words = zeroed_words(PAGE_WORDS);
        let page = Page::new(&words);
        let ticket = Ticket::new(1, 0);
        let position = post(&page, &reserve(ticket));
        let asked = Asked { ticket, position, epoch: 1, may_wait: true };
        let epoch = AtomicU64::new(1);
        assert_eq!(asked.last_answerable(&page, &epoch), None, "not come to");
        page.completion(ticket).unwrap().answer(ticket, Verdict::Granted);
        assert_eq!(
            asked.last_answerable(&page, &epoch),
            None,
            "killed now, the next node would come to it again"
        );
        page.ring().done();
        assert_eq!(asked.last_answerable(&page, &epoch), Some(position));
        epoch.store(2, Ordering::Relaxed);
        assert_eq!(
            asked.last_answerable(&page, &epoch),
            None,
            "passed by another node, which may have it waiting"
        );
    }

    #[test]
    fn an_answer_that_died_with_its_node_is_lost_once_the_next_passed_the_request() {
        let words = zeroed_words(PAGE_WORDS);
        let page = Page::new(&words);
        let ticket = Ticket::new(1, 0);
        let position = post(&page, &reserve(ticket));
        let asked = Asked { ticket, position, epoch: 1, may_wait: true };
        assert_eq!(asked.look(&page, 2), Answer::Waiting);
        page.ring().done();
        assert_eq!(asked.look(&page, 1), Answer::Waiting, "the same node may still answer");
        assert_eq!(asked.look(&page, 2), Answer::Lost);
    }
}
