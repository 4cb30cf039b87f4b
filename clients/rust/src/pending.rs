//! A request that awaits the node's answer: to be polled, or waited for.

use crate::attachment::Attachment;
use crate::client::Client;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::tickets::{Answer, Asked};
use cascade_core::piece::PieceId;
use cascade_core::request::{Request, Ticket, Verdict};
use cascade_core::slot::SlotRef;
use std::sync::Arc;

/// A request on its way. Dropping it before its answer came cancels a reserve; a commit goes on without witness.
#[derive(Debug)]
#[must_use = "dropping it cancels what was asked"]
pub struct Pending {
    client: Client,
    attachment: Arc<Attachment>,
    asked: Asked,
    commit: Option<(PieceId, SlotRef)>,
    is_over: bool,
}

impl Client {
    /// Posts a request that is answered; waits for a free completion entry and for room in the ring.
    pub(crate) fn ask(
        &self,
        attachment: &Arc<Attachment>,
        deadline: Deadline,
        request: impl Fn(Ticket) -> Request,
    ) -> Result<Pending, Error> {
        self.refresh_link(attachment, deadline);
        let ticket = self.wait_for(attachment, deadline, || attachment.take_ticket())?;
        let request = request(ticket);
        let post = || {
            let epoch = attachment.epoch();
            attachment.post(&request).map(|position| Asked::new(&request, ticket, position, epoch))
        };
        let asked =
            self.wait_for(attachment, deadline, post).inspect_err(|_| attachment.tickets().give(ticket))?;
        let commit = match request {
            Request::Commit { slot, meta, .. } => Some((meta.id, slot)),
            _ => None,
        };
        Ok(Pending { client: self.clone(), attachment: attachment.clone(), asked, commit, is_over: false })
    }
}

impl Pending {
    /// The answer, if it came. Never waits. Poll it when [`Client::event_fd`] was readable; after an answer or an error
    /// it is over, and polling on answers [`Error::NodeLost`].
    ///
    /// # Errors
    /// [`Error::Forked`]; [`Error::NodeLost`] if the answer died with the node that took the request: what was asked may
    /// or may not have happened.
    pub fn poll(&mut self) -> Result<Option<Verdict>, Error> {
        self.client.check_fork()?;
        if let Some(answer) = self.look() {
            return answer.map(Some);
        }
        self.client.look_around(&self.attachment);
        if self.client.has_replaced(&self.attachment) {
            self.end();
            return Err(Error::NodeLost);
        }
        Ok(None)
    }

    /// Waits for the answer.
    ///
    /// # Errors
    /// As for [`Pending::poll`]; [`Error::Deadline`], and then it can be waited for again.
    pub fn wait(&mut self, deadline: Deadline) -> Result<Verdict, Error> {
        let client = self.client.clone();
        client.check_fork()?;
        let attachment = self.attachment.clone();
        client.wait_for(&attachment, deadline, || self.look())?
    }

    fn look(&mut self) -> Option<Result<Verdict, Error>> {
        if self.is_over {
            return Some(Err(Error::NodeLost));
        }
        let answer = match self.asked.look(&self.attachment.page(), self.attachment.epoch()) {
            Answer::Waiting => return None,
            Answer::Given(verdict) => Ok(verdict),
            Answer::Lost => self.what_became_of_it().ok_or(Error::NodeLost),
        };
        self.end();
        Some(answer)
    }

    /// The answer to a commit is also to be read off the index.
    fn what_became_of_it(&self) -> Option<Verdict> {
        let (id, slot) = self.commit?;
        let found = self.attachment.find_published(&id, self.attachment.hash(&id))?;
        Some(if found == slot { Verdict::Fresh } else { Verdict::AlreadyPresent })
    }

    /// Lets the completion entry go, for when nothing can be answered there any more.
    fn end(&mut self) {
        self.is_over = true;
        self.attachment.retire(&self.asked);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.is_over && !self.attachment.is_forked() {
            self.end();
        }
    }
}
