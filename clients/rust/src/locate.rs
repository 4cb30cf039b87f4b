//! How much of a chain there is over all tiers: asked of the node, which answers at once.

use crate::client::Client;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::inquiry::{Inquiry, Reply};
use crate::questions::About;
use cascade_core::chain::Located;
use cascade_core::key::BlockKey;
use cascade_core::rule::Share;

/// A question how much of a chain is usable. Dropping it gives it up.
#[derive(Debug)]
#[must_use = "dropping it gives the question up"]
pub struct Locating {
    inquiry: Inquiry,
}

impl Client {
    /// How many leading blocks of `keys` can be used, wherever they lie, by the rules of `shares`: with
    /// [`Located::memory_blocks`], those that can be read now, as [`Client::match_chain`] counts them; the others have to be
    /// brought ([`Client::promote`]), from the tiers that [`Located::tiers`] names.
    ///
    /// The node looks at its books and waits for no tier. Nothing is claimed: by the time it is read or promoted, less may be
    /// there. The node counts it as a use of what is in memory. No shares locate nothing.
    ///
    /// At most 65,536 blocks, and 1,048,576 blocks times shares, are looked for.
    ///
    /// # Errors
    /// [`Error::Forked`], [`Error::Deadline`], [`Error::NodeLost`]; [`Error::Refused`] with more than 64 shares.
    #[doc(alias = "match_prefix")]
    #[doc(alias = "batch_contains")]
    pub fn locate(&self, keys: &[BlockKey], shares: &[Share], deadline: Deadline) -> Result<Located, Error> {
        self.start_locate(keys, shares, deadline)?.wait(deadline)
    }

    /// [`Client::locate`] without waiting: the answer is to be polled when [`Client::event_fd`] was readable, or waited for.
    ///
    /// # Errors
    /// [`Error::Forked`]; [`Error::Refused`] with more than 64 shares.
    pub fn start_locate(
        &self,
        keys: &[BlockKey],
        shares: &[Share],
        deadline: Deadline,
    ) -> Result<Locating, Error> {
        Ok(Locating { inquiry: self.inquire(About::Locating, keys, shares, deadline)? })
    }
}

impl Locating {
    /// The answer, if it came. Never waits; a chain of more than 512 blocks is handed over by polling. A question that went
    /// with its node is asked of the next one. After an answer or an error it is over, and polling on answers [`Error::NodeLost`].
    ///
    /// # Errors
    /// [`Error::Forked`]; [`Error::NodeLost`] if the question went with its node, and no other took its place until its
    /// deadline.
    pub fn poll(&mut self) -> Result<Option<Located>, Error> {
        Ok(self.inquiry.poll()?.map(|Reply { located, .. }| located))
    }

    /// Waits for the answer.
    ///
    /// # Errors
    /// As for [`Locating::poll`]; [`Error::Deadline`], and then it can be waited for again.
    pub fn wait(&mut self, deadline: Deadline) -> Result<Located, Error> {
        Ok(self.inquiry.wait(deadline)?.located)
    }
}
