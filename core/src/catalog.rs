//! Key → residency: the node's own book of pieces, and the forest that the chains of those in memory make.
//!
//! A block is in the book while a piece of it has a copy anywhere, or while a resident child names it as parent (a *gap*:
//! evicted or not yet committed). It is *resident* while one of its pieces is in memory; only resident blocks have a parent,
//! which then never changes. Invariants: each piece is named once, and moves by [`residency::next`] alone; a gap without a
//! piece has a resident child. Who evicts only leaves (blocks without a resident child) keeps every resident chain whole
//! from its root, so a claim on a chain's tail claims all of it.

mod block;

pub use block::Piece;

use crate::key::BlockKey;
use crate::numbers::Numbers;
use crate::piece::PieceId;
use crate::policy::BlockId;
use crate::residency::{self, Event, Residency, StoredId};
use crate::slot::SlotRef;
use alloc::vec::Vec;
use block::{Block, NONE};
use core::hash::BuildHasher;
use core::mem::size_of;
use hashbrown::DefaultHashBuilder;

/// What became of an insertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Inserted {
    /// The first piece of its block in memory: the block is resident from now on.
    Block(BlockId),
    /// One more piece of a resident block.
    Sibling(BlockId),
    /// The piece was in memory; it stays where it was.
    AlreadyPresent(SlotRef),
}

/// What became of an eviction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Evicted {
    /// The last piece of its block in memory: the block is no longer resident.
    Block(BlockId),
    /// Other pieces of the block remain.
    Sibling(BlockId),
    /// The piece is not in memory, or is being copied from there.
    Refused(Residency),
}

/// An event that has no place, with what was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused(pub Residency);

/// What an event did to a piece and its block.
struct Moved {
    block: u32,
    was_resident: bool,
    is_resident: bool,
    residency: Residency,
}

/// All pieces that have a copy, and their blocks.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    blocks: Vec<Block>,
    free: Vec<u32>,
    by_key: Numbers,
    hasher: DefaultHashBuilder,
    pieces: usize,
    resident: usize,
}

impl Catalog {
    /// An empty book.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes room for so many more blocks at once, where they come by the million.
    pub fn reserve(&mut self, blocks: usize) {
        let (known, hasher) = (&self.blocks, &self.hasher);
        self.by_key.reserve(blocks, |&b| hasher.hash_one(known[b as usize].key));
        self.blocks.reserve(blocks);
    }

    /// Resident blocks.
    pub fn len(&self) -> usize {
        self.resident
    }

    /// Whether nothing is resident.
    pub fn is_empty(&self) -> bool {
        self.resident == 0
    }

    /// Pieces in memory.
    pub fn pieces_total(&self) -> usize {
        self.pieces
    }

    /// Bytes of memory that the book takes, without the pieces past the first of each block.
    pub fn memory_bytes(&self) -> usize {
        self.blocks.capacity() * size_of::<Block>()
            + self.free.capacity() * size_of::<u32>()
            + self.by_key.memory_bytes()
    }

    /// A slot holds a piece of the block that comes after `parent` ([`BlockKey::ROOT`] for the first of a chain).
    pub fn insert(&mut self, id: &PieceId, parent: &BlockKey, slot: SlotRef) -> Inserted {
        let Moved { block, was_resident, .. } = match self.apply(id, Event::Publish { slot }) {
            Ok(moved) => moved,
            Err(Refused(found)) => {
                let there = found.slot().expect("only a copy in memory stands in the way of another");
                return Inserted::AlreadyPresent(there);
            }
        };
        if was_resident {
            return Inserted::Sibling(BlockId(block));
        }
        // A parent that is itself below this block would make a ring: a confused client's claim, not taken up.
        if *parent != BlockKey::ROOT && *parent != id.key {
            let parent = self.find(parent).unwrap_or_else(|| self.add(*parent));
            // Only a block that has children already can be above its own parent; without them the walk is spared.
            if self.blocks[block as usize].first_child != NONE && self.is_under(parent, block) {
                self.forget_if_idle(parent);
            } else {
                self.link(block, parent);
            }
        }
        Inserted::Block(BlockId(block))
    }

