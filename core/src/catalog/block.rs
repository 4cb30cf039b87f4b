//! One block of the catalog: its place in the forest, and where the copies of its pieces lie.
//!
//! Invariants: each piece is named once, and none lies nowhere; the first piece is there if any is.

use crate::key::BlockKey;
use crate::piece::PieceId;
use crate::residency::{self, Event, Residency};
use crate::slot::SlotRef;
use alloc::boxed::Box;
use core::mem::size_of;

/// The number of no block.
pub(super) const NONE: u32 = u32::MAX;

/// One piece of a block, and where it lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Tensor-parallel rank.
    pub rank: u16,
    /// KV group.
    pub group: u16,
    /// Where it lies.
    pub slot: SlotRef,
}

/// One piece of a block, and where all its copies lie; never nowhere.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    rank: u16,
    group: u16,
    pub(super) residency: Residency,
}

impl Entry {
    pub(super) fn id(&self, key: BlockKey) -> PieceId {
        PieceId { key, rank: self.rank, group: self.group }
    }

    fn is(&self, id: &PieceId) -> bool {
        (self.rank, self.group) == (id.rank, id.group)
    }

    fn in_memory(&self) -> Option<Piece> {
        self.residency.slot().map(|slot| Piece { rank: self.rank, group: self.group, slot })
    }
}

/// A block, and its relatives by their numbers in the book.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) key: BlockKey,
    pub(super) parent: u32,
    pub(super) first_child: u32,
    pub(super) next_sibling: u32,
    pub(super) previous_sibling: u32,
    first_piece: Option<Entry>,
    /// Most blocks have one piece: no spare room, and a word less than a vector takes.
    more_pieces: Box<[Entry]>,
}

// Ten million blocks of one piece are 880 MB of this.
const _: () = assert!(size_of::<Block>() == 88);

impl Block {
    /// A block with neither pieces nor relatives.
    pub(super) fn new(key: BlockKey) -> Self {
        Self {
            key,
            parent: NONE,
            first_child: NONE,
            next_sibling: NONE,
            previous_sibling: NONE,
            first_piece: None,
            more_pieces: Box::default(),
        }
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.first_piece.iter().chain(&self.more_pieces)
    }

    /// The pieces that are in memory.
    pub(super) fn in_memory(&self) -> impl Iterator<Item = Piece> + '_ {
        self.entries().filter_map(Entry::in_memory)
    }

    /// Whether a piece of it is in memory.
    pub(super) fn is_resident(&self) -> bool {
        self.in_memory().next().is_some()
    }

    /// Whether a piece of it has a copy anywhere.
    pub(super) fn has_pieces(&self) -> bool {
        self.first_piece.is_some()
    }

    /// Whether all that is in memory may leave.
    pub(super) fn may_leave(&self) -> bool {
        let mut in_memory = self.entries().filter(|entry| entry.in_memory().is_some());
        in_memory.all(|entry| residency::next(entry.residency, Event::Evict).is_some())
    }

    /// Where the copies of a piece lie.
    pub(super) fn residency(&self, id: &PieceId) -> Residency {
        self.entries().find(|entry| entry.is(id)).map_or(Residency::Absent, |entry| entry.residency)
    }

    /// Notes where a piece lies from now on; a piece that lies nowhere is forgotten.
    pub(super) fn set(&mut self, id: &PieceId, residency: Residency) {
        let mut entries = self.first_piece.iter_mut().chain(&mut self.more_pieces);
        match entries.find(|entry| entry.is(id)) {
            Some(entry) if residency != Residency::Absent => entry.residency = residency,
            Some(_) => self.forget(id),
            None => self.add(Entry { rank: id.rank, group: id.group, residency }),
        }
    }

    fn add(&mut self, entry: Entry) {
        if self.first_piece.is_none() {
            self.first_piece = Some(entry);
        } else {
            self.more_pieces = self.more_pieces.iter().copied().chain([entry]).collect();
        }
    }

    fn forget(&mut self, id: &PieceId) {
        let mut others = self.entries().filter(|entry| !entry.is(id)).copied();
        let first = others.next();
        let more = others.collect();
        (self.first_piece, self.more_pieces) = (first, more);
    }
}
