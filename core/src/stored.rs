//! The book of stored copies: behind each [`StoredId`] where a piece lies below memory, and what it is.
//!
//! The catalog says of each piece that there is a copy below, by number; here stands what it takes to load the copy, and which
//! block it is of. Copies of the blocks that follow one parent are linked, so that a chain can be followed below memory.
//! Invariants: a number names one copy until that is removed; the extent told last is the one that counts, so the loss of
//! another extent changes nothing; a copy is among its parent's children exactly while it is in the book.
//! Pinned by `core/tests/stored.rs` against a plain model.

use crate::key::BlockKey;
use crate::numbers::Numbers;
use crate::policy::BlockId;
pub use crate::residency::StoredId;
use alloc::vec::Vec;
use core::hash::BuildHasher;
use core::mem::size_of;
use hashbrown::DefaultHashBuilder;

/// The number of no copy.
const NONE: u32 = u32::MAX;

/// Where a tier put a copy: four words that only it reads.
pub type ExtentWords = [u64; 4];

/// One copy: where it lies and what it is, all but its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Where the tier has it.
    pub extent: ExtentWords,
    /// The block before its own in the chain; [`BlockKey::ROOT`] for the first.
    pub parent: BlockKey,
    /// Bytes of the piece.
    pub len_bytes: u64,
    /// Its checksum.
    pub checksum: u32,
    /// Blocks between its own and the root.
    pub depth: u32,
    /// When it was stored, in seconds since 1970.
    pub stored_unix_s: u32,
}

/// A copy, field by field: as a field of its own it would be padded.
#[derive(Clone, Debug)]
struct Entry {
    extent: ExtentWords,
    parent: BlockKey,
    len_bytes: u64,
    checksum: u32,
    depth: u32,
    stored_unix_s: u32,
    block: BlockId,
    /// The next and the previous copy with the same parent.
    next: u32,
    previous: u32,
}

// Ten million pieces are 960 MB of this, and 50 MB of the table.
const _: () = assert!(size_of::<Entry>() == 96);

impl Entry {
    fn new(block: BlockId, copy: Copy) -> Self {
        let Copy { extent, parent, len_bytes, checksum, depth, stored_unix_s } = copy;
        Self { extent, parent, len_bytes, checksum, depth, stored_unix_s, block, next: NONE, previous: NONE }
    }

    fn copy(&self) -> Copy {
        let &Self { extent, parent, len_bytes, checksum, depth, stored_unix_s, .. } = self;
        Copy { extent, parent, len_bytes, checksum, depth, stored_unix_s }
    }
}

/// All stored copies.
#[derive(Clone, Debug, Default)]
pub struct Book {
    entries: Vec<Entry>,
    free: Vec<u32>,
    /// The first copy of each parent's children.
    first_children: Numbers,
    hasher: DefaultHashBuilder,
    len: usize,
    bytes: u64,
}

impl Book {
    /// An empty book.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes room for so many more copies at once.
    pub fn reserve(&mut self, copies: usize) {
        let (entries, hasher) = (&self.entries, &self.hasher);
        self.first_children.reserve(copies, |&at| hasher.hash_one(entries[at as usize].parent));
        self.entries.reserve(copies.saturating_sub(self.free.len()));
    }

    /// Copies in the book.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of all copies.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of memory that the book takes.
    pub fn memory_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
            + self.free.capacity() * size_of::<u32>()
            + self.first_children.memory_bytes()
    }

    /// A tier has a piece of `block`.
    pub fn insert(&mut self, block: BlockId, copy: Copy) -> StoredId {
        let entry = Entry::new(block, copy);
        let at = match self.free.pop() {
            Some(at) => {
                self.entries[at as usize] = entry;
                at
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as u32
            }
        };
        self.link(at);
        self.len += 1;
        self.bytes += copy.len_bytes;
        StoredId(at)
    }

    /// What is known of a copy.
    ///
    /// # Panics
    /// If the number never named one. One that was removed may name another by now: the catalog names none of those.
    pub fn get(&self, id: StoredId) -> Copy {
        self.entries[id.0 as usize].copy()
    }

    /// The block that a copy is a piece of.
    ///
    /// # Panics
    /// As [`Book::get`].
    pub fn block(&self, id: StoredId) -> BlockId {
        self.entries[id.0 as usize].block
    }

    /// Says which block a copy is a piece of, where that was not known when it was entered.
    ///
    /// # Panics
    /// As [`Book::get`].
    pub fn place(&mut self, id: StoredId, block: BlockId) {
        self.entries[id.0 as usize].block = block;
    }

    /// A tier tells of the piece again: from now on this is where it lies. Returns what counted before.
    ///
    /// # Panics
    /// As [`Book::get`].
    pub fn replace(&mut self, id: StoredId, copy: Copy) -> Copy {
        let before = self.get(id);
        self.bytes = self.bytes - before.len_bytes + copy.len_bytes;
        self.unlink(id.0);
        self.entries[id.0 as usize] = Entry::new(self.block(id), copy);
        self.link(id.0);
        before
    }

    /// The copy is gone.
    ///
    /// # Panics
    /// As [`Book::get`].
    pub fn remove(&mut self, id: StoredId) -> Copy {
        self.unlink(id.0);
        self.free.push(id.0);
        let copy = self.get(id);
        self.len -= 1;
        self.bytes -= copy.len_bytes;
        copy
    }

    /// The copies of the blocks that follow `parent`, a block's pieces in any order.
    pub fn children(&self, parent: &BlockKey) -> impl Iterator<Item = StoredId> + '_ {
        let next = |&at: &u32| Some(self.entries[at as usize].next).filter(|&next| next != NONE);
        core::iter::successors(self.first_child(parent), next).map(StoredId)
    }

    fn first_child(&self, parent: &BlockKey) -> Option<u32> {
        let is_it = |&at: &u32| self.entries[at as usize].parent == *parent;
        self.first_children.find(self.hasher.hash_one(parent), is_it)
    }

    fn link(&mut self, at: u32) {
        let parent = self.entries[at as usize].parent;
        let hash = self.hasher.hash_one(parent);
        let (entries, hasher) = (&self.entries, &self.hasher);
        let is_it = |&other: &u32| entries[other as usize].parent == parent;
        match self.first_children.find_mut(hash, is_it) {
            Some(first) => {
                let next = core::mem::replace(first, at);
                self.entries[at as usize].next = next;
                self.entries[at as usize].previous = NONE;
                self.entries[next as usize].previous = at;
            }
            None => {
                let rehash = |&other: &u32| hasher.hash_one(entries[other as usize].parent);
                self.first_children.insert(hash, at, rehash);
                (self.entries[at as usize].next, self.entries[at as usize].previous) = (NONE, NONE);
            }
        }
    }

    fn unlink(&mut self, at: u32) {
        let Entry { next, previous, parent, .. } = self.entries[at as usize];
        if next != NONE {
            self.entries[next as usize].previous = previous;
        }
        if previous != NONE {
            self.entries[previous as usize].next = next;
            return;
        }
        // The first of its parent's: another takes its place in the table, or the place goes.
        if let Some(mut first) =
            self.first_children.find_entry(self.hasher.hash_one(parent), |&first| first == at)
        {
            if next == NONE {
                first.remove();
            } else {
                *first.get_mut() = next;
            }
        }
    }
}
