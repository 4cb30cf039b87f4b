//! Emptying whole chunks: for another slot size, or to give their memory back to the machine.
//!
//! A chunk is emptied only if everything in it can go: what a claim holds, or a client fills, is looked for first, so
//! nothing is evicted in vain. Its blocks take what hangs below them along, also out of other chunks; a chunk for which that
//! would be much more than its own content is passed over while there are others.

use std::collections::HashSet;

use cascade_core::policy::BlockId;
use cascade_core::slot::{SlotRef, State};

use super::store::Store;

/// Chunks that are looked at to give one back.
const SHRINK_TRIES_MAX: usize = 64;
/// Blocks outside of a chunk that may go with it: so many, and so many more for each block inside.
pub(super) const COLLATERAL_BLOCKS: usize = 64;
const COLLATERAL_BLOCKS_EACH: usize = 2;

impl Store {
    /// Empties a chunk that holds a piece of `block`; `false`, and nothing happened, if none can be. `at_any_price` also
    /// takes one whose content carries much of the rest of the cache. `held` is what claims hold.
    pub(super) fn empty_chunk_of(
        &mut self,
        block: BlockId,
        held: &HashSet<BlockId>,
        at_any_price: bool,
    ) -> bool {
        let per_chunk = self.segment.geometry().slots_per_chunk() as u32;
        let chunks: Vec<(u8, u32)> =
            self.catalog.pieces(block).map(|piece| (piece.slot.arena, piece.slot.slot / per_chunk)).collect();
        chunks.into_iter().any(|(arena, chunk)| {
            let Some(content) = self.content(arena, chunk) else { return false };
            // What would be lost stays while there is a chunk that costs nothing, or will be written by and by.
            let is_lossless = content.iter().all(|&block| self.is_spare(block));
            if self.spares.go_first && !is_lossless && !at_any_price {
                return false;
            }
            let limit = if at_any_price {
                usize::MAX
            } else {
                COLLATERAL_BLOCKS + content.len() * (1 + COLLATERAL_BLOCKS_EACH)
            };
            self.can_all_go(&content, held, limit)
                && content.into_iter().all(|block| {
                    // Evicting one block may have evicted others of the chunk with it.
                    !self.policy.contains(block) || self.evict_subtree(block)
                })
        })
    }

    /// Empties a chunk, the coldest that can be, and takes its memory out of the books; the caller gives it back.
    pub fn shrink(&mut self) -> Option<(u8, u32)> {
        self.settle();
        let held = self.held_blocks();
        let mut passed = HashSet::new();
        for attempt in 1..=SHRINK_TRIES_MAX {
            for (id, arena) in &mut self.arenas {
                if let Some(chunk) = arena.last_whole()
                    && arena.unback(chunk)
                {
                    let chunk = (*id, chunk);
                    self.fit_policy();
                    return Some(chunk);
                }
            }
            let victim = self.next_leaf(&passed)?;
            if !self.empty_chunk_of(victim, &held, attempt == SHRINK_TRIES_MAX) {
                passed.insert(victim);
            }
        }
        None
    }

    /// The blocks with a piece in a chunk; `None` if a slot of it is being filled or lingers.
    fn content(&self, arena: u8, chunk: u32) -> Option<Vec<BlockId>> {
        let (_, book) = self.arenas.iter().find(|(id, _)| *id == arena)?;
        let block_in = |slot: u32| {
            let line = self.line(arena, slot);
            let state = line.snapshot()?.state;
            let id = line.meta().id;
            let is_it = |at: SlotRef| at.arena == arena && at.slot == slot;
            (state == State::Ready && self.catalog.slot(&id).is_some_and(is_it))
                .then(|| self.catalog.block(&id.key))?
        };
        book.taken_slots(chunk).into_iter().map(block_in).collect()
    }

    /// Whether nothing at or below these blocks is held, and it is not more than `limit` blocks.
    pub(super) fn can_all_go(&self, blocks: &[BlockId], held: &HashSet<BlockId>, limit: usize) -> bool {
        let mut seen = HashSet::new();
        let mut open: Vec<BlockId> = blocks.to_vec();
        while let Some(block) = open.pop() {
            if held.contains(&block) {
                return false;
            }
            if seen.insert(block) {
                open.extend(self.catalog.children(block));
            }
            if seen.len() > limit {
                return false;
            }
        }
        true
    }
}
