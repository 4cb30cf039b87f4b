//! Chains: how much of one is there, and claiming that much.

use crate::attachment::Attachment;
use crate::client::Client;
use crate::error::Error;
use crate::outcome::{Lookup, Reason, Share};
use cascade_core::hazard::{self, Reader};
use cascade_core::index::Location;
use cascade_core::key::BlockKey;
use cascade_core::piece::PieceId;
use cascade_core::slot::SlotRef;
use cascade_core::touch::Touch;
use cascade_core::view::prefetch;
use std::sync::Arc;

/// Pieces whose buckets and lines are fetched ahead of the one looked at.
const AHEAD: usize = 32;
/// How often a hold is tried on what is left of a chain that is being evicted under it.
const HOLD_ATTEMPTS: usize = 4;

/// The leading part of a chain that is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Leading {
    blocks: usize,
    /// The deepest block's piece of the first share, if it is published.
    tail: Option<SlotRef>,
}

impl Client {
    /// How many leading blocks of `keys` have all pieces of `shares` at this moment. Nothing is pinned: read with gets,
    /// which may still miss, or take a [`Client::hold`].
    ///
    /// Tells the node, without a call, that this much of the chain is in use. No shares match nothing.
    ///
    /// # Errors
    /// [`Error::Forked`].
    #[doc(alias = "match_blocks")]
    #[doc(alias = "get_num_new_matched_tokens")]
    #[doc(alias = "batch_exists")]
    pub fn match_chain(&self, keys: &[BlockKey], shares: &[Share]) -> Result<usize, Error> {
        let attachment = self.current()?;
        let found = attachment.leading(keys, shares, true);
        if let Some(tail) = found.tail {
            attachment.page().touches().note(Touch { tail, blocks: found.blocks as u32 });
        }
        if found.blocks < keys.len() {
            self.look_around(&attachment);
        }
        Ok(found.blocks)
    }

    /// Claims the longest leading part of `keys` that has all pieces of `shares` published: none of its blocks is evicted
    /// as long as the hold lives, and any process of the instance reads them with plain gets.
    ///
    /// One word of shared memory a share, however long the chain: the node evicts no block before its children, so the
    /// claimed tail keeps its ancestors. That needs the lineage that the blocks were put with
    /// ([`crate::Lineage::in_chain`]). A chain of which nothing is there is [`Reason::Absent`].
    ///
    /// # Errors
    /// [`Error::Forked`].
    #[doc(alias = "prepare_load")]
    #[doc(alias = "lookup-and-lock")]
    pub fn hold(&self, keys: &[BlockKey], shares: &[Share]) -> Result<Lookup<Hold>, Error> {
        let attachment = self.current()?;
        let mut hold = Hold { attachment: Arc::clone(&attachment), cells: Vec::new(), blocks: 0 };
        let mut blocks = attachment.leading(keys, shares, false).blocks;
        for _ in 0..HOLD_ATTEMPTS {
            if blocks == 0 {
                break;
            }
            hold.release();
            let ancestors = &keys[..blocks - 1];
            match hold.claim_tail(&keys[blocks - 1], shares) {
                Claimed::NoCell => return Ok(self.miss(&attachment, Reason::PinBudget)),
                Claimed::Gone => {}
                // Look again now that the tail is claimed: the ancestors that are there now stay.
                Claimed::Tail(tail)
                    if attachment.leading(ancestors, shares, false).blocks == ancestors.len() =>
                {
                    attachment.page().touches().note(Touch { tail, blocks: blocks as u32 });
                    hold.blocks = blocks;
                    return Ok(Lookup::Hit(hold));
                }
                Claimed::Tail(_) => {}
            }
            blocks = attachment.leading(&keys[..blocks], shares, false).blocks;
        }
        Ok(self.miss(&attachment, Reason::Absent))
    }

