//! A slot of one's own: reserved, filled, and then committed or given back.
//!
//! Invariants: a fill alone may write its slot; it is committed once or aborted; while it cannot be posted it stays with
//! its owner.

use crate::attachment::Attachment;
use crate::client::Client;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::mapping::Extent;
use crate::outcome::{Committed, Lineage, Refusal, Reserved};
use crate::pending::Pending;
use cascade_core::checksum::Crc32c;
use cascade_core::piece::{PieceId, PieceMeta, seal};
use cascade_core::request::{Request, Ticket, Verdict};
use cascade_core::slot::SlotRef;
use cascade_core::tally::Tally;
use std::io::IoSlice;
use std::sync::Arc;

/// A reserved slot. Dropping it gives the slot back.
#[derive(Debug)]
#[must_use = "dropping it gives the slot back"]
pub struct Fill {
    client: Client,
    attachment: Arc<Attachment>,
    slot: SlotRef,
    extent: Extent,
    is_open: bool,
}

/// A fill that could not be committed.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Uncommitted {
    /// Why.
    #[source]
    pub error: Error,
    /// The fill, to try again; `None` if the commit was posted and only its verdict is missing.
    pub fill: Option<Fill>,
}

impl From<Uncommitted> for Error {
    fn from(uncommitted: Uncommitted) -> Self {
        uncommitted.error
    }
}

impl Client {
    /// Takes a slot for a piece of `len_bytes`: at once if the node handed some out ahead, otherwise when it does.
    ///
    /// # Errors
    /// [`Error::Forked`], [`Error::Deadline`], [`Error::NodeLost`]. That there is no room is no error but a
    /// [`Refusal`].
    #[doc(alias = "PutStart")]
    pub fn reserve(&self, len_bytes: u64, deadline: Deadline) -> Result<Reserved, Error> {
        loop {
            let attachment = Arc::clone(&*self.current()?);
            match self.reserve_in(&attachment, len_bytes, deadline) {
                Err(Error::NodeLost) if self.goes_on_elsewhere(&attachment, deadline) => {}
                reserved => return reserved,
            }
        }
    }

