//! Making room: victims by policy, leaves only, never what a client claims.

use std::collections::HashSet;

use cascade_core::catalog::{Piece, Removed};
use cascade_core::index::Location;
use cascade_core::piece::PieceId;
use cascade_core::policy::{BlockId, Removal};
use cascade_core::slot::{Event, SlotRef, State};

use super::store::Store;

/// Chunks that are tried when memory must be recut for another slot size.
const RECUT_TRIES_MAX: usize = 8;

impl Store {
    /// Makes at least `slots` slots of this size free, if clients' claims allow. Returns how many are free then.
    ///
    /// A victim of the wanted size frees its slot; where the policy's next victim has another size, its whole chunk is
    /// emptied and recut, so sizes get the share of the memory that their use earns. Where chunks cannot be emptied,
    /// because slots in them are held or being filled, the size makes do with blocks of its own and what is below them.
    pub fn make_room(&mut self, slot_bytes: u64, slots: u64) -> u64 {
        self.settle();
        let mut claimed = HashSet::new();
        let mut recuts = 0;
        loop {
            let free = self.free_slots(slot_bytes);
            if free >= slots {
                return free;
            }
            let (catalog, segment) = (&self.catalog, &self.segment);
            let fits = |block: BlockId| {
                let slot_bytes_of =
                    |slot: SlotRef| segment.extent(slot.arena, slot.slot).map(|(_, bytes)| bytes);
                catalog.pieces(block).any(|piece| slot_bytes_of(piece.slot) == Some(slot_bytes))
            };
            let may_recut = recuts < RECUT_TRIES_MAX;
            let candidate = self.policy.victim(&mut |block| {
                !claimed.contains(&block) && if may_recut { catalog.is_leaf(block) } else { fits(block) }
            });
            let Some(victim) = candidate else {
                if may_recut {
                    recuts = RECUT_TRIES_MAX;
                    continue;
                }
                return free;
            };
            if fits(victim) {
                if !self.evict_subtree(victim, Removal::Evicted) {
                    claimed.insert(victim);
                }
            } else {
                recuts += 1;
                if !self.empty_chunk_of(victim) {
                    claimed.insert(victim);
                }
            }
        }
    }

    /// Evicts a leaf with all its pieces; `false`, and nothing happened, if a client claims one of them.
    pub(super) fn evict(&mut self, block: BlockId, why: Removal) -> bool {
        debug_assert!(self.catalog.is_leaf(block), "only leaves are evicted");
        let key = self.catalog.key(block);
        let pieces: Vec<_> = self.catalog.pieces(block).collect();
        // A first look, so that what is claimed anyway does not vanish from readers' sight for a moment.
        if self.is_claimed(&pieces) {
            self.counters.claimed_victims += 1;
            return false;
        }
        for piece in &pieces {
            if self.line(piece.slot.arena, piece.slot.slot).step(Event::Drain).is_err() {
                self.counters.damaged_slots += 1;
            }
        }
        // The look that counts: whoever claims from now on sees Draining.
        if self.is_claimed(&pieces) {
            self.counters.claimed_victims += 1;
            for piece in &pieces {
                let _ = self.line(piece.slot.arena, piece.slot.slot).step(Event::Restore);
            }
            return false;
        }
        for piece in &pieces {
            let id = PieceId { key, rank: piece.rank, group: piece.group };
            let len_bytes = self.line(piece.slot.arena, piece.slot.slot).meta().len_bytes;
            self.counters.resident_bytes = self.counters.resident_bytes.saturating_sub(len_bytes);
            self.leave(&id, piece.slot);
            self.reclaim(piece.slot);
            // The policy hears of the block while its handle is still its own.
            if self.catalog.pieces(block).count() == 1 {
                self.policy.remove(block, why);
            }
            let _: Removed = self.catalog.remove(&id);
        }
        match why {
            Removal::Evicted => self.counters.evicted_blocks += 1,
            Removal::Dropped => self.counters.dropped_blocks += 1,
        }
        true
    }

    fn is_claimed(&mut self, pieces: &[Piece]) -> bool {
        let scan = self.scan();
        let claimed = pieces.iter().any(|piece| scan.names(piece.slot));
        self.scan_buffer = scan.into_buffer();
        claimed
    }

    /// Evicts a block with everything below it, tails first; `false` if a claim stood in the way.
    pub(super) fn evict_subtree(&mut self, block: BlockId, why: Removal) -> bool {
        let mut leaf = self.catalog.leaf_below(block);
        loop {
            let parent = self.catalog.parent(leaf);
            if !self.evict(leaf, why) {
                return false;
            }
            match parent {
                // On from where we are: walking down from the top again would make long chains quadratic.
                Some(parent) if leaf != block => leaf = self.catalog.leaf_below(parent),
                _ => return true,
            }
        }
    }

