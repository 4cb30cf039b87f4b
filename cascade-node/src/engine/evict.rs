//! Making room: victims by policy, leaves only, never what a client claims.
//!
//! Invariants: a block is evicted only when no child of it is resident and no client claims a piece of it, both at the
//! moment of the eviction; a call does work in proportion to what it evicts and to what is claimed, not to the cache.

use std::collections::HashSet;

use cascade_core::catalog::{Evicted, Piece};
use cascade_core::index::Location;
use cascade_core::piece::PieceId;
use cascade_core::policy::{BlockId, REFUSALS_MAX, Removal};
use cascade_core::residency::Residency;
use cascade_core::slot::{Event, SlotRef, State};

use super::recut::COLLATERAL_BLOCKS;
use super::store::Store;

/// Chunks that one call may try to recut.
const RECUT_TRIES_MAX: usize = 8;

impl Store {
    /// Makes at least `slots` slots of this size free, if clients' claims allow. Returns how many are free then.
    ///
    /// A victim of the wanted size frees its slot; where the policy's next victim has another size, its whole chunk is
    /// emptied and recut, so sizes get the share of the memory that their use earns. Where no chunk can be emptied at a
    /// fair price, the size makes do with blocks of its own and what is below them.
    pub fn make_room(&mut self, slot_bytes: u64, slots: u64) -> u64 {
        self.settle();
        if self.free_slots(slot_bytes) >= slots {
            return self.free_slots(slot_bytes);
        }
        // Readers do not lose sight, even for a moment, of what is claimed anyway.
        let mut passed = self.claimed_blocks();
        let mut held = None;
        let mut recuts = 0;
        while self.free_slots(slot_bytes) < slots {
            let Some(victim) = self.next_leaf(&passed) else { break };
            if self.has_slot_of(victim, slot_bytes) {
                if !self.evict(victim, Removal::Evicted) {
                    passed.insert(victim);
                }
                continue;
            }
            let held = match &held {
                Some(held) => held,
                None => held.insert(self.held_blocks()),
            };
            recuts += 1;
            let at_any_price = recuts == RECUT_TRIES_MAX;
            let is_recut = recuts <= RECUT_TRIES_MAX && self.empty_chunk_of(victim, held, at_any_price);
            if !is_recut && !self.evict_through(victim, slot_bytes, held) {
                passed.insert(victim);
            }
        }
        if self.free_slots(slot_bytes) < slots {
            self.evict_own(slot_bytes, slots);
        }
        self.free_slots(slot_bytes)
    }

    /// The next leaf to go that is not in `passed`: the coldest that costs nothing where there is one, else the policy's victim.
    ///
    /// The policy gives up after some refusals and moves what was refused to the young end; asking again goes on behind
    /// it, until every block was offered once.
    pub(super) fn next_leaf(&mut self, passed: &HashSet<BlockId>) -> Option<BlockId> {
        if let Some(spare) = self.next_spare_leaf(passed) {
            return Some(spare);
        }
        let catalog = &self.catalog;
        let rounds = 1 + self.policy.len() / (REFUSALS_MAX / 2);
        (0..rounds)
            .find_map(|_| self.policy.victim(&mut |block| catalog.is_leaf(block) && !passed.contains(&block)))
    }

    /// Evicts a leaf of another size together with what is above it, up to the first block that has a slot of this size:
    /// the next victims anyway, as a chain is as old as its tail. `false`, and nothing happened, if much else hangs there.
    fn evict_through(&mut self, leaf: BlockId, slot_bytes: u64, held: &HashSet<BlockId>) -> bool {
        let above =
            self.catalog.ancestry(leaf, COLLATERAL_BLOCKS).find(|&block| self.has_slot_of(block, slot_bytes));
        above.is_some_and(|block| {
            self.can_all_go(&[block], held, COLLATERAL_BLOCKS) && self.evict_subtree(block)
        })
    }

    /// Evicts from below blocks that have a slot of this size but are no leaves, one leaf at a time.
    fn evict_own(&mut self, slot_bytes: u64, slots: u64) {
        let held = self.held_blocks();
        let (catalog, segment) = (&self.catalog, &self.segment);
        let bytes_of = |slot: SlotRef| segment.extent(slot.arena, slot.slot).map(|(_, bytes)| bytes);
        let fits =
            |block: &BlockId| catalog.pieces(*block).any(|piece| bytes_of(piece.slot) == Some(slot_bytes));
        let own: Vec<BlockId> = catalog.iter().filter(|block| !held.contains(block)).filter(fits).collect();
        for block in own {
            while self.free_slots(slot_bytes) < slots && self.policy.contains(block) {
                let leaf = self.catalog.leaf_below(block);
                if !self.evict(leaf, Removal::Evicted) {
                    break;
                }
            }
        }
    }