    /// The copy in memory leaves. If it was the last of all, the piece goes out of the book.
    pub fn evict(&mut self, id: &PieceId) -> Evicted {
        match self.apply(id, Event::Evict) {
            Ok(moved) if moved.is_resident => Evicted::Sibling(BlockId(moved.block)),
            Ok(moved) => Evicted::Block(BlockId(moved.block)),
            Err(Refused(found)) => Evicted::Refused(found),
        }
    }

    /// Something happened to the copies of a piece: the way of transfers to lower tiers and back. A piece that comes into
    /// memory comes by [`Catalog::insert`], which knows its parent, and leaves by [`Catalog::evict`].
    ///
    /// # Errors
    /// The event has no place in what was found; nothing changed.
    pub fn step(&mut self, id: &PieceId, event: Event) -> Result<Residency, Refused> {
        self.apply(id, event).map(|moved| moved.residency)
    }

    /// A lower tier turns out to have a piece, under this number: the block of it.
    ///
    /// # Errors
    /// As [`Catalog::step`].
    pub fn found(&mut self, id: &PieceId, stored: StoredId) -> Result<BlockId, Refused> {
        self.apply(id, Event::Found { stored }).map(|moved| BlockId(moved.block))
    }

    /// Where the copies of a piece lie.
    pub fn residency(&self, id: &PieceId) -> Residency {
        self.find(&id.key).map_or(Residency::Absent, |at| self.blocks[at as usize].residency(id))
    }

    /// Where a piece lies in memory.
    pub fn slot(&self, id: &PieceId) -> Option<SlotRef> {
        self.residency(id).slot()
    }

    /// Whether all that a block has in memory may leave: no copy is being made of it.
    pub fn may_leave(&self, block: BlockId) -> bool {
        self.blocks[block.0 as usize].may_leave()
    }

    /// The resident block with this key.
    pub fn block(&self, key: &BlockKey) -> Option<BlockId> {
        self.find(key).filter(|&b| self.blocks[b as usize].is_resident()).map(BlockId)
    }

    /// The block with this key, be it resident, below, or a gap.
    pub fn known(&self, key: &BlockKey) -> Option<BlockId> {
        self.find(key).map(BlockId)
    }

    /// The key of a block.
    pub fn key(&self, block: BlockId) -> BlockKey {
        self.blocks[block.0 as usize].key
    }