    /// Takes a slot that the node handed out ahead, or `None`: then ask for some with [`Client::reserve_async`]. Never
    /// waits.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn try_reserve(&self, len_bytes: u64) -> Result<Option<Reserved>, Error> {
        let attachment = self.current()?;
        Ok(self.take(&attachment, len_bytes))
    }

    /// Asks the node to hand out slots for pieces of `len_bytes`; on [`Verdict::Granted`], take one with
    /// [`Client::try_reserve`]. The node gives up at `deadline`.
    ///
    /// # Errors
    /// [`Error::Forked`]; [`Error::Deadline`] or [`Error::NodeLost`] if the ring is still full at the deadline.
    pub fn reserve_async(&self, len_bytes: u64, deadline: Deadline) -> Result<Pending, Error> {
        let attachment = Arc::clone(&*self.current()?);
        self.ask_for_slots(&attachment, len_bytes, deadline)
    }

    /// Waits until the node has come to everything that this client posted so far: then every commit is published or
    /// refused.
    ///
    /// # Errors
    /// [`Error::Forked`], [`Error::Deadline`], [`Error::NodeLost`].
    pub fn flush(&self, deadline: Deadline) -> Result<(), Error> {
        let attachment = Arc::clone(&*self.current()?);
        let mut pending = self.ask(&attachment, deadline, |ticket| Request::Flush { ticket })?;
        pending.wait(deadline).map(drop)
    }

    pub(crate) fn reserve_in(
        &self,
        attachment: &Arc<Attachment>,
        len_bytes: u64,
        deadline: Deadline,
    ) -> Result<Reserved, Error> {
        loop {
            if let Some(reserved) = self.take(attachment, len_bytes) {
                return Ok(reserved);
            }
            let epoch = attachment.epoch();
            let mut pending = self.ask_for_slots(attachment, len_bytes, deadline)?;
            let refusal = match pending.wait(deadline) {
                // Other threads may be faster; then ask again, but not for ever.
                Ok(Verdict::Granted) if deadline.has_passed() => {
                    return self.take(attachment, len_bytes).ok_or(Error::Deadline);
                }
                Ok(Verdict::Granted) => continue,
                // The node went with our request; its successor does not know it.
                Err(Error::NodeLost) if attachment.epoch() != epoch && !deadline.has_passed() => continue,
                Ok(Verdict::TooLarge) => Refusal::TooLarge,
                Ok(Verdict::Expired) => Refusal::Expired,
                Ok(_) => Refusal::NoRoom,
                Err(error) => return Err(error),
            };
            return Ok(refused(attachment, refusal));
        }
    }

    /// Whether a call that failed on `attachment` can be tried on the one that took its place. A closed segment is waited
    /// upon: its node stopped, and the next one may be just starting.
    pub(crate) fn goes_on_elsewhere(&self, attachment: &Arc<Attachment>, deadline: Deadline) -> bool {
        if !attachment.segment().is_open() {
            // Nothing is looked for: it ends when another attachment is in force, or at the deadline.
            let _: Result<(), _> = self.wait_for(attachment, deadline, || None);
        }
        self.has_replaced(attachment) && !deadline.has_passed()
    }

    fn ask_for_slots(
        &self,
        attachment: &Arc<Attachment>,
        len_bytes: u64,
        deadline: Deadline,
    ) -> Result<Pending, Error> {
        // So that the node's word, that it gives up, comes before our own patience ends.
        let deadline_ns = deadline.a_little_earlier().as_ns();
        self.ask(attachment, deadline, |ticket| Request::Reserve { len_bytes, deadline_ns, ticket })
    }

    /// A slot that was handed out ahead, or the refusal that no asking would change.
    fn take(&self, attachment: &Arc<Attachment>, len_bytes: u64) -> Option<Reserved> {
        let Some(slot_bytes) = attachment.segment().geometry().slot_bytes(len_bytes) else {
            return Some(refused(attachment, Refusal::TooLarge));
        };
        let lane = attachment.page().lane_for(slot_bytes)?;
        while let Some(slot) = lane.take() {
            if let Some(extent) = attachment.mapping().extent_to_fill(slot, len_bytes) {
                let (client, attachment) = (self.clone(), attachment.clone());
                return Some(Reserved::Fill(Fill { client, attachment, slot, extent, is_open: true }));
            }
            // A grant that does not fit its lane: give it back and try the next.
            attachment.post_surely(Request::Abort { slot });
        }
        None
    }
}

fn refused(attachment: &Attachment, refusal: Refusal) -> Reserved {
    attachment.tally(Tally::Refused, 1);
    Reserved::Refused(refusal)
}

impl Fill {
    /// Bytes to fill.
    pub fn len_bytes(&self) -> usize {
        self.extent.len()
    }