    /// Makes room in the full buckets of a piece; `false` if claims stood in all ways.
    ///
    /// A leaf costs one block. Any other costs all below it, and a root that all chains share would cost everything: only
    /// if there is no leaf.
    pub(super) fn evict_neighbour(&mut self, hash: u64) -> bool {
        let index = *self.segment.index();
        let is_leaf = |at: Location| {
            let block = self.catalog.block(&self.line(at.arena, at.slot).meta().id.key);
            block.is_some_and(|block| self.catalog.is_leaf(block))
        };
        let (leaves, others): (Vec<_>, Vec<_>) = index.neighbours(hash).partition(|&at| is_leaf(at));
        leaves.into_iter().chain(others).any(|at| self.evict_at(at.arena, at.slot))
    }

    /// Evicts the block whose piece lies in this slot, with everything below it.
    pub(super) fn evict_at(&mut self, arena: u8, slot: u32) -> bool {
        let Some(line) = self.segment.line(arena, slot) else { return false };
        if line.snapshot().is_none_or(|snapshot| snapshot.state != State::Ready) {
            return false;
        }
        let id = line.meta().id;
        if self.catalog.slot(&id).is_none_or(|at| at.arena != arena || at.slot != slot) {
            return false;
        }
        self.catalog.block(&id.key).is_some_and(|block| self.evict_subtree(block, Removal::Evicted))
    }

    /// Empties the chunks that hold the pieces of `block`; `false` if none became whole.
    fn empty_chunk_of(&mut self, block: BlockId) -> bool {
        let per_chunk = self.segment.geometry().slots_per_chunk() as u32;
        let slots: Vec<SlotRef> = self.catalog.pieces(block).map(|piece| piece.slot).collect();
        let mut emptied = false;
        for slot in slots {
            let chunk = slot.slot / per_chunk;
            let taken = self.taken_slots(slot.arena, chunk);
            // A slot that a client fills keeps the chunk as it is: evicting its neighbours would win nothing.
            let evictable = |&taken: &u32| {
                let state = self.line(slot.arena, taken).snapshot().map(|snapshot| snapshot.state);
                matches!(state, Some(State::Ready | State::Free))
            };
            if !taken.iter().all(evictable) {
                continue;
            }
            let all = taken.into_iter().all(|slot_in_chunk| {
                let line = self.line(slot.arena, slot_in_chunk);
                // Evicting one block may have evicted others of the chunk with it.
                let gone = line.snapshot().is_some_and(|snapshot| snapshot.state == State::Free);
                gone || self.evict_at(slot.arena, slot_in_chunk)
            });
            emptied |= all;
        }
        emptied
    }

    /// Empties a chunk, the coldest that can be, and takes its memory out of the books; the caller gives it back.
    pub fn shrink(&mut self) -> Option<(u8, u32)> {
        let mut claimed = HashSet::new();
        for _ in 0..RECUT_TRIES_MAX {
            for (id, arena) in &mut self.arenas {
                if let Some(chunk) = arena.last_whole()
                    && arena.unback(chunk)
                {
                    let chunk = (*id, chunk);
                    self.fit_policy();
                    return Some(chunk);
                }
            }
            let catalog = &self.catalog;
            let victim =
                self.policy.victim(&mut |block| catalog.is_leaf(block) && !claimed.contains(&block))?;
            if !self.empty_chunk_of(victim) {
                claimed.insert(victim);
            }
        }
        None
    }

    fn taken_slots(&self, arena: u8, chunk: u32) -> Vec<u32> {
        self.arenas
            .iter()
            .find(|(id, _)| *id == arena)
            .map_or(Vec::new(), |(_, book)| book.taken_slots(chunk))
    }

    /// Evicts everything that no client claims. Returns the blocks that stay.
    pub fn evict_all(&mut self) -> usize {
        let blocks: Vec<BlockId> = self.catalog.iter().collect();
        for block in blocks {
            // A handle may be gone, or name a block that was evicted with its parent.
            if self.policy.contains(block) {
                self.evict_subtree(block, Removal::Dropped);
            }
        }
        self.catalog.len()
    }

    /// A reader found bytes that do not match their checksum: look again, and drop the piece if that is true.
    pub fn suspect(&mut self, slot: SlotRef) {
        self.counters.suspects += 1;
        let Some(line) = self.segment.line(slot.arena, slot.slot) else { return };
        let Some((generation, meta)) = line.read() else { return };
        if generation != slot.generation || self.catalog.slot(&meta.id) != Some(slot) {
            return;
        }
        if self.verify(slot, &meta) {
            return;
        }
        tracing::warn!(key = %meta.id.key, rank = meta.id.rank, group = meta.id.group, "dropping a corrupt piece");
        self.counters.corrupt_pieces += 1;
        if let Some(block) = self.catalog.block(&meta.id.key) {
            self.evict_subtree(block, Removal::Dropped);
        }
    }
}
