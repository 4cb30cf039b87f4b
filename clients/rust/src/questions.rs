//! Questions about chains on their way to the node: keys go through one area of the page, a batch at a time.
//!
//! Invariants: questions are handed over one after the other, in the order in which they were asked; the area is written only
//! when the ring has passed the last request that spoke of it; whoever looks for an answer of its own moves all of them on, so
//! one that nobody looks after holds nobody up. Nothing here waits.

use crate::attachment::Attachment;
use crate::tickets::Asked;
use cascade_core::key::BlockKey;
use cascade_core::page::CHAIN_KEYS;
use cascade_core::request::{Question, Request, Ticket};
use cascade_core::rule::Share;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// What is asked about a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    /// How much of it is usable.
    Locating,
    /// That it be brought into memory.
    Promoting,
}

/// A question that the node does not have yet, or only a part of it.
#[derive(Debug)]
struct Waiting {
    number: u64,
    about: About,
    keys: Arc<[BlockKey]>,
    shares: Arc<[Share]>,
    deadline_ns: u64,
    /// Keys that were handed over.
    handed: usize,
    /// The epoch just before the first of them was.
    epoch: u64,
}

/// A question that the node has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Put {
    pub(crate) asked: Asked,
    /// The epoch before its first key: under another one, keys may be lost.
    pub(crate) epoch: u64,
}

/// See the module's description.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    waiting: VecDeque<Waiting>,
    put: HashMap<u64, Put>,
    /// The position behind the last request that speaks of the area.
    busy_until: u64,
    asked: u64,
}

impl Questions {
    /// Puts a question in line; its number.
    pub(crate) fn ask(
        &mut self,
        about: About,
        keys: Arc<[BlockKey]>,
        shares: Arc<[Share]>,
        deadline_ns: u64,
    ) -> u64 {
        self.asked += 1;
        let number = self.asked;
        self.waiting.push_back(Waiting { number, about, keys, shares, deadline_ns, handed: 0, epoch: 0 });
        number
    }

    /// The question once the node has it; asked for once.
    pub(crate) fn take(&mut self, number: u64) -> Option<Put> {
        self.put.remove(&number)
    }

    /// Nobody asks this any more. What was handed over of it the next question makes void. `Some` if the node has it.
    pub(crate) fn withdraw(&mut self, number: u64) -> Option<Put> {
        self.waiting.retain(|waiting| waiting.number != number);
        self.take(number)
    }

    /// Hands over what can be handed over now.
    pub(crate) fn advance(&mut self, attachment: &Attachment) {
        let mut posted = false;
        while let Some(position) = self.step(attachment) {
            self.busy_until = position + 1;
            posted = true;
        }
        if posted {
            attachment.wake_node();
        }
    }

    /// Posts the next request of the first question, if that is possible now; its position.
    fn step(&mut self, attachment: &Attachment) -> Option<u64> {
        let first = self.waiting.front_mut()?;
        let page = attachment.page();
        let (area, left) = (page.chain(), &first.keys[first.handed..]);
        if !left.is_empty() {
            if page.ring().processed() < self.busy_until {
                return None;
            }
            if first.handed == 0 {
                first.epoch = attachment.epoch();
            }
            let batch = &left[..left.len().min(CHAIN_KEYS)];
            area.lay_keys(batch);
            if batch.len() == left.len() {
                area.lay_shares(&first.shares);
            }
            let request = Request::Keys { first: first.handed as u32, count: batch.len() as u32 };
            let position = attachment.post_quietly(&request)?;
            first.handed += batch.len();
            return Some(position);
        }
        let ticket = attachment.take_ticket()?;
        let request = first.request(ticket);
        let epoch = attachment.epoch();
        let Some(position) = attachment.post_quietly(&request) else {
            attachment.tickets().give(ticket);
            return None;
        };
        let put = Put { asked: Asked::new(&request, ticket, position, epoch), epoch: first.epoch };
        self.put.insert(first.number, put);
        self.waiting.pop_front();
        Some(position)
    }
}

impl Waiting {
    fn request(&self, ticket: Ticket) -> Request {
        let question = Question {
            blocks: self.keys.len() as u32,
            shares: self.shares.len() as u32,
            deadline_ns: self.deadline_ns,
            ticket,
        };
        match self.about {
            About::Locating => Request::Locate(question),
            About::Promoting => Request::Promote(question),
        }
    }
}
