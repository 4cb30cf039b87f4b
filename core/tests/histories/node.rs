//! A pretend node: grants, publishes, evicts, buries clients, and takes a segment over from its killed predecessor.

use crate::world::{CLIENTS, id, key_of, load};
use cascade_core::arena::Arena;
use cascade_core::catalog::{Catalog, Evicted, Inserted};
use cascade_core::hazard::Scan;
use cascade_core::index::Location;
use cascade_core::key::BlockKey;
use cascade_core::page::Page;
use cascade_core::policy::BlockId;
use cascade_core::request::{REQUEST_WORDS, Request};
use cascade_core::segment::Segment;
use cascade_core::slot::{Event, Line, SlotRef, State};
use cascade_core::sync::Ordering;

/// Slots that a lane may hold ahead of need.
const AHEAD: usize = 2;

pub(crate) struct Node<'m> {
    segment: Segment<'m>,
    arena: Arena,
    catalog: Catalog,
    revoked: Vec<SlotRef>,
}

impl<'m> Node<'m> {
    /// Starts on a new segment, or on one that a killed node left behind: lines and chunk words tell everything.
    pub(crate) fn start(segment: Segment<'m>) -> Self {
        let mut arena = Arena::new(segment.geometry(), 0);
        let mut node = Self { segment, arena: arena.clone(), catalog: Catalog::new(), revoked: Vec::new() };
        let per_chunk = segment.geometry().slots_per_chunk() as u32;
        for chunk in 0..arena.chunks() {
            let slot_bytes = segment.chunk_word(0, chunk).unwrap().load(Ordering::Acquire);
            let slots = chunk * per_chunk..(chunk + 1) * per_chunk;
            let taken: Vec<u32> = slots.filter(|&slot| node.adopt(slot)).collect();
            arena.adopt(chunk, slot_bytes, &taken);
            if taken.is_empty() {
                segment.chunk_word(0, chunk).unwrap().store(0, Ordering::Release);
            }
        }
        node.arena = arena;
        node
    }

    /// Takes over one slot; `true` if it is in use.
    fn adopt(&mut self, slot: u32) -> bool {
        let line = self.line(slot);
        let found = line.snapshot().expect("a state word is a state");
        let at = SlotRef { arena: 0, slot, generation: found.generation };
        match found.state {
            State::Free => return false,
            State::Ready => self.insert(at),
            State::Granted | State::Loading | State::Retired => (),
            State::Revoked => self.revoked.push(at),
            State::Draining => unreachable!("these histories kill the node between its steps"),
        }
        true
    }

    /// Hands slots for pieces like `key` out, evicting nothing.
    pub(crate) fn grant(&mut self, client: usize, key: usize) {
        let len_bytes = crate::world::bytes_of(key, 0).len() as u64;
        let slot_bytes = self.segment.geometry().slot_bytes(len_bytes).unwrap();
        let page = self.page(client);
        let lane = page.lane_for(slot_bytes).unwrap_or_else(|| {
            let lane = page.lane_for(0).expect("there are more lanes than sizes");
            lane.assign(slot_bytes);
            lane
        });
        while lane.outstanding() < AHEAD {
            let Some(taken) = self.arena.take(slot_bytes) else { return };
            if let Some(chunk) = taken.cut {
                self.segment.chunk_word(0, chunk).unwrap().store(slot_bytes, Ordering::Release);
            }
            let granted = self.line(taken.slot).step(Event::Grant { client: client as u16 }).unwrap();
            assert!(lane.hand_out(SlotRef { arena: 0, slot: taken.slot, generation: granted.generation }));
        }
    }

    /// Does what a client asked.
    pub(crate) fn pump(&mut self, client: usize) {
        let ring = self.page(client).ring();
        while ring.pending().expect("no client lies here") > 0 {
            match Request::decode(&ring.peek::<REQUEST_WORDS>()).expect("no client lies here") {
                Request::Commit { slot, meta, parent, .. } => {
                    let line = self.line(slot.slot);
                    if self.catalog.slot(&meta.id).is_some() {
                        self.revoke(slot);
                    } else {
                        line.describe(&meta);
                        self.segment
                            .lineage(0, slot.slot)
                            .unwrap()
                            .store(parent.fingerprint(), Ordering::Relaxed);
                        line.step(Event::Publish).unwrap();
                        let at = Location { arena: 0, slot: slot.slot };
                        self.segment.index().insert(meta.id.hash(self.segment.geometry().seed), at).unwrap();
                        self.insert(slot);
                    }
                }
                Request::Abort { slot } => self.revoke(slot),
                other => panic!("nobody asks for {other:?} here"),
            }
            ring.done();
        }
    }

    /// Evicts one of the leaves that nobody claims, and tells which.
    pub(crate) fn evict(&mut self, pick: usize) -> Option<usize> {
        let leaves: Vec<BlockId> = self.catalog.iter().filter(|&block| self.catalog.is_leaf(block)).collect();
        for i in 0..leaves.len() {
            let block = leaves[(pick % leaves.len() + i) % leaves.len()];
            let at = self.catalog.pieces(block).next().expect("a resident block has a piece").slot;
            let line = self.line(at.slot);
            line.step(Event::Drain).unwrap();
            if self.scan().names(at) {
                line.step(Event::Restore).unwrap();
                continue;
            }
            let key = self.catalog.key(block).as_bytes()[0] as usize - 1;
            let place = Location { arena: 0, slot: at.slot };
            assert!(self.segment.index().remove(id(key).hash(self.segment.geometry().seed), place));
            assert_eq!(self.catalog.evict(&id(key)), Evicted::Block(block));
            self.reclaim(at);
            return Some(key);
        }
        None
    }

