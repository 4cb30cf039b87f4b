//! What the segment holds, and the verbs that change it: grant, publish, take back, touch.
//!
//! The store couples the shared words (slot lines, index) with the node's own books (arenas, catalog, policy) and keeps
//! them in step. It does no I/O and knows no sockets. Invariants: a slot is in at most one of these: an arena's free
//! slots, the granted of one client, the catalog, the lingering, the loading, a promotion's; the index names exactly the pieces
//! that the catalog has in memory; eviction takes leaves only, so a claim on the tail of a chain claims the chain.

use std::collections::{HashMap, HashSet};

use cascade_core::arena::Arena;
use cascade_core::catalog::{Catalog, Inserted};
use cascade_core::hazard::Scan;
use cascade_core::index::Location;
use cascade_core::key::BlockKey;
use cascade_core::piece::{PieceId, PieceMeta};
use cascade_core::policy::{Arrival, BlockId, Policy, Request};
use cascade_core::request::Verdict;
use cascade_core::residency::Residency;
use cascade_core::segment::Segment;
use cascade_core::slot::{Event, Line, SlotRef, State};
use cascade_core::stored::{Book, ExtentWords};
use cascade_core::sync::Ordering;
use cascade_core::tally::Totals;
use cascade_core::touch::Touch;

use super::counters::Counters;
use super::keep::Keep;
use super::spare::Spares;

/// Attempts to place a piece whose two buckets are full, each of which evicts one of the sixteen pieces in them.
const BUCKET_EVICTIONS_MAX: usize = 4;

/// Matched tails that are remembered until somebody reads on from them; more than come in a turn are not.
const MATCHED_TAILS_MAX: usize = 16;

/// The content of a segment.
pub struct Store {
    pub(super) segment: Segment<'static>,
    pub(super) arenas: Vec<(u8, Arena)>,
    pub(super) catalog: Catalog,
    pub(super) policy: Box<dyn Policy>,
    pub(super) counters: Counters,
    /// What clients counted that have left.
    former_tallies: Totals,
    /// Pages whose claims are looked at: all that have an owner.
    pub(super) pages: Vec<u16>,
    pub(super) granted: HashMap<u16, HashSet<SlotRef>>,
    /// The arena whose memory is near a client, where that is known.
    near: HashMap<u16, u8>,
    /// Revoked slots that somebody may still read.
    pub(super) lingering: Vec<SlotRef>,
    /// Slots into which a tier wrote when the former owner died; in no other book.
    pub(super) loading: Vec<SlotRef>,
    /// Chains that the node keeps in memory for clients.
    pub(super) keeps: Vec<Keep>,
    /// What lower tiers have.
    pub(super) stored: Book,
    /// Bytes of the pieces in memory that are below as well.
    pub(super) clean_bytes: u64,
    /// How many these are.
    pub(super) clean_pieces: usize,
    /// Bytes of the pieces that a tier is reading.
    pub(super) leaving_bytes: u64,
    /// Bytes of the slots that a tier is writing.
    pub(super) arriving_bytes: u64,
    /// Slots that a tier is reading.
    pub(super) read_by_tier: HashSet<SlotRef>,
    /// Of these, the slots whose piece was dropped meanwhile.
    pub(super) dropped_on_the_way: HashSet<SlotRef>,
    /// Pieces that are being brought from a place that was lost meanwhile.
    pub(super) lost_on_the_way: HashSet<PieceId>,
    /// What is to be removed below, because its piece was dropped.
    pub(super) removals: Vec<ExtentWords>,
    /// Which victims cost least.
    pub(super) spares: Spares,
    /// Tails of chains that were matched, and that go on below.
    pub(super) matched_tails: Vec<BlockKey>,
    /// Blocks that were published, for who writes them below at once; `None` if nobody does.
    pub(super) fresh: Option<Vec<BlockId>>,
    /// Nothing new is admitted any more: the node is about to end.
    pub(super) is_draining: bool,
    /// Blocks that were adopted without their parents, by the parent's fingerprint.
    pub(super) orphans: HashMap<u64, Vec<BlockKey>>,
    pub(super) scan_buffer: Vec<u64>,
    requests: u64,
    chain: Vec<BlockId>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("blocks", &self.catalog.len()).finish_non_exhaustive()
    }
}

