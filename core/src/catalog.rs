//! Key → residency: the node's own book of resident blocks, as the forest that their chains make.
//!
//! A block is in the book while it has a piece, or while a resident child names it as parent (a *gap*: evicted or not
//! yet committed). Invariants: a block's parent never changes while it is in the book; a gap has a resident child; each
//! piece is named once. Who evicts only leaves (blocks without a resident child) keeps every resident chain whole from
//! its root, so a claim on a chain's tail claims all of it.

use crate::key::BlockKey;
use crate::piece::PieceId;
use crate::policy::BlockId;
use crate::slot::SlotRef;
use alloc::vec::Vec;
use core::hash::BuildHasher;
use core::mem::size_of;
use hashbrown::{DefaultHashBuilder, HashTable};

const NONE: u32 = u32::MAX;

/// One piece of a block, and where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Tensor-parallel rank.
    pub rank: u16,
    /// KV group.
    pub group: u16,
    /// Where it lies.
    pub slot: SlotRef,
}

#[derive(Clone, Debug)]
struct Block {
    key: BlockKey,
    parent: u32,
    first_child: u32,
    next_sibling: u32,
    previous_sibling: u32,
    first_piece: Option<Piece>,
    more_pieces: Vec<Piece>,
}

/// What became of an insertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Inserted {
    /// The first piece of its block: the block is resident from now on.
    Block(BlockId),
    /// One more piece of a resident block.
    Sibling(BlockId),
    /// The piece was there; it stays where it was.
    AlreadyPresent(SlotRef),
}

/// What became of a removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Removed {
    /// The last piece of its block: the block is no longer resident.
    Block(BlockId),
    /// Other pieces of the block remain.
    Sibling(BlockId),
    /// There was no such piece.
    Absent,
}

/// All resident blocks.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    blocks: Vec<Block>,
    free: Vec<u32>,
    by_key: HashTable<u32>,
    hasher: DefaultHashBuilder,
    pieces: usize,
    resident: usize,
}

impl Catalog {
    /// An empty book.
    pub fn new() -> Self {
        Self::default()
    }

    /// Resident blocks.
    pub fn len(&self) -> usize {
        self.resident
    }

    /// Whether nothing is resident.
    pub fn is_empty(&self) -> bool {
        self.resident == 0
    }

    /// Resident pieces.
    pub fn pieces_total(&self) -> usize {
        self.pieces
    }

    /// Bytes of memory that the book takes, without the pieces past the first of each block.
    pub fn memory_bytes(&self) -> usize {
        self.blocks.capacity() * size_of::<Block>()
            + (self.free.capacity() + self.by_key.capacity()) * size_of::<u32>()
    }

    /// Adds a piece under `parent` ([`BlockKey::ROOT`] for the first block of a chain).
    pub fn insert(&mut self, id: &PieceId, parent: &BlockKey, slot: SlotRef) -> Inserted {
        let block = self.find(&id.key).unwrap_or_else(|| self.add(id.key));
        if let Some(piece) = self.piece_of(block, id.rank, id.group) {
            return Inserted::AlreadyPresent(piece.slot);
        }
        self.pieces += 1;
        let piece = Piece { rank: id.rank, group: id.group, slot };
        if self.blocks[block as usize].first_piece.is_some() {
            self.blocks[block as usize].more_pieces.push(piece);
            return Inserted::Sibling(BlockId(block));
        }
        self.blocks[block as usize].first_piece = Some(piece);
        self.resident += 1;
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

    /// Where a piece lies.
    pub fn slot(&self, id: &PieceId) -> Option<SlotRef> {
        self.piece_of(self.find(&id.key)?, id.rank, id.group).map(|piece| piece.slot)
    }

    /// The resident block with this key.
    pub fn block(&self, key: &BlockKey) -> Option<BlockId> {
        self.find(key).filter(|&b| self.blocks[b as usize].first_piece.is_some()).map(BlockId)
    }

    /// The key of a block.
    pub fn key(&self, block: BlockId) -> BlockKey {
        self.blocks[block.0 as usize].key
    }

    /// The pieces of a block, in the order of their commits.
    pub fn pieces(&self, block: BlockId) -> impl Iterator<Item = Piece> + '_ {
        let block = &self.blocks[block.0 as usize];
        block.first_piece.iter().chain(&block.more_pieces).copied()
    }

    /// The resident parent of a block.
    pub fn parent(&self, block: BlockId) -> Option<BlockId> {
        let parent = self.blocks[block.0 as usize].parent;
        (parent != NONE && self.blocks[parent as usize].first_piece.is_some()).then_some(BlockId(parent))
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

    /// Takes a piece out.
    pub fn remove(&mut self, id: &PieceId) -> Removed {
        let Some(at) = self.find(&id.key) else { return Removed::Absent };
        let block = &mut self.blocks[at as usize];
        let is_it = |piece: &Piece| piece.rank == id.rank && piece.group == id.group;
        if block.first_piece.as_ref().is_some_and(is_it) {
            block.first_piece = block.more_pieces.pop();
        } else if let Some(i) = block.more_pieces.iter().position(is_it) {
            block.more_pieces.swap_remove(i);
        } else {
            return Removed::Absent;
        }
        self.pieces -= 1;
        if self.blocks[at as usize].first_piece.is_some() {
            return Removed::Sibling(BlockId(at));
        }
        self.resident -= 1;
        self.unlink(at);
        self.forget_if_idle(at);
        Removed::Block(BlockId(at))
    }

    /// All resident blocks, in the order of their handles.
    pub fn iter(&self) -> impl Iterator<Item = BlockId> + '_ {
        (0..self.blocks.len() as u32).map(BlockId).filter(|b| self.blocks[b.0 as usize].first_piece.is_some())
    }

    fn find(&self, key: &BlockKey) -> Option<u32> {
        self.by_key.find(self.hash(key), |&b| self.blocks[b as usize].key == *key).copied()
    }

    fn hash(&self, key: &BlockKey) -> u64 {
        self.hasher.hash_one(key)
    }

    fn piece_of(&self, block: u32, rank: u16, group: u16) -> Option<Piece> {
        self.pieces(BlockId(block)).find(|piece| piece.rank == rank && piece.group == group)
    }

    fn add(&mut self, key: BlockKey) -> u32 {
        let block = Block {
            key,
            parent: NONE,
            first_child: NONE,
            next_sibling: NONE,
            previous_sibling: NONE,
            first_piece: None,
            more_pieces: Vec::new(),
        };
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
        self.by_key.insert_unique(hasher.hash_one(key), at, |&b| hasher.hash_one(blocks[b as usize].key));
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
        let Block { first_piece, first_child, key, .. } = &self.blocks[block as usize];
        if first_piece.is_some() || *first_child != NONE {
            return;
        }
        let hash = self.hash(key);
        if let Ok(entry) = self.by_key.find_entry(hash, |&b| b == block) {
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
        assert_eq!(catalog.remove(&PieceId::sole(key(2))), Removed::Block(child));
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
        assert_eq!(catalog.remove(&PieceId::sole(key(1))), Removed::Sibling(block));
        assert_eq!(catalog.slot(&second), Some(slot(9)));
        assert_eq!(catalog.remove(&second), Removed::Block(block));
        assert!(catalog.is_empty());
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
                    let removed = catalog.remove(&id);
                    prop_assert_eq!(removed == Removed::Absent, model.remove(&(k, rank)).is_none());
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