    /// Blocks of which a client claims a piece at this moment.
    fn claimed_blocks(&mut self) -> HashSet<BlockId> {
        let scan = self.scan();
        let meta_of = |slot: SlotRef| {
            let (generation, meta) = self.segment.line(slot.arena, slot.slot)?.read()?;
            (generation == slot.generation).then_some(meta)
        };
        let claimed = scan.iter().filter_map(|slot| self.catalog.block(&meta_of(slot)?.id.key)).collect();
        self.scan_buffer = scan.into_buffer();
        claimed
    }

    /// Blocks that a claim holds: the claimed ones and all above them.
    pub(super) fn held_blocks(&mut self) -> HashSet<BlockId> {
        let mut held = HashSet::new();
        for claimed in self.claimed_blocks() {
            for block in self.catalog.ancestry(claimed, usize::MAX) {
                if !held.insert(block) {
                    break;
                }
            }
        }
        held
    }

    fn has_slot_of(&self, block: BlockId, slot_bytes: u64) -> bool {
        self.catalog.pieces(block).any(|piece| self.slot_bytes(piece.slot) == slot_bytes)
    }

    /// Evicts a leaf with all its pieces; `false`, and nothing happened, if a client claims one of them or one is being
    /// copied.
    pub(super) fn evict(&mut self, block: BlockId, why: Removal) -> bool {
        debug_assert!(self.catalog.is_leaf(block), "only leaves are evicted");
        if !self.catalog.may_leave(block) {
            return false;
        }
        let key = self.catalog.key(block);
        let pieces: Vec<_> = self.catalog.pieces(block).collect();
        for piece in &pieces {
            if self.line(piece.slot.arena, piece.slot.slot).step(Event::Drain).is_err() {
                self.counters.damaged_slots += 1;
            }
        }
        // Whoever claims from now on sees Draining.
        if self.is_claimed(&pieces) {
            self.counters.claimed_victims += 1;
            for piece in &pieces {
                let _ = self.line(piece.slot.arena, piece.slot.slot).step(Event::Restore);
            }
            return false;
        }
        let is_wanted = why == Removal::Evicted && self.spares.cost && self.spares.admits(block);
        let is_lost = is_wanted && !self.catalog.is_clean(block);
        self.counters.evicted_undemoted_blocks += u64::from(is_lost);
        for piece in &pieces {
            let id = PieceId { key, rank: piece.rank, group: piece.group };
            self.forget_piece(block, &id, piece.slot, why);
            self.reclaim(piece.slot);
        }
        true
    }

    /// Takes a piece of `block` out of index, catalog and policy. What becomes of its slot is the caller's.
    pub(super) fn forget_piece(&mut self, block: BlockId, id: &PieceId, slot: SlotRef, why: Removal) {
        let len_bytes = self.line(slot.arena, slot.slot).meta().len_bytes;
        self.counters.resident_bytes = self.counters.resident_bytes.saturating_sub(len_bytes);
        self.leave(id, slot);
        // The policy hears of the block while its handle is still its own.
        if self.catalog.pieces(block).count() == 1 {
            self.policy.remove(block, why);
            match why {
                Removal::Evicted => self.counters.evicted_blocks += 1,
                Removal::Dropped => self.counters.dropped_blocks += 1,
            }
        }
        if matches!(self.catalog.residency(id), Residency::Both { .. }) {
            self.ceased_clean(len_bytes);
        }
        let evicted = self.catalog.evict(id);
        debug_assert!(!matches!(evicted, Evicted::Refused(_)), "{evicted:?}");
    }

    fn is_claimed(&mut self, pieces: &[Piece]) -> bool {
        let scan = self.scan();
        let claimed = pieces.iter().any(|piece| scan.names(piece.slot));
        self.scan_buffer = scan.into_buffer();
        claimed
    }

    /// Evicts a block with everything below it, tails first; `false` if a claim stood in the way.
    pub(super) fn evict_subtree(&mut self, block: BlockId) -> bool {
        let mut leaf = self.catalog.leaf_below(block);
        loop {
            let parent = self.catalog.parent(leaf);
            if !self.evict(leaf, Removal::Evicted) {
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
            let line = self.segment.line(at.arena, at.slot);
            let block = line.and_then(|line| self.catalog.block(&line.meta().id.key));
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
        self.catalog.block(&id.key).is_some_and(|block| self.evict_subtree(block))
    }

    /// Evicts everything that no client claims. Returns the blocks that stay.
    pub fn evict_all(&mut self) -> usize {
        let held = self.held_blocks();
        let leaves: Vec<BlockId> = self.catalog.iter().filter(|&block| self.catalog.is_leaf(block)).collect();
        for leaf in leaves {
            let mut at = Some(leaf);
            // Up from each leaf, as far as nothing else hangs below and nothing is held.
            while let Some(block) = at.filter(|&block| self.catalog.is_leaf(block) && !held.contains(&block))
            {
                at = self.catalog.parent(block);
                if !self.evict(block, Removal::Dropped) {
                    break;
                }
            }
        }
        self.catalog.len()
    }
}