    /// Tells the node, without a call, that the `blocks` blocks of the chain that ends in `tail` are in use. For readers
    /// that get what another process matched. `false` if the tail is not resident.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn touch(&self, tail: &PieceId, blocks: u32) -> Result<bool, Error> {
        let attachment = self.current()?;
        let found = attachment.find_published(tail, attachment.hash(tail));
        if let Some(tail) = found {
            attachment.page().touches().note(Touch { tail, blocks });
        }
        Ok(found.is_some())
    }
}

impl Attachment {
    /// Walks the pieces block by block, share by share, up to the first that is missing.
    ///
    /// Memory is slow and the walk knows where it goes: of each batch first all buckets are asked for, then all lines,
    /// and only then is any of them looked at.
    fn leading(&self, keys: &[BlockKey], shares: &[Share], written_too: bool) -> Leading {
        let mut found = Leading::default();
        let mut first_of_block = None;
        let pieces = keys.len() * shares.len();
        let piece = |i: usize| {
            let share = shares[i % shares.len()];
            PieceId { key: keys[i / shares.len()], rank: share.rank, group: share.group }
        };
        let index = self.segment().index();
        let mut hashes = [0; AHEAD];
        let mut hints = [None::<Location>; AHEAD];
        for start in (0..pieces).step_by(AHEAD) {
            let count = AHEAD.min(pieces - start);
            for (i, hash) in hashes[..count].iter_mut().enumerate() {
                *hash = self.hash(&piece(start + i));
                index.prefetch(*hash);
            }
            for (hint, hash) in hints[..count].iter_mut().zip(hashes) {
                *hint = index.candidates(hash).next();
                if let Some(line) = hint.and_then(|at| self.segment().line(at.arena, at.slot)) {
                    prefetch(std::slice::from_ref(line.state_word()));
                }
            }
            for i in 0..count {
                let id = piece(start + i);
                let published = hints[i]
                    .and_then(|at| self.ready_at(at, &id))
                    // Another piece with the same tag comes first, or it was published just now.
                    .or_else(|| self.find_published(&id, hashes[i]));
                if published.is_none() && !(written_too && self.has(&id)) {
                    return found;
                }
                let share = (start + i) % shares.len();
                if share == 0 {
                    first_of_block = published;
                }
                if share == shares.len() - 1 {
                    found = Leading { blocks: found.blocks + 1, tail: first_of_block };
                }
            }
        }
        found
    }
}

/// A claim on the leading blocks of a chain. Dropping it lets them go.
#[derive(Debug)]
#[must_use]
pub struct Hold {
    attachment: Arc<Attachment>,
    cells: Vec<usize>,
    blocks: usize,
}

/// What became of the claim on a chain's tail.
enum Claimed {
    /// All its pieces are claimed; this is the slot of the first.
    Tail(SlotRef),
    /// One of them is no longer there.
    Gone,
    /// All cells are in use.
    NoCell,
}

impl Hold {
    /// Blocks that are claimed, from the first of the chain.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    fn claim_tail(&mut self, key: &BlockKey, shares: &[Share]) -> Claimed {
        let attachment = &self.attachment;
        let mut first = None;
        for share in shares {
            let id = PieceId { key: *key, rank: share.rank, group: share.group };
            let Some(slot) = attachment.find_published(&id, attachment.hash(&id)) else {
                return Claimed::Gone;
            };
            let Some(cell) = attachment.holds.take() else { return Claimed::NoCell };
            let line = attachment.segment().line(slot.arena, slot.slot).expect("it was found there");
            let hazard = attachment.page().hold(cell);
            if !hazard::protect(hazard, slot, line.state_word(), Reader::Anyone) {
                attachment.holds.give(cell);
                return Claimed::Gone;
            }
            self.cells.push(cell);
            first = first.or(Some(slot));
        }
        first.map_or(Claimed::Gone, Claimed::Tail)
    }

    fn release(&mut self) {
        for cell in self.cells.drain(..) {
            hazard::release(self.attachment.page().hold(cell));
            self.attachment.holds.give(cell);
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if !self.attachment.is_forked() {
            self.release();
        }
    }
}