    /// The bytes of the slot, to fill in place. What they are before is unspecified.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn bytes_mut(&mut self) -> Result<&mut [u8], Error> {
        self.client.check_fork()?;
        // SAFETY: the attachment keeps the mapping; the slot is granted to this client, which gave it to this fill alone.
        Ok(unsafe { self.extent.slice_mut() })
    }

    /// Publishes what was filled in as `id`, without waiting for the verdict. Reads the bytes once for their checksum.
    ///
    /// # Errors
    /// [`Error::Deadline`] or [`Error::NodeLost`] if the ring is still full at the deadline, [`Error::Forked`]; the fill
    /// comes back.
    #[doc(alias = "PutEnd")]
    pub fn commit(self, id: &PieceId, lineage: Lineage, deadline: Deadline) -> Result<(), Uncommitted> {
        let checksum = self.checksum(id);
        self.commit_sealed(id, lineage, checksum, deadline)
    }

    /// [`Fill::commit`], and waits for the verdict.
    ///
    /// # Errors
    /// As for [`Fill::commit`]. If only the verdict is missing, the fill does not come back.
    pub fn commit_wait(
        self,
        id: &PieceId,
        lineage: Lineage,
        deadline: Deadline,
    ) -> Result<Committed, Uncommitted> {
        let checksum = self.checksum(id);
        let mut pending = self.commit_asking(id, lineage, checksum, deadline)?;
        let verdict = pending.wait(deadline).map_err(|error| Uncommitted { error, fill: None })?;
        Ok(verdict.into())
    }

    /// [`Fill::commit`], with a verdict to poll.
    ///
    /// # Errors
    /// As for [`Fill::commit`].
    pub fn commit_async(
        self,
        id: &PieceId,
        lineage: Lineage,
        deadline: Deadline,
    ) -> Result<Pending, Uncommitted> {
        let checksum = self.checksum(id);
        self.commit_asking(id, lineage, checksum, deadline)
    }

    /// Gives the slot back. Dropping the fill does the same.
    pub fn abort(self) {}

    /// Copies the piece in; its sealed checksum.
    pub(crate) fn copy_from(&mut self, id: &PieceId, sources: &[IoSlice<'_>]) -> Crc32c {
        // SAFETY: the attachment keeps the mapping; the slot is granted to this client, which gave it to this fill alone.
        unsafe { self.extent.copy_from(sources, seal(id, self.extent.len() as u64)) }
    }

    /// Posts the commit and wakes the node.
    pub(crate) fn commit_sealed(
        self,
        id: &PieceId,
        lineage: Lineage,
        checksum: Crc32c,
        deadline: Deadline,
    ) -> Result<(), Uncommitted> {
        let attachment = self.attachment.clone();
        self.commit_quietly(id, lineage, checksum, deadline)?;
        attachment.wake_node();
        Ok(())
    }

    /// Posts the commit; the caller wakes the node.
    pub(crate) fn commit_quietly(
        mut self,
        id: &PieceId,
        lineage: Lineage,
        checksum: Crc32c,
        deadline: Deadline,
    ) -> Result<(), Uncommitted> {
        let request = self.request(id, lineage, checksum, None);
        let posted = self.before_commit(deadline).and_then(|()| {
            if self.attachment.post_quietly(&request).is_some() {
                return Ok(());
            }
            self.client.wait_for(&self.attachment, deadline, || self.attachment.post(&request)).map(drop)
        });
        self.after_commit(posted)
    }

    pub(crate) fn commit_asking(
        mut self,
        id: &PieceId,
        lineage: Lineage,
        checksum: Crc32c,
        deadline: Deadline,
    ) -> Result<Pending, Uncommitted> {
        let asked = self.before_commit(deadline).and_then(|()| {
            self.client
                .ask(&self.attachment, deadline, |ticket| self.request(id, lineage, checksum, Some(ticket)))
        });
        self.after_commit(asked)
    }

    fn before_commit(&mut self, deadline: Deadline) -> Result<(), Error> {
        self.client.check_fork()?;
        self.client.refresh_link(&self.attachment, deadline);
        // The node of another segment knows nothing of this slot, and nobody ever takes up a closed one.
        let is_orphan = self.client.has_replaced(&self.attachment) || !self.attachment.segment().is_open();
        if is_orphan { Err(Error::NodeLost) } else { Ok(()) }
    }

    fn after_commit<T>(mut self, posted: Result<T, Error>) -> Result<T, Uncommitted> {
        match posted {
            Ok(posted) => {
                self.is_open = false;
                self.attachment.tally(Tally::Puts, 1);
                self.attachment.tally(Tally::BytesIn, self.extent.len() as u64);
                Ok(posted)
            }
            Err(error) => Err(Uncommitted { error, fill: Some(self) }),
        }
    }

    fn checksum(&self, id: &PieceId) -> Crc32c {
        if self.attachment.is_forked() {
            // Nothing to read here; the commit that follows says so.
            return Crc32c::EMPTY;
        }
        // SAFETY: the attachment keeps the mapping; the slot is granted to this client, which gave it to this fill alone.
        unsafe { self.extent.checksum(seal(id, self.extent.len() as u64)) }
    }

    fn request(&self, id: &PieceId, lineage: Lineage, checksum: Crc32c, ticket: Option<Ticket>) -> Request {
        let Lineage { parent, depth } = lineage;
        let meta =
            PieceMeta { id: *id, len_bytes: self.extent.len() as u64, checksum: checksum.value(), depth };
        Request::Commit { slot: self.slot, meta, parent, ticket }
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        if self.is_open && !self.attachment.is_forked() {
            self.attachment.post_surely(Request::Abort { slot: self.slot });
        }
    }
}
