//! A question about a chain that awaits its answer: what locating and promoting have in common.
//!
//! Invariants: beginning one, looking for its answer and dropping it never wait; a question changes nothing, so one whose answer
//! may have died with its node is asked anew of the next one, until its deadline, and never taken for a miss.

use crate::attachment::Attachment;
use crate::client::Client;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::questions::{About, Put};
use crate::tickets::Answer;
use cascade_core::chain::{CHAIN_BLOCKS_MAX, CHAIN_PIECES_MAX, Located};
use cascade_core::key::BlockKey;
use cascade_core::page::CHAIN_SHARES;
use cascade_core::request::{Ticket, Verdict};
use cascade_core::rule::Share;
use std::sync::Arc;

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Inquiry {
    pub(crate) client: Client,
    pub(crate) attachment: Arc<Attachment>,
    pub(crate) keys: Arc<[BlockKey]>,
    pub(crate) shares: Arc<[Share]>,
    about: About,
    deadline: Deadline,
    state: State,
}

#[derive(Debug)]
enum State {
    /// There is nothing to ask: nothing is usable.
    Idle,
    /// In line, by its number.
    Waiting(u64),
    /// The node has it.
    Put(Put),
    /// It was answered, or is lost.
    Over,
}

/// What came back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reply {
    pub(crate) verdict: Verdict,
    pub(crate) located: Located,
    /// By what the node knows the question; `None` if it was not asked.
    pub(crate) ticket: Option<Ticket>,
}

impl Client {
    /// Begins to ask about as much of a chain as one question may be about.
    pub(crate) fn inquire(
        &self,
        about: About,
        keys: &[BlockKey],
        shares: &[Share],
        deadline: Deadline,
    ) -> Result<Inquiry, Error> {
        let attachment = Arc::clone(&*self.current()?);
        if shares.len() > CHAIN_SHARES {
            let asked = shares.len();
            return Err(Error::Refused(format!(
                "{asked} shares; at most {CHAIN_SHARES} go into one question"
            )));
        }
        let blocks_max = CHAIN_BLOCKS_MAX.min(CHAIN_PIECES_MAX / shares.len().max(1));
        let keys: Arc<[BlockKey]> = keys[..keys.len().min(blocks_max)].into();
        let shares: Arc<[Share]> = shares.into();
        let mut inquiry =
            Inquiry { client: self.clone(), attachment, keys, shares, about, deadline, state: State::Idle };
        if !inquiry.keys.is_empty() && !inquiry.shares.is_empty() {
            inquiry.put_in_line();
        }
        Ok(inquiry)
    }
}

impl Inquiry {
    fn put_in_line(&mut self) {
        // So that the node's word comes before our own patience ends.
        let deadline = self.deadline.a_little_earlier();
        let mut questions = self.attachment.questions();
        let (keys, shares) = (self.keys.clone(), self.shares.clone());
        let number = questions.ask(self.about, keys, shares, deadline.as_ns());
        questions.advance(&self.attachment);
        drop(questions);
        self.state = State::Waiting(number);
    }

    /// The answer, if it came.
    pub(crate) fn poll(&mut self) -> Result<Option<Reply>, Error> {
        self.client.check_fork()?;
        if let Some(answer) = self.look() {
            return answer.map(Some);
        }
        self.client.look_around(&self.attachment);
        if self.client.has_replaced(&self.attachment) && !self.ask_anew() {
            return Err(Error::NodeLost);
        }
        Ok(None)
    }

    /// Waits for the answer.
    pub(crate) fn wait(&mut self, deadline: Deadline) -> Result<Reply, Error> {
        let client = self.client.clone();
        loop {
            client.check_fork()?;
            let attachment = self.attachment.clone();
            client.refresh_link(&attachment, deadline);
            match client.wait_for(&attachment, deadline, || self.look()) {
                Ok(answer) => return answer,
                Err(Error::NodeLost) if client.goes_on_elsewhere(&attachment, deadline) => {
                    // Perhaps by `look` already.
                    if Arc::ptr_eq(&self.attachment, &attachment) && !self.ask_anew() {
                        return Err(Error::NodeLost);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn look(&mut self) -> Option<Result<Reply, Error>> {
        if let State::Waiting(number) = self.state {
            let mut questions = self.attachment.questions();
            questions.advance(&self.attachment);
            let put = questions.take(number)?;
            drop(questions);
            self.state = State::Put(put);
        }
        let put = match self.state {
            State::Idle => {
                self.state = State::Over;
                let verdict =
                    if self.about == About::Locating { Verdict::Located } else { Verdict::Promoted };
                return Some(Ok(Reply { verdict, located: Located::default(), ticket: None }));
            }
            State::Put(put) => put,
            State::Waiting(_) | State::Over => return Some(Err(Error::NodeLost)),
        };
        let (page, epoch) = (self.attachment.page(), self.attachment.epoch());
        let verdict = match put.asked.look(&page, epoch) {
            Answer::Waiting => return None,
            Answer::Lost => return self.again(),
            Answer::Given(verdict) => verdict,
        };
        let ticket = put.asked.ticket;
        let mut located = page.completion(ticket).expect("it was polled there").located();
        located.blocks = located.blocks.min(self.keys.len());
        located.memory_blocks = located.memory_blocks.min(located.blocks);
        if located.blocks == 0 && self.attachment.epoch() != put.epoch {
            // A node that did not get all of the keys answers that nothing is usable.
            return self.again();
        }
        self.end();
        Some(Ok(Reply { verdict, located, ticket: Some(ticket) }))
    }

    /// The answer is lost: asks once more, unless it is too late for that.
    fn again(&mut self) -> Option<Result<Reply, Error>> {
        if self.ask_anew() { None } else { Some(Err(Error::NodeLost)) }
    }

    /// Asks what went with its node of the one in force; `false` if it is too late for that.
    fn ask_anew(&mut self) -> bool {
        self.end();
        if self.deadline.has_passed() {
            return false;
        }
        let Ok(attachment) = self.client.current().map(|current| Arc::clone(&current)) else { return false };
        self.attachment = attachment;
        self.put_in_line();
        true
    }

    /// Lets go of the place in line, or of the completion entry.
    fn end(&mut self) {
        let put = match std::mem::replace(&mut self.state, State::Over) {
            State::Waiting(number) => self.attachment.questions().withdraw(number),
            State::Put(put) => Some(put),
            State::Idle | State::Over => None,
        };
        if let Some(put) = put {
            self.attachment.retire(&put.asked);
        }
    }
}

impl Drop for Inquiry {
    fn drop(&mut self) {
        if !self.attachment.is_forked() {
            self.end();
        }
    }
}
