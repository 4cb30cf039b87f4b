//! Writing: puts by verified copy, alone, in fragments and in batches.

use crate::attachment::Attachment;
use crate::client::Client;
use crate::deadline::Deadline;
use crate::error::Error;
use crate::fill::Fill;
use crate::outcome::{Committed, Lineage, Refusal, Reserved, Stored};
use cascade_core::checksum::Crc32c;
use cascade_core::piece::PieceId;
use std::io::IoSlice;
use std::sync::Arc;

/// One piece of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// Its name.
    pub id: PieceId,
    /// Its place in its chain.
    pub lineage: Lineage,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// How far a put came before the commit.
enum Copied {
    /// The bytes lie in the slot, with their sealed checksum.
    Sealed(Fill, Crc32c),
    AlreadyPresent,
    Refused(Refusal),
}

impl Client {
    /// Stores a piece by verified copy. Returns when it is copied and posted: this client reads it from now on, others as
    /// soon as the node has published it. A piece that is there already is not copied; the first one stays.
    ///
    /// Waits only for a slot, if none was handed out ahead, or for room in a full ring.
    ///
    /// # Errors
    /// [`Error::Forked`], [`Error::Deadline`], [`Error::NodeLost`].
    #[doc(alias = "store")]
    #[doc(alias = "save")]
    pub fn put(
        &self,
        id: &PieceId,
        lineage: Lineage,
        bytes: &[u8],
        deadline: Deadline,
    ) -> Result<Stored, Error> {
        self.put_vectored(id, lineage, &[IoSlice::new(bytes)], deadline)
    }

    /// [`Client::put`] of fragments, which become one piece in one pass: an engine's block is a fragment per layer.
    ///
    /// # Errors
    /// As for [`Client::put`].
    pub fn put_vectored(
        &self,
        id: &PieceId,
        lineage: Lineage,
        fragments: &[IoSlice<'_>],
        deadline: Deadline,
    ) -> Result<Stored, Error> {
        let stored = self.put_quietly(id, lineage, fragments, deadline)?;
        if stored == Stored::Posted {
            self.current()?.wake_node();
        }
        Ok(stored)
    }

    /// [`Client::put`], and waits for the node's verdict: [`Committed::Fresh`] is published, for all clients of the node.
    ///
    /// # Errors
    /// As for [`Client::put`].
    pub fn put_wait(
        &self,
        id: &PieceId,
        lineage: Lineage,
        bytes: &[u8],
        deadline: Deadline,
    ) -> Result<Committed, Error> {
        self.put_vectored_wait(id, lineage, &[IoSlice::new(bytes)], deadline)
    }

    /// [`Client::put_vectored`], and waits for the node's verdict.
    ///
    /// # Errors
    /// As for [`Client::put`].
    pub fn put_vectored_wait(
        &self,
        id: &PieceId,
        lineage: Lineage,
        fragments: &[IoSlice<'_>],
        deadline: Deadline,
    ) -> Result<Committed, Error> {
        loop {
            let attachment = Arc::clone(&*self.current()?);
            // Published counts as present here, not what is only on its way: the caller wants the node's word.
            let is_present =
                |attachment: &Attachment| attachment.find_published(id, attachment.hash(id)).is_some();
            let committed = match self.copy_in(&attachment, id, fragments, deadline, is_present) {
                Ok(Copied::AlreadyPresent) => return Ok(Committed::AlreadyPresent),
                Ok(Copied::Refused(refusal)) => return Ok(Committed::Refused(refusal)),
                Ok(Copied::Sealed(fill, checksum)) => fill
                    .commit_asking(id, lineage, checksum, deadline)
                    .map_err(Error::from)
                    .and_then(|mut pending| pending.wait(deadline)),
                Err(error) => Err(error),
            };
            match committed {
                Err(Error::NodeLost) if self.goes_on_elsewhere(&attachment, deadline) => {}
                committed => return committed.map(Committed::from),
            }
        }
    }

    /// [`Client::put`] of each item in order; the node is woken once. Put parents before their children.
    ///
    /// Stops at the first error: what was stored before it stays stored.
    ///
    /// # Errors
    /// As for [`Client::put`].
    pub fn put_batch(&self, items: &[Item<'_>], deadline: Deadline) -> Result<Vec<Stored>, Error> {
        let put =
            |item: &Item<'_>| self.put_quietly(&item.id, item.lineage, &[IoSlice::new(item.bytes)], deadline);
        let stored = items.iter().map(put).collect();
        self.current()?.wake_node();
        stored
    }

    fn put_quietly(
        &self,
        id: &PieceId,
        lineage: Lineage,
        fragments: &[IoSlice<'_>],
        deadline: Deadline,
    ) -> Result<Stored, Error> {
        loop {
            let attachment = Arc::clone(&*self.current()?);
            let posted = match self.copy_in(&attachment, id, fragments, deadline, |a| a.has(id)) {
                Ok(Copied::AlreadyPresent) => return Ok(Stored::AlreadyPresent),
                Ok(Copied::Refused(refusal)) => return Ok(Stored::Refused(refusal)),
                Ok(Copied::Sealed(fill, checksum)) => {
                    fill.commit_quietly(id, lineage, checksum, deadline).map_err(Error::from)
                }
                Err(error) => Err(error),
            };
            match posted {
                Err(Error::NodeLost) if self.goes_on_elsewhere(&attachment, deadline) => {}
                posted => return posted.map(|()| Stored::Posted),
            }
        }
    }

    fn copy_in(
        &self,
        attachment: &Arc<Attachment>,
        id: &PieceId,
        fragments: &[IoSlice<'_>],
        deadline: Deadline,
        is_present: impl FnOnce(&Attachment) -> bool,
    ) -> Result<Copied, Error> {
        if is_present(attachment) {
            return Ok(Copied::AlreadyPresent);
        }
        let len_bytes = fragments.iter().map(|fragment| fragment.len() as u64).sum();
        Ok(match self.reserve_in(attachment, len_bytes, deadline)? {
            Reserved::Refused(refusal) => Copied::Refused(refusal),
            Reserved::Fill(mut fill) => {
                let checksum = fill.copy_from(id, fragments);
                Copied::Sealed(fill, checksum)
            }
        })
    }
}
