//! The way of a hit: index, hazard, line. No system call, no lock, no waiting.
//!
//! Invariants: a claim names a slot whose line said, after the hazard was seen to hold, that it has this very piece; it
//! is released by the same attachment. Pinned by `clients/rust/tests/read.rs`.

use crate::attachment::Attachment;
use crate::mapping::Extent;
use cascade_core::checksum::Crc32c;
use cascade_core::hazard::{self, Reader};
use cascade_core::index::Location;
use cascade_core::piece::{PieceId, seal};
use cascade_core::slot::{Line, SlotRef, Snapshot, State};

/// Looks at a slot that the node considers as a victim: most come back, if they are claimed, within microseconds. After
/// that it is a miss, so a node that stopped half way delays nobody.
const LOOKS_AT_A_VICTIM: usize = 100;

/// A pinned slot that holds `id`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    pub(crate) id: PieceId,
    pub(crate) slot: SlotRef,
    pub(crate) extent: Extent,
    checksum: u32,
    cell: usize,
}

impl Claim {
    /// The checksum before the first byte.
    pub(crate) fn seal(&self) -> Crc32c {
        seal(&self.id, self.extent.len() as u64)
    }

    /// Whether this is the checksum of what was put.
    pub(crate) fn is_sealed_by(&self, checksum: Crc32c) -> bool {
        checksum.value() == self.checksum
    }
}

impl Attachment {
    /// The hash by which the index knows a piece.
    #[inline]
    pub(crate) fn hash(&self, id: &PieceId) -> u64 {
        id.hash(self.segment().geometry().seed)
    }

    /// Pins the slot that holds `id`: a published one, or the one that this client wrote and the node has not come to.
    #[inline]
    pub(crate) fn claim(&self, id: &PieceId) -> Option<Claim> {
        let hash = self.hash(id);
        // Before the index: a write that is no longer in the outbox is in the index.
        let has_written = self.has_written();
        let cell = self.take_cell();
        let found = self.claim_published(id, hash, cell);
        let found = match found {
            None if has_written => self
                .claim_written(id, cell)
                // Published since we looked.
                .or_else(|| self.claim_published(id, hash, cell)),
            found => found,
        };
        if found.is_none() {
            self.pins.give(cell);
        }
        found
    }

    /// Gives a claim back.
    #[inline]
    pub(crate) fn release(&self, claim: &Claim) {
        hazard::release(self.page().hazard(claim.cell));
        self.pins.give(claim.cell);
    }

    /// The published slot that holds `id` at this moment; not pinned.
    #[inline]
    pub(crate) fn find_published(&self, id: &PieceId, hash: u64) -> Option<SlotRef> {
        self.segment().index().candidates(hash).find_map(|at| self.ready_at(at, id))
    }

    /// Whether the slot holds `id` at this moment; not pinned.
    #[inline]
    pub(crate) fn ready_at(&self, at: Location, id: &PieceId) -> Option<SlotRef> {
        let line = self.segment().line(at.arena, at.slot)?;
        settled(&line)?;
        let generation = line.ready_with(id)?;
        Some(SlotRef { arena: at.arena, slot: at.slot, generation })
    }

    #[inline]
    fn claim_published(&self, id: &PieceId, hash: u64, cell: usize) -> Option<Claim> {
        let segment = self.segment();
        let hazard = self.page().hazard(cell);
        segment.index().prefetch(hash);
        segment.index().candidates(hash).find_map(|at| {
            let line = segment.line(at.arena, at.slot)?;
            // The line and the bytes are two misses; asked for together they cost one.
            self.mapping().prefetch(at);
            let seen = settled(&line)?;
            let slot = SlotRef { arena: at.arena, slot: at.slot, generation: seen.generation };
            if !hazard::protect(hazard, slot, line.state_word(), Reader::Anyone) {
                return None;
            }
            let meta = line.meta();
            // The entry was a hint; the pinned line decides. An extent that does not fit is a damaged line.
            let extent = if meta.id == *id { self.mapping().extent(slot, meta.len_bytes) } else { None };
            let Some(extent) = extent else {
                hazard::release(hazard);
                return None;
            };
            Some(Claim { id: *id, slot, extent, checksum: meta.checksum, cell })
        })
    }

    fn claim_written(&self, id: &PieceId, cell: usize) -> Option<Claim> {
        let written = self.find_written(id)?;
        let slot = written.slot;
        let line = self.segment().line(slot.arena, slot.slot)?;
        let hazard = self.page().hazard(cell);
        // At this generation the slot holds what we wrote, Granted or Ready; otherwise it was taken back.
        if !hazard::protect(hazard, slot, line.state_word(), Reader::Filler(self.page_index)) {
            return None;
        }
        let Some(extent) = self.mapping().extent(slot, written.len_bytes) else {
            hazard::release(hazard);
            return None;
        };
        Some(Claim { id: *id, slot, extent, checksum: written.checksum, cell })
    }

    fn take_cell(&self) -> usize {
        loop {
            if let Some(cell) = self.pins.take() {
                return cell;
            }
            // Pins leave cells for gets: more than a hundred threads copy at this moment, and each soon ends.
            std::thread::yield_now();
        }
    }
}

/// The snapshot of a Ready slot. One that is Draining gets a moment: a block under a hold must not seem gone because the
/// node just found out about the hold.
#[inline]
fn settled(line: &Line<'_>) -> Option<Snapshot> {
    for _ in 0..LOOKS_AT_A_VICTIM {
        match line.snapshot()? {
            seen if seen.state == State::Ready => return Some(seen),
            seen if seen.state == State::Draining => std::hint::spin_loop(),
            _ => return None,
        }
    }
    None
}
