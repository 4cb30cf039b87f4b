//! A pretend client: puts, gets, pins and holds, through its page alone.

use crate::world::{before, bytes_of, id, load, meta_of, store};
use cascade_core::hazard::{Reader, protect, release};
use cascade_core::key::BlockKey;
use cascade_core::page::Page;
use cascade_core::piece::seal;
use cascade_core::request::Request;
use cascade_core::segment::Segment;
use cascade_core::slot::{SlotRef, State};
use cascade_core::sync::AtomicU64;

/// A slot that a claim keeps, and what it held when the claim was made.
struct Kept {
    key: usize,
    at: SlotRef,
    bytes: Vec<u8>,
}

/// A pin or a hold: its cell, and the slots that it keeps.
struct Claim<'m> {
    cell: &'m AtomicU64,
    is_pin: bool,
    index: usize,
    kept: Vec<Kept>,
}

pub(crate) struct Client<'m> {
    segment: Segment<'m>,
    page: Page<'m>,
    claims: Vec<Claim<'m>>,
}

impl<'m> Client<'m> {
    pub(crate) fn attach(segment: Segment<'m>, index: usize) -> Self {
        Self { segment, page: segment.page(index as u16).unwrap(), claims: Vec::new() }
    }

    /// Whether it had a grant to put into.
    pub(crate) fn put(&mut self, key: usize, version: u64) -> bool {
        let bytes = bytes_of(key, version);
        let Some(slot) = self.take(key) else { return false };
        store(self.segment.bytes(slot, bytes.len() as u64).expect("a grant fits its lane's size"), &bytes);
        let parent = before(key).map_or(BlockKey::ROOT, |parent| id(parent).key);
        let commit = Request::Commit { slot, meta: meta_of(key, &bytes), parent, ticket: None };
        assert!(self.page.ring().push(&commit.encode()).is_some());
        true
    }

    pub(crate) fn take_and_forget(&mut self, key: usize) {
        if let Some(slot) = self.take(key) {
            store(self.segment.bytes(slot, 8).unwrap(), &[0xff; 8]);
        }
    }

    pub(crate) fn take_and_abort(&mut self, key: usize) {
        if let Some(slot) = self.take(key) {
            assert!(self.page.ring().push(&Request::Abort { slot }.encode()).is_some());
        }
    }

    /// The bytes of a hit. With `keep`, the pin stays.
    pub(crate) fn get(&mut self, key: usize, keep: bool) -> Option<Vec<u8>> {
        let (cell, index) = self.free_cell(true);
        let at = self.pin(cell, key)?;
        let bytes = self.read(at, key);
        if keep {
            let kept = vec![Kept { key, at, bytes: bytes.clone() }];
            self.claims.push(Claim { cell, is_pin: true, index, kept });
        } else {
            release(cell);
        }
        Some(bytes)
    }

    /// Holds the chain that ends with `key`. Whether its tail is resident.
    pub(crate) fn hold(&mut self, key: usize) -> bool {
        let (cell, index) = self.free_cell(false);
        let Some(tail) = self.pin(cell, key) else { return false };
        // Only under the hold are the blocks before it looked up; the first that is missing ends the chain.
        let mut kept = vec![Kept { key, at: tail, bytes: self.read(tail, key) }];
        let mut at = before(key);
        while let Some(key) = at {
            let Some(slot) = self.find(key) else { break };
            kept.push(Kept { key, at: slot, bytes: self.read(slot, key) });
            at = before(key);
        }
        self.claims.push(Claim { cell, is_pin: false, index, kept });
        true
    }

    pub(crate) fn release_oldest(&mut self) {
        if !self.claims.is_empty() {
            release(self.claims.remove(0).cell);
        }
    }

    /// Whether a claim of this client keeps the block.
    pub(crate) fn claims(&self, key: usize) -> bool {
        self.claims.iter().any(|claim| claim.kept.iter().any(|kept| kept.key == key))
    }

    /// What is claimed stands where it stood, with the bytes that it had.
    pub(crate) fn check_claims(&self) {
        for kept in self.claims.iter().flat_map(|claim| &claim.kept) {
            let ready = self.segment.line(0, kept.at.slot).unwrap().ready_with(&id(kept.key));
            assert_eq!(ready, Some(kept.at.generation), "a claimed slot was recycled");
            assert_eq!(self.read(kept.at, kept.key), kept.bytes);
        }
    }

    fn take(&self, key: usize) -> Option<SlotRef> {
        let slot_bytes = self.segment.geometry().slot_bytes(bytes_of(key, 0).len() as u64)?;
        self.page.lane_for(slot_bytes)?.take()
    }

    fn pin(&self, cell: &AtomicU64, key: usize) -> Option<SlotRef> {
        let at = self.find(key)?;
        let line = self.segment.line(at.arena, at.slot)?;
        let pinned = protect(cell, at, line.state_word(), Reader::Anyone);
        assert!(!pinned || line.names(&id(key)));
        pinned.then_some(at)
    }

    fn find(&self, key: usize) -> Option<SlotRef> {
        let hash = id(key).hash(self.segment.geometry().seed);
        self.segment.index().candidates(hash).find_map(|found| {
            let line = self.segment.line(found.arena, found.slot)?;
            let seen = line.snapshot().filter(|seen| seen.state == State::Ready && line.names(&id(key)))?;
            Some(SlotRef { arena: found.arena, slot: found.slot, generation: seen.generation })
        })
    }

    fn read(&self, at: SlotRef, key: usize) -> Vec<u8> {
        let (_, meta) =
            self.segment.line(at.arena, at.slot).unwrap().read().expect("a claimed slot is Ready");
        let bytes =
            load(self.segment.bytes(at, meta.len_bytes).expect("a piece fits its slot"), meta.len_bytes);
        assert_eq!(
            seal(&id(key), meta.len_bytes).update(&bytes).value(),
            meta.checksum,
            "wrong bytes of {key}"
        );
        bytes
    }

    fn free_cell(&self, is_pin: bool) -> (&'m AtomicU64, usize) {
        let used = |index| self.claims.iter().any(|claim| claim.is_pin == is_pin && claim.index == index);
        let index = (0..).find(|&index| !used(index)).unwrap();
        (if is_pin { self.page.hazard(index) } else { self.page.hold(index) }, index)
    }
}