    /// Makes revoked slots free that nobody reads any more.
    pub(crate) fn reclaim_revoked(&mut self) {
        let scan = self.scan();
        let (read, unread) = self.revoked.drain(..).partition(|&at| scan.names(at));
        self.revoked = read;
        let unread: Vec<SlotRef> = unread;
        unread.into_iter().for_each(|at| self.reclaim(at));
    }

    /// Takes everything back that a dead client had.
    pub(crate) fn bury(&mut self, client: usize) {
        self.pump(client);
        let page = self.page(client);
        page.clear();
        for slot in 0..self.segment.geometry().slots_total() as u32 {
            let found = self.line(slot).snapshot().unwrap();
            if found.state == State::Granted && usize::from(found.client) == client {
                self.revoke(SlotRef { arena: 0, slot, generation: found.generation });
            }
        }
        self.reclaim_revoked();
    }

    /// What is resident, in order.
    pub(crate) fn resident(&self) -> Vec<usize> {
        let mut keys: Vec<usize> =
            self.catalog.iter().map(|block| self.catalog.key(block).as_bytes()[0] as usize - 1).collect();
        keys.sort_unstable();
        keys
    }

    /// The bytes of a resident block.
    pub(crate) fn bytes(&self, key: usize) -> Option<Vec<u8>> {
        let at = self.catalog.slot(&id(key))?;
        let (generation, meta) = self.line(at.slot).read()?;
        assert_eq!((generation, meta.id), (at.generation, id(key)));
        Some(load(self.segment.bytes(at, meta.len_bytes)?, meta.len_bytes))
    }

    /// Each slot is in one book exactly: Ready in the catalog and the index, Granted to somebody, Revoked, or free.
    pub(crate) fn check_books(&self) {
        let mut in_use = 0;
        for slot in 0..self.segment.geometry().slots_total() as u32 {
            let found = self.line(slot).snapshot().unwrap();
            let at = SlotRef { arena: 0, slot, generation: found.generation };
            match found.state {
                State::Free => continue,
                State::Ready => {
                    let key = key_of(&self.line(slot).meta().id);
                    assert_eq!(self.catalog.slot(&id(key)), Some(at));
                }
                State::Granted => (),
                State::Revoked => assert!(self.revoked.contains(&at)),
                other => panic!("slot {slot} is left {other:?}"),
            }
            in_use += self.segment.extent(0, slot).expect("a slot in use lies in a slab").1;
        }
        assert_eq!(self.segment.index().entries().count(), self.catalog.pieces_total());
        let tails: u64 = (0..self.arena.chunks())
            .filter_map(|chunk| self.arena.slab(chunk))
            .map(|(b, _)| (32 << 10) % b)
            .sum();
        assert_eq!(self.arena.free_bytes() + in_use + tails, self.arena.backed_bytes());
    }

    /// Nothing is left over.
    pub(crate) fn check_empty(&self) {
        assert_eq!(self.resident(), []);
        assert_eq!(self.segment.index().entries().count(), 0);
        assert_eq!(self.revoked, []);
        assert_eq!(self.arena.free_bytes(), self.arena.backed_bytes());
    }

    fn insert(&mut self, at: SlotRef) {
        let meta = self.line(at.slot).meta();
        let parent = self.parent_of(at.slot);
        let inserted = self.catalog.insert(&meta.id, &parent, at);
        assert!(matches!(inserted, Inserted::Block(_)), "{inserted:?}");
    }

    /// The parent that the lineage of a slot names; the histories know all keys by their fingerprints.
    fn parent_of(&self, slot: u32) -> BlockKey {
        let fingerprint = self.segment.lineage(0, slot).unwrap().load(Ordering::Relaxed);
        let mut keys = (0..crate::world::KEYS).map(|key| id(key).key);
        keys.find(|key| key.fingerprint() == fingerprint).unwrap_or(BlockKey::ROOT)
    }

    fn revoke(&mut self, at: SlotRef) {
        self.line(at.slot).step(Event::Revoke).unwrap();
        self.revoked.push(at);
    }

    fn reclaim(&mut self, at: SlotRef) {
        self.line(at.slot).step(Event::Reclaim).unwrap();
        if self.arena.give(at.slot) {
            let chunk = u64::from(at.slot) / self.segment.geometry().slots_per_chunk();
            self.segment.chunk_word(0, chunk as u32).unwrap().store(0, Ordering::Release);
        }
    }

    fn scan(&self) -> Scan {
        let mut scan = Scan::new(Vec::new());
        for client in 0..CLIENTS {
            self.page(client).claims().into_iter().for_each(|cells| scan.add(cells));
        }
        scan.finish();
        scan
    }

    fn page(&self, client: usize) -> Page<'m> {
        self.segment.page(client as u16).unwrap()
    }

    fn line(&self, slot: u32) -> Line<'m> {
        self.segment.line(0, slot).unwrap()
    }
}
