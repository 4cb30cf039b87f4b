//! Which namespace the blocks of a store belong to: found by following what each says of its parent, for a piece names no
//! more than that.
//!
//! Invariants: blocks may come in any order, and a parent need not be there; what a store says is a claim, so a circle of
//! parents ends nowhere. Some 50 bytes of memory a block.

use std::hash::BuildHasher;

use cascade_core::key::BlockKey;
use cascade_core::piece::PieceId;
use cascade_tier::Record;
use hashbrown::{DefaultHashBuilder, HashTable};

/// The number of no block.
const NONE: u32 = u32::MAX;

/// The blocks that a store tells of, and their parents. Blocks have numbers, from 0 on, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Lineages {
    blocks: Vec<Block>,
    numbers: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

#[derive(Clone, Copy, Debug)]
struct Block {
    key: BlockKey,
    parent: u32,
    /// A piece of it was told of; else it is known as a parent only.
    is_told: bool,
    /// It is the root of a namespace that describes itself.
    is_described: bool,
    /// A block right behind a root names it as its parent.
    is_root: bool,
}

/// Where a chain begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Beginning {
    /// In the namespace with this root.
    Namespace(BlockKey),
    /// With a block that belongs to no namespace.
    Nothing,
    /// With blocks that are not in the store.
    Elsewhere,
}

/// Whether it is the piece by which a namespace describes itself.
pub(super) fn is_description(id: &PieceId) -> bool {
    *id == PieceId::description(id.key)
}

impl Lineages {
    /// Takes a piece in; returns the number of its block.
    pub(super) fn take(&mut self, record: &Record) -> usize {
        let id = PieceId::from(record.piece);
        let number = self.number(id.key) as usize;
        let parent = BlockKey::from_bytes(record.place.parent);
        let parent = if parent == BlockKey::ROOT { NONE } else { self.number(parent) };
        if parent != NONE && record.place.depth <= 1 {
            self.blocks[parent as usize].is_root = true;
        }
        let block = &mut self.blocks[number];
        block.is_described |= is_description(&id);
        if !std::mem::replace(&mut block.is_told, true) {
            block.parent = parent;
        }
        number
    }

    /// Where the chain of a block begins, as far as pieces were taken in.
    pub(super) fn beginning(&mut self, number: usize) -> Beginning {
        let Some(trunk) = self.trunk(number) else { return Beginning::Elsewhere };
        let Block { key, is_told, is_described, is_root, .. } = self.blocks[trunk];
        if is_described || (is_root && !is_told) {
            Beginning::Namespace(key)
        } else if is_told {
            Beginning::Nothing
        } else {
            Beginning::Elsewhere
        }
    }

    /// The block that the chain of this one begins with, as far as it is known; `None` for a circle.
    fn trunk(&mut self, mut at: usize) -> Option<usize> {
        for _ in 0..self.blocks.len() {
            let parent = self.blocks[at].parent;
            if parent == NONE {
                return Some(at);
            }
            // Every look makes the next one shorter.
            let above = self.blocks[parent as usize].parent;
            if above != NONE {
                self.blocks[at].parent = above;
            }
            at = parent as usize;
        }
        None
    }

    fn number(&mut self, key: BlockKey) -> u32 {
        let (blocks, hasher) = (&mut self.blocks, &self.hasher);
        let hash = hasher.hash_one(key);
        if let Some(&number) = self.numbers.find(hash, |&number| blocks[number as usize].key == key) {
            return number;
        }
        let number = blocks.len() as u32;
        blocks.push(Block { key, parent: NONE, is_told: false, is_described: false, is_root: false });
        self.numbers.insert_unique(hash, number, |&other| hasher.hash_one(blocks[other as usize].key));
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cascade_tier::Place;

    fn key(byte: u8) -> BlockKey {
        BlockKey::from_bytes([byte; 32])
    }

    /// A piece of the block named by `byte`; 0 is no parent.
    fn piece(byte: u8, parent: u8, depth: u32) -> Record {
        let id = PieceId { key: key(byte), rank: 0, group: 0 };
        Record { piece: id.into(), place: Place { parent: [parent; 32], depth }, ..Record::default() }
    }

    fn description(byte: u8) -> Record {
        Record { piece: PieceId::description(key(byte)).into(), ..Record::default() }
    }

    /// Where the chains of the last of these begin.
    fn beginning(records: &[Record]) -> Beginning {
        let mut lineages = Lineages::default();
        let numbers: Vec<usize> = records.iter().map(|record| lineages.take(record)).collect();
        lineages.beginning(*numbers.last().unwrap())
    }

    #[test]
    fn a_chain_belongs_to_the_namespace_that_it_hangs_in_in_whatever_order_it_is_told() {
        let root = Beginning::Namespace(key(9));
        assert_eq!(beginning(&[description(9), piece(1, 9, 1), piece(2, 1, 2), piece(3, 2, 3)]), root);
        assert_eq!(beginning(&[piece(2, 1, 2), piece(1, 9, 1), description(9), piece(3, 2, 3)]), root);
        assert_eq!(beginning(&[description(9)]), root);
    }

    #[test]
    fn a_root_that_nothing_describes_is_known_by_the_first_blocks_behind_it() {
        assert_eq!(beginning(&[piece(1, 9, 1), piece(2, 1, 2)]), Beginning::Namespace(key(9)));
    }

    #[test]
    fn what_hangs_in_no_namespace_is_told_from_what_hangs_in_blocks_that_are_gone() {
        assert_eq!(beginning(&[piece(1, 0, 0), piece(2, 1, 1)]), Beginning::Nothing);
        assert_eq!(beginning(&[piece(3, 2, 2), piece(4, 3, 3)]), Beginning::Elsewhere);
    }

    #[test]
    fn a_circle_of_parents_ends() {
        assert_eq!(beginning(&[piece(1, 2, 5), piece(2, 3, 5), piece(3, 1, 5)]), Beginning::Elsewhere);
        assert_eq!(beginning(&[piece(1, 1, 1)]), Beginning::Elsewhere);
    }

    #[test]
    fn long_chains_cost_each_block_once() {
        let mut lineages = Lineages::default();
        let block = |index: u32| {
            let mut key = [1; 32];
            key[..4].copy_from_slice(&index.to_le_bytes());
            key
        };
        lineages.take(&description(9));
        let numbers: Vec<usize> = (0..100_000)
            .map(|index| {
                let parent = if index == 0 { [9; 32] } else { block(index - 1) };
                let piece = PieceId { key: BlockKey::from_bytes(block(index)), rank: 0, group: 0 }.into();
                lineages.take(&Record {
                    piece,
                    place: Place { parent, depth: index + 1 },
                    ..Record::default()
                })
            })
            .collect();
        assert!(
            numbers.iter().rev().all(|&number| lineages.beginning(number) == Beginning::Namespace(key(9)))
        );
    }
}