impl Store {
    /// An empty store over a segment.
    pub fn new(segment: Segment<'static>, policy: Box<dyn Policy>) -> Self {
        let geometry = segment.geometry();
        let arenas = geometry.arenas().map(|arena| (arena, Arena::new(geometry, arena))).collect();
        Self {
            segment,
            arenas,
            catalog: Catalog::new(),
            policy,
            counters: Counters::default(),
            former_tallies: Totals::default(),
            pages: Vec::new(),
            granted: HashMap::new(),
            near: HashMap::new(),
            lingering: Vec::new(),
            loading: Vec::new(),
            keeps: Vec::new(),
            stored: Book::new(),
            clean_bytes: 0,
            clean_pieces: 0,
            leaving_bytes: 0,
            arriving_bytes: 0,
            read_by_tier: HashSet::new(),
            dropped_on_the_way: HashSet::new(),
            lost_on_the_way: HashSet::new(),
            removals: Vec::new(),
            spares: Spares::default(),
            matched_tails: Vec::new(),
            fresh: None,
            is_draining: false,
            orphans: HashMap::new(),
            scan_buffer: Vec::new(),
            requests: 0,
            chain: Vec::new(),
        }
    }

    /// The segment.
    pub fn segment(&self) -> &Segment<'static> {
        &self.segment
    }

    /// What happened so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The client with this page may claim slots from now on.
    pub fn admit(&mut self, page: u16) {
        if !self.pages.contains(&page) {
            self.pages.push(page);
        }
    }

    /// Grants of this client come from this arena while it has room.
    pub fn keep_near(&mut self, page: u16, arena: u8) {
        self.near.insert(page, arena);
    }

    /// The client with this page is dead: its claims are void, what it was granted comes back.
    pub fn forget(&mut self, page: u16) {
        if let Some(shared) = self.segment.page(page) {
            self.former_tallies = self.former_tallies.and(&shared.tallies().totals());
            // Its hazards and holds go first, so that nothing of its own keeps its slots lingering.
            shared.clear();
        }
        let held: Vec<SlotRef> = self.granted.get(&page).into_iter().flatten().copied().collect();
        for slot in held {
            self.take_back(page, slot);
        }
        self.granted.remove(&page);
        self.near.remove(&page);
        self.unkeep_all_of(page);
        self.pages.retain(|&other| other != page);
        self.settle();
    }

    /// What all clients counted: those that are there, since they attached, and those that left since this node took them in.
    pub fn tallies(&self) -> Totals {
        let pages = self.pages.iter().filter_map(|&page| self.segment.page(page));
        pages.fold(self.former_tallies, |sum, page| sum.and(&page.tallies().totals()))
    }

    /// A chunk has memory behind it from now on.
    pub fn back(&mut self, arena: u8, chunk: u32) {
        if let Some((_, book)) = self.arenas.iter_mut().find(|(id, _)| *id == arena)
            && !book.is_backed(chunk)
        {
            book.back(chunk);
        }
        self.fit_policy();
    }

    /// How many chunks have no memory behind them.
    pub fn unbacked_chunks(&self) -> u64 {
        let geometry = self.segment.geometry();
        geometry.chunks.iter().sum::<u64>() - self.backed_bytes() / geometry.chunk_bytes
    }

    /// Chunks without memory behind them, as (arena, chunk).
    pub fn unbacked(&self) -> impl Iterator<Item = (u8, u32)> + '_ {
        self.arenas.iter().flat_map(|(id, arena)| {
            (0..arena.chunks()).filter(|&chunk| !arena.is_backed(chunk)).map(move |chunk| (*id, chunk))
        })
    }

    /// Bytes with memory behind them.
    pub fn backed_bytes(&self) -> u64 {
        self.arenas.iter().map(|(_, arena)| arena.backed_bytes()).sum()
    }

    /// Bytes that no piece and no grant takes.
    pub fn free_bytes(&self) -> u64 {
        self.arenas.iter().map(|(_, arena)| arena.free_bytes()).sum()
    }

    /// Bytes that are free for pieces of any size.
    pub fn whole_bytes(&self) -> u64 {
        self.arenas.iter().map(|(_, arena)| arena.whole_bytes()).sum()
    }

    /// Slots of this size that can be taken at once.
    pub fn free_slots(&self, slot_bytes: u64) -> u64 {
        self.arenas.iter().map(|(_, arena)| arena.free_slots(slot_bytes)).sum()
    }

    /// Takes a free slot for a client to fill: from the arena near it, or else from the one with the most room.
    pub fn grant(&mut self, client: u16, slot_bytes: u64) -> Option<SlotRef> {
        let slot = self.take(self.near_to(client), slot_bytes, Event::Grant { client })?;
        self.granted.entry(client).or_default().insert(slot);
        Some(slot)
    }

    /// The arena whose memory is near a client, where that is known.
    pub(super) fn near_to(&self, client: u16) -> Option<u8> {
        self.near.get(&client).copied()
    }

    /// Takes a free slot for whoever is to fill it.
    pub(super) fn take(&mut self, near: Option<u8>, slot_bytes: u64, event: Event) -> Option<SlotRef> {
        let preference = |(id, arena): &&mut (u8, Arena)| {
            let free = arena.free_slots(slot_bytes);
            (free > 0 && Some(*id) == near, free)
        };
        let (id, arena) = self.arenas.iter_mut().max_by_key(preference)?;
        let taken = arena.take(slot_bytes)?;
        let id = *id;
        let chunk = (u64::from(taken.slot) / self.segment.geometry().slots_per_chunk()) as u32;
        let word = self.segment.chunk_word(id, chunk)?;
        if taken.cut.is_none() && word.load(Ordering::Relaxed) != slot_bytes {
            // Overwritten by somebody. The book is right, and a client could not locate the slot without the word.
            self.counters.damaged_chunks += 1;
        }
        // The word is there before any slot of the chunk is granted.
        word.store(slot_bytes, Ordering::Release);
        let line = self.line(id, taken.slot);
        match line.step(event) {
            Ok(snapshot) => Some(SlotRef { arena: id, slot: taken.slot, generation: snapshot.generation }),
            // Its word was overwritten by somebody: leave the slot out for good.
            Err(_) => {
                self.counters.damaged_slots += 1;
                None
            }
        }
    }

    /// Publishes what a client has filled. First wins; any verdict but `Fresh` takes the slot back.
    pub fn publish(&mut self, client: u16, slot: SlotRef, meta: &PieceMeta, parent: &BlockKey) -> Verdict {
        if !self.granted.get(&client).is_some_and(|slots| slots.contains(&slot)) {
            // A node that was killed after the commit and before it said so: the slot is published or taken back already.
            return match self.catalog.slot(&meta.id) {
                Some(there) if there == slot => Verdict::Fresh,
                Some(_) => Verdict::AlreadyPresent,
                None => Verdict::NotYours,
            };
        }
        if self.segment.bytes(slot, meta.len_bytes).is_none() {
            self.take_back(client, slot);
            return Verdict::NotYours;
        }
        if let Some(there) = self.catalog.slot(&meta.id) {
            self.counters.puts_duplicate += 1;
            if self.line(there.arena, there.slot).meta().checksum != meta.checksum {
                self.counters.put_conflicts += 1;
            }
            self.take_back(client, slot);
            return Verdict::AlreadyPresent;
        }
        let line = self.line(slot.arena, slot.slot);
        line.describe(meta);
        let fingerprint = if *parent == BlockKey::ROOT { 0 } else { parent.fingerprint() };
        if let Some(lineage) = self.segment.lineage(slot.arena, slot.slot) {
            lineage.store(fingerprint, Ordering::Relaxed);
        }
        if !self.enter(&meta.id, slot) || line.step(Event::Publish).is_err() {
            self.leave(&meta.id, slot);
            self.take_back(client, slot);
            return Verdict::NoRoom;
        }
        self.granted.entry(client).or_default().remove(&slot);
        self.counters.puts_fresh += 1;
        self.counters.put_bytes += meta.len_bytes;
        self.counters.resident_bytes += meta.len_bytes;
        let inserted = self.record(meta, parent, slot);
        if let (Some(fresh), Inserted::Block(block) | Inserted::Sibling(block)) = (&mut self.fresh, inserted)
        {
            fresh.push(block);
        }
        Verdict::Fresh
    }

    /// Takes a published piece up in the books, unless it is there.
    pub(super) fn record(&mut self, meta: &PieceMeta, parent: &BlockKey, slot: SlotRef) -> Inserted {
        let inserted = self.catalog.insert(&meta.id, parent, slot);
        let is_there = matches!(inserted, Inserted::AlreadyPresent(_));
        if !is_there && matches!(self.catalog.residency(&meta.id), Residency::Both { .. }) {
            self.became_clean(meta.len_bytes);
        }
        if let Inserted::Block(block) = inserted {
            self.spares.came(block);
            if !self.orphans.is_empty() {
                for child in self.orphans.remove(&meta.id.key.fingerprint()).into_iter().flatten() {
                    if let Some(child) = self.catalog.block(&child) {
                        self.catalog.link_orphan(child, block);
                    }
                }
            }
            let parent = self.catalog.parent(block);
            self.policy.insert(Arrival { block, fingerprint: meta.id.key.fingerprint(), parent });
            // Sizes differ and memory grows, so the capacity in blocks is looked at now and then.
            if self.catalog.len().is_multiple_of(1024) {
                self.fit_policy();
            }
        }
        inserted
    }

    /// Takes a slot back that a client will not fill, or filled in vain. It becomes free when nobody reads it.
    pub fn take_back(&mut self, client: u16, slot: SlotRef) {
        if !self.granted.entry(client).or_default().remove(&slot) {
            return;
        }
        if self.line(slot.arena, slot.slot).step(Event::Revoke).is_ok() {
            self.lingering.push(slot);
            self.settle();
        }
    }

    /// Frees the lingering slots that nobody reads any more.
    pub fn settle(&mut self) {
        if self.lingering.is_empty() {
            return;
        }
        let scan = self.scan();
        let lingering = std::mem::take(&mut self.lingering);
        for slot in lingering {
            if scan.names(slot) { self.lingering.push(slot) } else { self.reclaim(slot) }
        }
        self.scan_buffer = scan.into_buffer();
    }

    /// Notes that clients matched a chain: its blocks are younger now, the tail before the root. Returns how many.
    pub fn touch(&mut self, touch: Touch) -> usize {
        let Some(line) = self.segment.line(touch.tail.arena, touch.tail.slot) else { return 0 };
        let Some((generation, meta)) = line.read() else { return 0 };
        let Some(block) = self.catalog.block(&meta.id.key) else { return 0 };
        if generation != touch.tail.generation {
            return 0;
        }
        self.chain.clear();
        self.chain.extend(self.catalog.ancestry(block, touch.blocks as usize));
        self.chain.reverse();
        self.chain.iter().for_each(|&block| self.spares.reused(block));
        if self.matched_tails.len() < MATCHED_TAILS_MAX && self.stored.children(&meta.id.key).next().is_some()
        {
            self.matched_tails.push(meta.id.key);
        }
        self.requests += 1;
        self.counters.touched_chains += 1;
        self.counters.touched_blocks += self.chain.len() as u64;
        let blocks = self.chain.len() as u32;
        self.policy.touch(&Request { number: self.requests, matched: &self.chain, missing: &[], blocks });
        self.chain.len()
    }

    /// Notes that a chain was used up to this block, for who reads on from there.
    pub(super) fn goes_on_from(&mut self, tail: &BlockKey) {
        if self.matched_tails.len() < MATCHED_TAILS_MAX && self.stored.children(tail).next().is_some() {
            self.matched_tails.push(*tail);
        }
    }

    /// Bytes of the slot that a piece lies in.
    pub(super) fn slot_bytes(&self, slot: SlotRef) -> u64 {
        self.segment.extent(slot.arena, slot.slot).map_or(0, |(_, slot_bytes)| slot_bytes)
    }

    /// Whether a slot of this size is only waiting for its readers to leave.
    pub(super) fn lingers(&self, slot_bytes: u64) -> bool {
        self.lingering.iter().any(|&slot| self.slot_bytes(slot) == slot_bytes)
    }

    /// What clients claim at this moment, what is kept for them, and what a tier reads.
    pub(super) fn scan(&mut self) -> Scan {
        let mut scan = Scan::new(std::mem::take(&mut self.scan_buffer));
        for page in self.pages.iter().filter_map(|&page| self.segment.page(page)) {
            for cells in page.claims() {
                scan.add(cells);
            }
        }
        self.keeps.iter().for_each(|keep| scan.name(keep.slot));
        self.read_by_tier.iter().for_each(|&slot| scan.name(slot));
        scan.finish();
        scan
    }

    /// Makes a Draining or Revoked slot free, or retires it.
    pub(super) fn reclaim(&mut self, slot: SlotRef) {
        match self.line(slot.arena, slot.slot).step(Event::Reclaim) {
            Ok(snapshot) if snapshot.state == State::Free => self.give(slot),
            Ok(_) => self.counters.retired_slots += 1,
            Err(_) => self.counters.damaged_slots += 1,
        }
    }

    fn give(&mut self, slot: SlotRef) {
        let Some((_, arena)) = self.arenas.iter_mut().find(|(id, _)| *id == slot.arena) else { return };
        if arena.give(slot.slot) {
            let chunk = (u64::from(slot.slot) / self.segment.geometry().slots_per_chunk()) as u32;
            if let Some(word) = self.segment.chunk_word(slot.arena, chunk) {
                word.store(0, Ordering::Release);
            }
        }
    }

    /// The line of a slot that the node's own books name.
    pub(super) fn line(&self, arena: u8, slot: u32) -> Line<'static> {
        self.segment.line(arena, slot).expect("the books name slots of the segment only")
    }

    /// Enters a piece into the index, evicting from its full buckets if need be.
    pub(super) fn enter(&mut self, id: &PieceId, slot: SlotRef) -> bool {
        let hash = id.hash(self.segment.geometry().seed);
        let at = Location { arena: slot.arena, slot: slot.slot };
        for _ in 0..BUCKET_EVICTIONS_MAX {
            if self.segment.index().insert(hash, at).is_ok() {
                return true;
            }
            self.counters.full_buckets += 1;
            if !self.evict_neighbour(hash) {
                return false;
            }
        }
        false
    }

    /// Takes a piece out of the index.
    pub(super) fn leave(&mut self, id: &PieceId, slot: SlotRef) {
        let hash = id.hash(self.segment.geometry().seed);
        self.segment.index().remove(hash, Location { arena: slot.arena, slot: slot.slot });
    }

    /// Tells the policy how many blocks fit.
    pub(super) fn fit_policy(&mut self) {
        let backed = self.backed_bytes();
        let blocks = self.catalog.len() as u64;
        let in_use = backed - self.free_bytes().min(backed);
        let block_bytes = in_use.checked_div(blocks).unwrap_or(self.segment.geometry().granule_bytes);
        self.policy.set_capacity((backed / block_bytes.max(1)).max(1) as usize);
    }
}
