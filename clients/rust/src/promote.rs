//! Bringing a chain into memory, and keeping it there until it is taken over.

use crate::attachment::Attachment;
use crate::chain::Hold;
use crate::client::Client;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::inquiry::{Inquiry, Reply};
use crate::outcome::{Lookup, Reason};
use crate::questions::About;
use cascade_core::key::BlockKey;
use cascade_core::request::{Request, Ticket, Verdict};
use cascade_core::rule::Share;
use cascade_core::tally::Tally;
use std::sync::Arc;

/// A chain that is being brought into memory. Dropping it gives it up; what is under way is brought all the same.
#[derive(Debug)]
#[must_use = "dropping it gives the promotion up"]
pub struct Promoting {
    inquiry: Inquiry,
}

/// The part of a chain that is in memory now. As long as this lives, the node keeps it there: until a little after the
/// deadline, and not if the node is lost. Take a [`Promotion::hold`] for what is to stay for longer.
#[derive(Debug)]
#[must_use = "dropping it lets the chain go"]
pub struct Promotion {
    client: Client,
    attachment: Arc<Attachment>,
    keys: Arc<[BlockKey]>,
    shares: Arc<[Share]>,
    blocks: usize,
    reason: Option<Reason>,
    ticket: Option<Ticket>,
}

impl Client {
    /// Brings into memory what of `keys` can be used by the rules of `shares` and lies in lower tiers, and answers when that is
    /// done or at the deadline, with what is there then.
    ///
    /// The node keeps what it answered as long as the [`Promotion`] lives. What would not come before the deadline is not
    /// brought: then [`Promotion::reason`] tells why. A chain that is in memory already is answered at once.
    ///
    /// # Errors
    /// [`Error::Forked`], [`Error::Deadline`] if the node itself does not answer, [`Error::NodeLost`]; [`Error::Refused`]
    /// with more than 64 shares.
    #[doc(alias = "prefetch")]
    #[doc(alias = "onboard")]
    #[doc(alias = "prepare_load")]
    pub fn promote(
        &self,
        keys: &[BlockKey],
        shares: &[Share],
        deadline: Deadline,
    ) -> Result<Promotion, Error> {
        self.start_promote(keys, shares, deadline)?.wait(deadline)
    }

    /// [`Client::promote`] without waiting: the answer is to be polled when [`Client::event_fd`] was readable, or waited for.
    ///
    /// # Errors
    /// [`Error::Forked`]; [`Error::Refused`] with more than 64 shares.
    pub fn start_promote(
        &self,
        keys: &[BlockKey],
        shares: &[Share],
        deadline: Deadline,
    ) -> Result<Promoting, Error> {
        Ok(Promoting { inquiry: self.inquire(About::Promoting, keys, shares, deadline)? })
    }
}

impl Promoting {
    /// The answer, if it came. Never waits; a chain of more than 512 blocks is handed over by polling. A question that went
    /// with its node is asked of the next one. After an answer or an error it is over, and polling on answers [`Error::NodeLost`].
    ///
    /// # Errors
    /// [`Error::Forked`]; [`Error::NodeLost`] if the question went with its node, and no other took its place until its
    /// deadline.
    pub fn poll(&mut self) -> Result<Option<Promotion>, Error> {
        Ok(self.inquiry.poll()?.map(|reply| Promotion::new(&self.inquiry, reply)))
    }

    /// Waits for the answer.
    ///
    /// # Errors
    /// As for [`Promoting::poll`]; [`Error::Deadline`], and then it can be waited for again.
    pub fn wait(&mut self, deadline: Deadline) -> Result<Promotion, Error> {
        let reply = self.inquiry.wait(deadline)?;
        Ok(Promotion::new(&self.inquiry, reply))
    }
}

impl Promotion {
    fn new(inquiry: &Inquiry, reply: Reply) -> Self {
        let reason = match reply.verdict {
            Verdict::Expired => Some(Reason::Expired),
            Verdict::Declined => Some(Reason::Declined),
            Verdict::Fenced => Some(Reason::Fenced),
            _ => None,
        };
        let client = inquiry.client.clone();
        inquiry.attachment.tally(Tally::Promotions, 1);
        inquiry.attachment.tally(Tally::PromotedBlocks, reply.located.memory_blocks as u64);
        if let Some(reason) = reason {
            inquiry.attachment.tally_miss(reason);
        }
        Self {
            client,
            attachment: inquiry.attachment.clone(),
            keys: inquiry.keys.clone(),
            shares: inquiry.shares.clone(),
            blocks: reply.located.memory_blocks,
            reason,
            ticket: reply.ticket,
        }
    }

    /// Leading blocks that can be used from memory now.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Why not all came that could be used: [`Reason::Expired`], [`Reason::Declined`] or [`Reason::Fenced`]. `None`: all
    /// did.
    pub fn reason(&self) -> Option<Reason> {
        self.reason
    }

    /// Claims what is there ([`Client::hold`]), for as long as it is needed. The promotion may be dropped then.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn hold(&self) -> Result<Lookup<Hold>, Error> {
        self.client.hold(&self.keys[..self.blocks], &self.shares)
    }
}

impl Drop for Promotion {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.filter(|_| !self.attachment.is_forked()) {
            self.attachment.post_surely(Request::Cancel { ticket });
        }
    }
}
