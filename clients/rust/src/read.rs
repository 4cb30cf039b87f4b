//! Reading: verified copies and zero-copy views.

use crate::attachment::Attachment;
use crate::claim::Claim;
use crate::client::Client;
use crate::error::Error;
use crate::outcome::{Lookup, Reason};
use cascade_core::piece::PieceId;
use cascade_core::tally::Tally;
use std::io::IoSliceMut;
use std::sync::Arc;

/// Pieces whose index entries are fetched ahead in a batch.
const AHEAD: usize = 16;

/// A claim that goes when it is dropped.
struct Pinned<'a> {
    attachment: &'a Attachment,
    claim: Claim,
}

impl Drop for Pinned<'_> {
    fn drop(&mut self) {
        self.attachment.release(&self.claim);
    }
}

impl Client {
    /// Copies a piece to the front of `target` and verifies it: a hit with its length is exactly what was put under this
    /// very name. After a miss the bytes of `target` are unspecified.
    ///
    /// Never waits and makes no system call on a hit. A client reads what it wrote at once.
    ///
    /// # Errors
    /// [`Error::Forked`].
    #[doc(alias = "load")]
    #[doc(alias = "retrieve")]
    pub fn get_into(&self, id: &PieceId, target: &mut [u8]) -> Result<Lookup<usize>, Error> {
        self.get_into_vectored(id, &mut [IoSliceMut::new(target)])
    }

    /// [`Client::get_into`] over fragments, filled one after the other in one pass: an engine's block is a fragment per
    /// layer.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn get_into_vectored(
        &self,
        id: &PieceId,
        targets: &mut [IoSliceMut<'_>],
    ) -> Result<Lookup<usize>, Error> {
        let attachment = self.current()?;
        Ok(self.get_in(&attachment, id, targets))
    }

    /// [`Client::get_into`] for each of `pieces`, whose index entries are fetched ahead together.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn get_batch_into(&self, pieces: &mut [(PieceId, &mut [u8])]) -> Result<Vec<Lookup<usize>>, Error> {
        let attachment = self.current()?;
        let mut answers = Vec::with_capacity(pieces.len());
        for batch in pieces.chunks_mut(AHEAD) {
            for (id, _) in batch.iter() {
                attachment.segment().index().prefetch(attachment.hash(id));
            }
            answers.extend(
                batch
                    .iter_mut()
                    .map(|(id, target)| self.get_in(&attachment, id, &mut [IoSliceMut::new(target)])),
            );
        }
        Ok(answers)
    }

    /// Pins a piece where it lies. Its bytes are not verified unless [`View::verify`] is asked.
    ///
    /// The slot is not reused as long as the view lives, whatever becomes of node and client. Views have a budget in
    /// bytes, set by the node; beyond it the answer is [`Reason::PinBudget`], and gets still work.
    ///
    /// # Errors
    /// [`Error::Forked`].
    #[doc(alias = "lookup-and-lock")]
    pub fn pin(&self, id: &PieceId) -> Result<Lookup<View>, Error> {
        let attachment = self.current()?;
        let Some(claim) = attachment.claim(id) else {
            return Ok(self.miss(&attachment, Reason::Absent));
        };
        if !attachment.take_pin_budget(claim.extent.len() as u64) {
            attachment.release(&claim);
            return Ok(self.miss(&attachment, Reason::PinBudget));
        }
        attachment.tally(Tally::Hits, 1);
        Ok(Lookup::Hit(View { attachment: Arc::clone(&attachment), claim }))
    }

    /// Whether a piece can be read now. It may be gone by the time it is.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn contains(&self, id: &PieceId) -> Result<bool, Error> {
        let attachment = self.current()?;
        Ok(attachment.has(id))
    }

    /// Bytes of a piece that can be read now, to make room for it; it may be gone, or another, by the time it is read.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn len_bytes(&self, id: &PieceId) -> Result<Option<usize>, Error> {
        let attachment = self.current()?;
        let pinned = attachment.claim(id).map(|claim| Pinned { attachment: &attachment, claim });
        Ok(pinned.map(|pinned| pinned.claim.extent.len()))
    }

    fn get_in(&self, attachment: &Attachment, id: &PieceId, targets: &mut [IoSliceMut<'_>]) -> Lookup<usize> {
        let Some(claim) = attachment.claim(id) else {
            return self.miss(attachment, Reason::Absent);
        };
        let pinned = Pinned { attachment, claim };
        let len = claim.extent.len();
        if targets.iter().map(|target| target.len()).sum::<usize>() < len {
            return self.miss(attachment, Reason::TooShort { len_bytes: len as u64 });
        }
        // SAFETY: the attachment keeps the mapping and `pinned` the slot until after the copy.
        let checksum = unsafe { claim.extent.copy_to(targets, claim.seal()) };
        drop(pinned);
        if !claim.is_sealed_by(checksum) {
            attachment.post_suspicion(claim.slot);
            return self.miss(attachment, Reason::Corrupt);
        }
        attachment.tally(Tally::Hits, 1);
        attachment.tally(Tally::BytesOut, len as u64);
        Lookup::Hit(len)
    }

    pub(crate) fn miss<T>(&self, attachment: &Attachment, reason: Reason) -> Lookup<T> {
        attachment.tally_miss(reason);
        if reason == Reason::Absent {
            self.look_around(attachment);
        }
        Lookup::Miss(reason)
    }
}

