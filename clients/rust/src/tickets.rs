//! Completion entries of the page: who waits for which answer.
//!
//! Invariant: an entry is not used again before its answer came, or before a later node passed the request without
//! giving one (an answer that the node before took along). So an answer that comes late never meets a new question.

use cascade_core::page::{COMPLETIONS, Page};
use cascade_core::request::{Ticket, Verdict};

/// A request that awaits its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) ticket: Ticket,
    /// Where in the ring it was posted.
    pub(crate) position: u64,
    /// The epoch just after it was posted.
    pub(crate) epoch: u64,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Waiting,
    Given(Verdict),
    /// The node that took the request is gone, and with it the answer.
    Lost,
}

impl Asked {
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

/// The free entries and those whose askers stopped waiting.
#[derive(Debug)]
pub(crate) struct Tickets {
    free: Vec<u16>,
    abandoned: Vec<Asked>,
    sequence: u64,
}

impl Tickets {
    pub(crate) fn new() -> Self {
        Self { free: (0..COMPLETIONS as u16).collect(), abandoned: Vec::new(), sequence: 0 }
    }

    /// Takes an entry, or `None` if all await answers.
    pub(crate) fn take(&mut self, page: &Page<'_>, epoch: u64) -> Option<Ticket> {
        let free = &mut self.free;
        self.abandoned.retain(|asked| {
            let waiting = asked.look(page, epoch) == Answer::Waiting;
            if !waiting {
                free.push(asked.ticket.index());
            }
            waiting
        });
        let index = self.free.pop()?;
        self.sequence += 1;
        Some(Ticket::new(self.sequence, index))
    }

    /// Gives an entry back that was answered, or never asked for.
    pub(crate) fn give(&mut self, ticket: Ticket) {
        self.free.push(ticket.index());
    }

    /// Nobody waits any more; the entry is free once its answer came.
    pub(crate) fn abandon(&mut self, asked: Asked) {
        self.abandoned.push(asked);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cascade_core::page::PAGE_WORDS;
    use cascade_core::request::{REQUEST_WORDS, Request};
    use cascade_core::sync::zeroed_words;

    #[test]
    fn an_abandoned_entry_is_not_used_before_its_answer_came() {
        let words = zeroed_words(PAGE_WORDS);
        let page = Page::new(&words);
        let mut tickets = Tickets::new();
        let taken: Vec<_> = (0..COMPLETIONS).map(|_| tickets.take(&page, 1).unwrap()).collect();
        tickets.abandon(Asked { ticket: taken[5], position: 0, epoch: 1 });
        assert_eq!(tickets.take(&page, 1), None);
        page.completion(taken[5]).unwrap().answer(taken[5], Verdict::Fresh);
        let again = tickets.take(&page, 1).unwrap();
        assert_eq!(again.index(), taken[5].index());
        assert_ne!(again, taken[5]);
    }

    #[test]
    fn an_answer_that_died_with_its_node_is_lost_once_the_next_passed_the_request() {
        let words = zeroed_words(PAGE_WORDS);
        let page = Page::new(&words);
        let ticket = Ticket::new(1, 0);
        let position = page.ring().push::<REQUEST_WORDS>(&Request::Flush { ticket }.encode()).unwrap();
        let asked = Asked { ticket, position, epoch: 1 };
        assert_eq!(asked.look(&page, 2), Answer::Waiting);
        page.ring().done();
        assert_eq!(asked.look(&page, 1), Answer::Waiting, "the same node may still answer");
        assert_eq!(asked.look(&page, 2), Answer::Lost);
    }
}