    /// The pieces of a block that are in memory.
    pub fn pieces(&self, block: BlockId) -> impl Iterator<Item = Piece> + '_ {
        self.blocks[block.0 as usize].in_memory()
    }

    /// All pieces of a block that have a copy, as (rank, group), and where those lie.
    pub fn copies(&self, block: BlockId) -> impl Iterator<Item = (PieceId, Residency)> + '_ {
        let block = &self.blocks[block.0 as usize];
        block.entries().map(|entry| (entry.id(block.key), entry.residency))
    }

    /// Whether all that a block has in memory is below as well.
    pub fn is_clean(&self, block: BlockId) -> bool {
        let mut in_memory = self.copies(block).filter(|(_, residency)| residency.slot().is_some());
        in_memory.all(|(_, residency)| matches!(residency, Residency::Both { .. }))
    }

    /// The key of a resident block's parent, be that resident or a gap; `None` for the first of a chain, and where the parent
    /// is not known.
    pub fn parent_key(&self, block: BlockId) -> Option<BlockKey> {
        let parent = self.blocks[block.0 as usize].parent;
        (parent != NONE).then(|| self.blocks[parent as usize].key)
    }

    /// The resident parent of a block.
    pub fn parent(&self, block: BlockId) -> Option<BlockId> {
        let parent = self.blocks[block.0 as usize].parent;
        (parent != NONE && self.blocks[parent as usize].is_resident()).then_some(BlockId(parent))
    }

    /// The block and its resident ancestors, deepest first, up to `limit` of them.
    pub fn ancestry(&self, block: BlockId, limit: usize) -> impl Iterator<Item = BlockId> + '_ {
        core::iter::successors(Some(block), |&block| self.parent(block)).take(limit)
    }

    /// Whether no child of the block is resident.
    pub fn is_leaf(&self, block: BlockId) -> bool {
        self.blocks[block.0 as usize].first_child == NONE
    }

    /// The resident children of a block.
    pub fn children(&self, block: BlockId) -> impl Iterator<Item = BlockId> + '_ {
        let first = self.blocks[block.0 as usize].first_child;
        let next = |&child: &u32| Some(self.blocks[child as usize].next_sibling).filter(|&next| next != NONE);
        core::iter::successors(Some(first).filter(|&first| first != NONE), next).map(BlockId)
    }

    /// Hangs a block that has no parent below the one that it names; for blocks whose parent was unknown when they were
    /// inserted. `false` if it has one, or if that would make a ring.
    pub fn link_orphan(&mut self, child: BlockId, parent: BlockId) -> bool {
        if self.blocks[child.0 as usize].parent != NONE || self.is_under(parent.0, child.0) {
            return false;
        }
        self.link(child.0, parent.0);
        true
    }

    /// A resident leaf at or below `block`.
    pub fn leaf_below(&self, block: BlockId) -> BlockId {
        let mut at = block.0;
        while self.blocks[at as usize].first_child != NONE {
            at = self.blocks[at as usize].first_child;
        }
        BlockId(at)
    }

    /// All resident blocks, in the order of their handles.
    pub fn iter(&self) -> impl Iterator<Item = BlockId> + '_ {
        (0..self.blocks.len() as u32).map(BlockId).filter(|b| self.blocks[b.0 as usize].is_resident())
    }

    /// Handles from 0 up to this one are, or were, blocks: for whoever looks at all of them, some at a time. One that is not
    /// any more has no copies.
    pub fn handles(&self) -> u32 {
        self.blocks.len() as u32
    }

    /// Moves a piece by an event, and keeps the counts, the links and the book itself in step.
    fn apply(&mut self, id: &PieceId, event: Event) -> Result<Moved, Refused> {
        let known = self.find(&id.key);
        let found = known.map_or(Residency::Absent, |at| self.blocks[at as usize].residency(id));
        let residency = residency::next(found, event).ok_or(Refused(found))?;
        let at = known.unwrap_or_else(|| self.add(id.key));
        let block = &mut self.blocks[at as usize];
        let was_resident = block.is_resident();
        block.set(id, residency);
        let is_resident = block.is_resident();
        let in_memory = |residency: Residency| usize::from(residency.slot().is_some());
        self.pieces = self.pieces + in_memory(residency) - in_memory(found);
        self.resident = self.resident + usize::from(is_resident) - usize::from(was_resident);
        if was_resident && !is_resident {
            self.unlink(at);
        }
        self.forget_if_idle(at);
        Ok(Moved { block: at, was_resident, is_resident, residency })
    }

    fn find(&self, key: &BlockKey) -> Option<u32> {
        self.by_key.find(self.hash(key), |&b| self.blocks[b as usize].key == *key)
    }

    fn hash(&self, key: &BlockKey) -> u64 {
        self.hasher.hash_one(key)
    }

    fn add(&mut self, key: BlockKey) -> u32 {
        let block = Block::new(key);
        let at = match self.free.pop() {
            Some(at) => {
                self.blocks[at as usize] = block;
                at
            }
            None => {
                self.blocks.push(block);
                (self.blocks.len() - 1) as u32
            }
        };
        let (blocks, hasher) = (&self.blocks, &self.hasher);
        self.by_key.insert(hasher.hash_one(key), at, |&b| hasher.hash_one(blocks[b as usize].key));
        at
    }

    fn is_under(&self, mut block: u32, ancestor: u32) -> bool {
        while block != NONE {
            if block == ancestor {
                return true;
            }
            block = self.blocks[block as usize].parent;
        }
        false
    }

    fn link(&mut self, child: u32, parent: u32) {
        let first = self.blocks[parent as usize].first_child;
        if first != NONE {
            self.blocks[first as usize].previous_sibling = child;
        }
        self.blocks[child as usize].next_sibling = first;
        self.blocks[child as usize].previous_sibling = NONE;
        self.blocks[child as usize].parent = parent;
        self.blocks[parent as usize].first_child = child;
    }

    fn unlink(&mut self, child: u32) {
        let Block { parent, next_sibling, previous_sibling, .. } = self.blocks[child as usize];
        if parent == NONE {
            return;
        }
        match previous_sibling {
            NONE => self.blocks[parent as usize].first_child = next_sibling,
            previous => self.blocks[previous as usize].next_sibling = next_sibling,
        }
        if next_sibling != NONE {
            self.blocks[next_sibling as usize].previous_sibling = previous_sibling;
        }
        let block = &mut self.blocks[child as usize];
        (block.parent, block.next_sibling, block.previous_sibling) = (NONE, NONE, NONE);
        self.forget_if_idle(parent);
    }

    /// Takes a block out of the book when it has neither pieces nor children.
    fn forget_if_idle(&mut self, block: u32) {
        let known = &self.blocks[block as usize];
        if known.has_pieces() || known.first_child != NONE {
            return;
        }
        let hash = self.hash(&known.key);
        if let Some(entry) = self.by_key.find_entry(hash, |&b| b == block) {
            entry.remove();
            self.free.push(block);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::vec::Vec;

    fn key(i: u8) -> BlockKey {
        BlockKey::from_bytes([i; 32])
    }

    fn slot(i: u32) -> SlotRef {
        SlotRef { arena: 0, slot: i, generation: 1 }
    }

    fn put(catalog: &mut Catalog, i: u8, parent: u8) -> BlockId {
        match catalog.insert(&PieceId::sole(key(i)), &key(parent), slot(u32::from(i))) {
            Inserted::Block(block) => block,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_parent_that_comes_late_takes_its_children_up() {
        let mut catalog = Catalog::new();
        let child = put(&mut catalog, 2, 1);
        assert_eq!(catalog.parent(child), None);
        let parent = put(&mut catalog, 1, 0);
        assert_eq!(catalog.parent(child), Some(parent));
        assert!(!catalog.is_leaf(parent));
        assert_eq!(catalog.leaf_below(parent), child);
        assert_eq!(catalog.ancestry(child, 9).collect::<Vec<_>>(), [child, parent]);
        assert_eq!(catalog.evict(&PieceId::sole(key(2))), Evicted::Block(child));
        assert!(catalog.is_leaf(parent));
    }

    #[test]
    fn an_orphan_is_linked_once_and_never_in_a_ring() {
        let mut catalog = Catalog::new();
        let (one, two) = (put(&mut catalog, 1, 0), put(&mut catalog, 2, 0));
        assert!(catalog.link_orphan(two, one));
        assert!(!catalog.link_orphan(two, one));
        assert!(!catalog.link_orphan(one, two));
        assert_eq!(catalog.children(one).collect::<Vec<_>>(), [two]);
        assert_eq!(catalog.children(two).count(), 0);
    }

    #[test]
    fn siblings_share_a_block() {
        let mut catalog = Catalog::new();
        let block = put(&mut catalog, 1, 0);
        let second = PieceId { rank: 1, ..PieceId::sole(key(1)) };
        assert_eq!(catalog.insert(&second, &key(0), slot(9)), Inserted::Sibling(block));
        assert_eq!(catalog.insert(&second, &key(0), slot(8)), Inserted::AlreadyPresent(slot(9)));
        assert_eq!(catalog.pieces(block).count(), 2);
        assert_eq!(catalog.evict(&PieceId::sole(key(1))), Evicted::Sibling(block));
        assert_eq!(catalog.slot(&second), Some(slot(9)));
        assert_eq!(catalog.evict(&second), Evicted::Block(block));
        assert!(catalog.is_empty());
    }

    #[test]
    fn a_piece_that_is_below_outlasts_its_eviction_and_goes_with_its_last_copy() {
        let mut catalog = Catalog::new();
        let (parent, child) = (PieceId::sole(key(1)), PieceId::sole(key(2)));
        let _ = (put(&mut catalog, 1, 0), put(&mut catalog, 2, 1));
        let stored = StoredId(7);
        assert!(catalog.step(&child, Event::Demote).is_ok());
        assert_eq!(catalog.evict(&child), Evicted::Refused(Residency::Demoting { slot: slot(2) }));
        assert!(catalog.step(&child, Event::Demoted { stored }).is_ok());
        assert!(matches!(catalog.evict(&child), Evicted::Block(_)));
        assert_eq!(
            (catalog.block(&child.key), catalog.residency(&child)),
            (None, Residency::Below { stored })
        );
        assert!(matches!(catalog.evict(&parent), Evicted::Block(_)), "what is below holds nothing above it");
        assert_eq!(catalog.by_key.len(), 1);
        assert!(catalog.step(&child, Event::Withdraw).is_ok());
        assert_eq!(catalog.by_key.len(), 0);
    }

    #[test]
    fn a_ring_of_parents_is_not_taken_up() {
        let mut catalog = Catalog::new();
        let two = put(&mut catalog, 2, 1);
        let one = put(&mut catalog, 1, 2);
        assert_eq!(catalog.parent(two), Some(one));
        assert_eq!(catalog.parent(one), None);
        let _ = put(&mut catalog, 3, 3);
        assert_eq!(catalog.ancestry(two, usize::MAX).count(), 2);
    }

    proptest! {
        #[test]
        fn the_book_agrees_with_a_plain_one(steps in prop::collection::vec((any::<bool>(), 1u8..20, 0u16..2), 1..300)) {
            let mut catalog = Catalog::new();
            let mut model: BTreeMap<(u8, u16), SlotRef> = BTreeMap::new();
            for (i, (insert, k, rank)) in steps.into_iter().enumerate() {
                let id = PieceId { rank, ..PieceId::sole(key(k)) };
                if insert {
                    // The parent of k is k / 2, so that the model can tell leaves.
                    let inserted = catalog.insert(&id, &key(k / 2), slot(i as u32));
                    let there = model.get(&(k, rank)).copied();
                    prop_assert_eq!(matches!(inserted, Inserted::AlreadyPresent(_)), there.is_some());
                    model.entry((k, rank)).or_insert(slot(i as u32));
                } else {
                    let evicted = catalog.evict(&id);
                    prop_assert_eq!(matches!(evicted, Evicted::Refused(_)), model.remove(&(k, rank)).is_none());
                }
                prop_assert_eq!(catalog.pieces_total(), model.len());
                for k in 1u8..20 {
                    let resident = |k: u8| (0..2).any(|rank| model.contains_key(&(k, rank)));
                    let block = catalog.block(&key(k));
                    prop_assert_eq!(block.is_some(), resident(k));
                    if let Some(block) = block {
                        prop_assert_eq!(catalog.is_leaf(block), !(1u8..20).any(|c| c / 2 == k && resident(c)));
                        let parent = (k / 2 > 0 && resident(k / 2)).then(|| key(k / 2));
                        prop_assert_eq!(catalog.parent(block).map(|p| catalog.key(p)), parent);
                    }
                    for rank in 0..2 {
                        let id = PieceId { rank, ..PieceId::sole(key(k)) };
                        prop_assert_eq!(catalog.slot(&id), model.get(&(k, rank)).copied());
                    }
                }
            }
        }
    }
}
