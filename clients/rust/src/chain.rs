//! Chains: how much of one is there, and claiming that much.

use crate::attachment::Attachment;
use crate::client::Client;
use crate::error::Error;
use crate::outcome::{Lookup, Reason};
use cascade_core::hazard::{self, Reader};
use cascade_core::index::Location;
use cascade_core::key::BlockKey;
use cascade_core::piece::PieceId;
use cascade_core::rule::{Probe, Share, Walk};
use cascade_core::slot::SlotRef;
use cascade_core::touch::Touch;
use cascade_core::view::prefetch;
use std::sync::Arc;

/// Pieces whose buckets and lines are fetched ahead of the one looked at.
const AHEAD: usize = 32;
/// How often a hold is tried on what is left of a chain that is being evicted under it.
const HOLD_ATTEMPTS: usize = 4;

impl Client {
    /// How many leading blocks of `keys` can be used at this moment: the longest part of the chain of which `shares` have
    /// what their rules require ([`crate::Rule`]): every block of it, or the last few. Nothing is pinned: read with gets,
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
        let walk = Walk::new(keys.len(), shares);
        let blocks = attachment.usable(keys, shares, walk, |id| attachment.has(id));
        if blocks > 0 {
            // Every rule requires the last block, so the first share has a piece of it, though perhaps not published yet.
            let tail = shares[0].piece(keys[blocks - 1]);
            if let Some(tail) = attachment.find_published(&tail, attachment.hash(&tail)) {
                attachment.page().touches().note(Touch { tail, blocks: blocks as u32 });
            }
        }
        if blocks < keys.len() {
            self.look_around(&attachment);
        }
        Ok(blocks)
    }

    /// Claims the longest part of `keys` that can be used ([`Client::match_chain`]) and is published: nothing that the rules
    /// require of it is evicted as long as the hold lives, and any process of the instance reads it with plain gets.
    ///
    /// One word of shared memory a share, however long the chain: the node evicts no block before its children, so the
    /// claimed tail keeps its ancestors. That needs the lineage that the blocks were put with
    /// ([`crate::Lineage::in_chain`]). A chain of which nothing can be used is [`Reason::Absent`].
    ///
    /// # Errors
    /// [`Error::Forked`].
    #[doc(alias = "prepare_load")]
    #[doc(alias = "lookup-and-lock")]
    pub fn hold(&self, keys: &[BlockKey], shares: &[Share]) -> Result<Lookup<Hold>, Error> {
        let attachment = self.current()?;
        let mut hold = Hold { attachment: Arc::clone(&attachment), cells: Vec::new(), blocks: 0 };
        let longest_published =
            |keys: &[BlockKey]| attachment.usable(keys, shares, Walk::new(keys.len(), shares), |_| false);
        let is_whole = |keys: &[BlockKey]| {
            let is_tail = |id: &PieceId| keys.last() == Some(&id.key);
            attachment.usable(keys, shares, Walk::backwards(keys.len(), shares), is_tail) == keys.len()
        };
        let mut blocks = longest_published(keys);
        for _ in 0..HOLD_ATTEMPTS {
            if blocks == 0 {
                break;
            }
            hold.release();
            let keys = &keys[..blocks];
            match hold.claim_tail(&keys[blocks - 1], shares) {
                Claimed::NoCell => return Ok(self.miss(&attachment, Reason::PinBudget)),
                Claimed::Gone => {}
                // Look again now that the tail is claimed, from there: what is there while its child is stays.
                Claimed::Tail(tail) if is_whole(keys) => {
                    attachment.page().touches().note(Touch { tail, blocks: blocks as u32 });
                    hold.blocks = blocks;
                    return Ok(Lookup::Hit(hold));
                }
                Claimed::Tail(_) => {}
            }
            blocks = longest_published(keys);
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
    /// Where `walk` ends: how many leading blocks can be used. A piece counts if it is published, or else if `is_known`
    /// says so.
    ///
    /// Memory is slow and the walk knows where it goes: of each batch first all buckets are asked for, then all lines,
    /// and only then is any of them looked at.
    fn usable(
        &self,
        keys: &[BlockKey],
        shares: &[Share],
        mut walk: Walk<&[Share]>,
        is_known: impl Fn(&PieceId) -> bool,
    ) -> usize {
        let piece = |probe: Probe| shares[probe.share].piece(keys[probe.block]);
        let index = self.segment().index();
        let mut probes = [Probe::default(); AHEAD];
        let mut hashes = [0; AHEAD];
        let mut hints = [None::<Location>; AHEAD];
        let mut ahead = AHEAD;
        loop {
            let mut count = 0;
            for probe in walk.by_ref().take(ahead) {
                let hash = self.hash(&piece(probe));
                index.prefetch(hash);
                (probes[count], hashes[count]) = (probe, hash);
                count += 1;
            }
            if count == 0 {
                return walk.length();
            }
            for (hint, &hash) in hints[..count].iter_mut().zip(&hashes) {
                *hint = index.candidates(hash).next();
                if let Some(line) = hint.and_then(|at| self.segment().line(at.arena, at.slot)) {
                    prefetch(std::slice::from_ref(line.state_word()));
                }
            }
            let missing = (0..count).find(|&i| {
                let id = piece(probes[i]);
                let published = hints[i]
                    .and_then(|at| self.ready_at(at, &id))
                    // Another piece with the same tag comes first, or it was published just now.
                    .or_else(|| self.find_published(&id, hashes[i]));
                published.is_none() && !is_known(&id)
            });
            if let Some(i) = missing {
                walk.missing(probes[i]);
            }
            // Behind a gap there may well be another: one look before asking for more.
            ahead = if missing.is_some() { 1 } else { AHEAD };
        }
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
    /// Blocks that can be used, from the first of the chain; what the rules require of them is claimed.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    fn claim_tail(&mut self, key: &BlockKey, shares: &[Share]) -> Claimed {
        let attachment = &self.attachment;
        let mut first = None;
        for share in shares {
            let id = share.piece(*key);
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