impl Attachment {
    /// Whether a piece is published, or written by this client and on its way.
    pub(crate) fn has(&self, id: &PieceId) -> bool {
        let hash = self.hash(id);
        let has_written = self.has_written();
        let published = || self.find_published(id, hash).is_some();
        // Once more after the outbox: it may have been published since we looked.
        published() || has_written && (self.find_written(id).is_some() || published())
    }
}

/// A pinned piece, where it lies in the node's memory. Dropping it releases the pin.
///
/// The memory is shared with other processes; by the protocol nobody writes a published slot, and
/// [`View::verify`] tells whether somebody did.
#[derive(Debug)]
#[must_use]
pub struct View {
    attachment: Arc<Attachment>,
    claim: Claim,
}

impl View {
    /// Where the bytes lie. Valid as long as the view lives, in this process only, not in a forked child.
    pub fn as_ptr(&self) -> *const u8 {
        self.claim.extent.as_ptr()
    }

    /// Bytes of the piece.
    pub fn len_bytes(&self) -> usize {
        self.claim.extent.len()
    }

    /// The piece.
    pub fn id(&self) -> &PieceId {
        &self.claim.id
    }

    /// Reads all bytes and compares their checksum; if it does not match, the node is told.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn verify(&self) -> Result<bool, Error> {
        if self.attachment.is_forked() {
            return Err(Error::Forked);
        }
        // SAFETY: the attachment keeps the mapping and the claim keeps the slot.
        let checksum = unsafe { self.claim.extent.checksum(self.claim.seal()) };
        let matches = self.claim.is_sealed_by(checksum);
        if !matches {
            self.attachment.post_suspicion(self.claim.slot);
        }
        Ok(matches)
    }

    /// The bytes as a slice.
    ///
    /// # Safety
    /// No process writes to the slot as long as the slice lives: true of every process that keeps to the protocol, which
    /// the compiler cannot know. This process is not a forked child.
    pub unsafe fn as_slice(&self) -> &[u8] {
        // SAFETY: the attachment keeps the mapping and the claim keeps the slot as long as `self`; the rest is the
        // caller's.
        unsafe { self.claim.extent.slice() }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        if !self.attachment.is_forked() {
            self.attachment.release(&self.claim);
            self.attachment.give_pin_budget(self.claim.extent.len() as u64);
        }
    }
}
