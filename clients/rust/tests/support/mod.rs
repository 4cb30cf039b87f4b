//! A node in a thread: the protocol of one, with none of its policy. It serves the real socket and the real memory through
//! core's own functions, and does on request what a node does rarely: freeze, die, come back, evict.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use cascade_client::{BlockKey, Client, Deadline, PieceId};
use cascade_core::arena::Arena;
use cascade_core::bell::Bell;
use cascade_core::chain::Located;
use cascade_core::hazard::Scan;
use cascade_core::index::Location;
use cascade_core::piece::{PieceMeta, seal};
use cascade_core::request::{Request, Ticket, Verdict};
use cascade_core::rule::{Share, Walk};
use cascade_core::segment::{ARENAS_MAX, Geometry, Segment};
use cascade_core::slot::{Event, SlotRef, State};
use cascade_core::sync::Ordering;
use cascade_core::touch::Touch;
use cascade_core::view::Region;
use cascade_core::wire::{Frame, HEADER_BYTES, Header};
use memmap2::MmapRaw;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::collections::HashMap;
use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

/// Long enough for anything that happens at all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// For what is expected not to happen.
pub(crate) const SHORT: Duration = Duration::from_millis(30);
pub(crate) const CHUNK: u64 = 1 << 20;
/// Slots that one reserve hands out.
const HANDED_OUT: usize = 4;

pub(crate) fn soon() -> Deadline {
    Deadline::after(PATIENCE)
}

pub(crate) fn id(byte: u8) -> PieceId {
    PieceId::sole(key(byte))
}

pub(crate) fn key(byte: u8) -> BlockKey {
    BlockKey::from_bytes([byte; 32])
}

/// Bytes that differ from piece to piece and from place to place.
pub(crate) fn bytes(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(31) >> 3) as u8 ^ seed).collect()
}

/// The files of a segment, which outlive the node.
pub(crate) struct Memory {
    meta: OwnedFd,
    pages: OwnedFd,
    arena: OwnedFd,
    maps: Vec<MmapRaw>,
    segment: Segment<'static>,
}

impl Memory {
    fn new(chunks: u64, pin_budget_bytes: u64) -> Self {
        static IDS: AtomicU64 = AtomicU64::new(1);
        let id = IDS.fetch_add(1, Ordering::Relaxed);
        let mut geometry = Geometry::plan(&[chunks * CHUNK], CHUNK, 4096, 4, 7);
        geometry.pin_budget_bytes = pin_budget_bytes;
        let file = |bytes: u64| {
            let file = memfd_create("cascade-test", MemfdFlags::CLOEXEC).unwrap();
            ftruncate(&file, bytes).unwrap();
            file
        };
        let (meta, pages, arena) =
            (file(geometry.meta_bytes()), file(geometry.pages_bytes()), file(geometry.arena_bytes(0)));
        let maps: Vec<_> =
            [&meta, &pages, &arena].map(|file| MmapRaw::map_raw(file.as_raw_fd()).unwrap()).into();
        let region = |map: &MmapRaw| {
            // SAFETY: the maps live as long as the segment, which does not leave `Memory`.
            unsafe { Region::new(NonNull::new(map.as_mut_ptr()).unwrap(), map.len()) }
        };
        let mut arenas = [None; ARENAS_MAX];
        arenas[0] = Some(region(&maps[2]));
        Segment::create(&geometry, region(&maps[0]), id).unwrap();
        let segment = Segment::open(region(&maps[0]), region(&maps[1]), arenas).unwrap();
        Self { meta, pages, arena, maps, segment }
    }
}

pub(crate) struct Inner {
    memory: Memory,
    arena: Arena,
    bell: OwnedFd,
    connections: Vec<UnixStream>,
    clients: Vec<(u16, u64, Option<OwnedFd>)>,
    pub(crate) touches: Vec<Touch>,
    pub(crate) suspects: Vec<SlotRef>,
    touches_seen: [u64; 4],
    considered: Option<SlotRef>,
    /// Reserves are made to wait, as by a node that has no room yet.
    pub(crate) parks: bool,
    parked: Vec<(u16, Ticket)>,
    /// Keys that clients handed over, by page.
    taken_up: HashMap<u16, Vec<BlockKey>>,
    /// What a lower tier has.
    pub(crate) below: HashMap<PieceId, Vec<u8>>,
    /// How promotions end that would need the lower tier; unless it is `None`, it brings what it has.
    pub(crate) tier_says: Option<Verdict>,
    /// Promotions whose chains are kept.
    pub(crate) kept: Vec<(u16, Ticket)>,
    /// Attachments whose page is taken back before the client can lock it.
    pub(crate) buries: usize,
    /// Owner numbers drawn.
    drawn: u64,
}

/// A running node.
pub(crate) struct Node {
    socket: PathBuf,
    state: Arc<Mutex<Inner>>,
    frozen: Arc<AtomicBool>,
    dead: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Node {
    pub(crate) fn start(chunks: u64) -> Self {
        Self::start_with(Memory::new(chunks, u64::MAX))
    }

    pub(crate) fn start_with_pin_budget(pin_budget_bytes: u64) -> Self {
        Self::start_with(Memory::new(8, pin_budget_bytes))
    }

    fn start_with(memory: Memory) -> Self {
        static NODES: AtomicU64 = AtomicU64::new(0);
        let number = NODES.fetch_add(1, Ordering::Relaxed);
        let name = format!("cascade-client-test-{}-{number}.sock", std::process::id());
        let mut arena = Arena::new(memory.segment.geometry(), 0);
        (0..arena.chunks()).for_each(|chunk| arena.back(chunk));
        let state = Inner {
            memory,
            arena,
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap(),
            connections: Vec::new(),
            clients: Vec::new(),
            touches: Vec::new(),
            suspects: Vec::new(),
            touches_seen: [0; 4],
            considered: None,
            parks: false,
            parked: Vec::new(),
            taken_up: HashMap::new(),
            below: HashMap::new(),
            tier_says: None,
            kept: Vec::new(),
            buries: 0,
            drawn: 0,
        };
        let mut node = Self {
            socket: std::env::temp_dir().join(name),
            state: Arc::new(Mutex::new(state)),
            frozen: Arc::default(),
            dead: Arc::default(),
            thread: None,
        };
        node.revive();
        node
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect_to(self.sockets(), soon()).unwrap()
    }

    pub(crate) fn sockets(&self) -> Vec<PathBuf> {
        vec![self.socket.clone()]
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, Inner> {
        self.state.lock().unwrap()
    }

    /// Stops serving, as SIGSTOP does.
    pub(crate) fn freeze(&self) {
        self.frozen.store(true, Ordering::SeqCst);
        // Whoever has the state is the last to serve.
        drop(self.state());
    }

    pub(crate) fn thaw(&self) {
        self.frozen.store(false, Ordering::SeqCst);
    }

    /// Dies as by SIGKILL: sockets close, memory stays as it is.
    pub(crate) fn kill(&mut self) {
        self.dead.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the node's thread panicked");
        }
        let _ = std::fs::remove_file(&self.socket);
        let Ok(mut state) = self.state.lock() else { return };
        state.connections.clear();
        state.parked.clear();
        state.taken_up.clear();
        state.kept.clear();
        state.clients.iter_mut().for_each(|client| client.2 = None);
    }

    /// Another node takes the segment up.
    pub(crate) fn revive(&mut self) {
        let mut state = self.state();
        state.bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap();
        state.memory.segment.epoch().fetch_add(1, Ordering::SeqCst);
        drop(state);
        let listener = UnixListener::bind(&self.socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        self.dead = Arc::default();
        let (state, frozen, dead) = (self.state.clone(), self.frozen.clone(), self.dead.clone());
        self.thread = Some(std::thread::spawn(move || {
            while !dead.load(Ordering::SeqCst) {
                let mut state = state.lock().unwrap();
                if !frozen.load(Ordering::SeqCst) {
                    state.serve(&listener);
                }
                drop(state);
                std::thread::sleep(Duration::from_micros(200));
            }
        }));
    }

    /// Another node starts with another segment at the same socket. The old memory is given back, to be kept mapped.
    pub(crate) fn begin_anew(&mut self) -> Arc<Mutex<Inner>> {
        self.kill();
        let next = Node::start_with(Memory::new(8, u64::MAX));
        let old = self.state.clone();
        self.state = next.state.clone();
        drop(next);
        self.revive();
        old
    }

    /// Waits until the node has come to everything posted so far.
    pub(crate) fn settle(&self, client: &Client) {
        client.flush(soon()).unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Inner {
    fn serve(&mut self, listener: &UnixListener) {
        while let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(false).unwrap();
            self.answer_connection(stream);
        }
        for (page, _, bell) in &self.clients {
            let shared = self.memory.segment.page(*page).unwrap();
            let touches = &mut self.touches;
            let seen = &mut self.touches_seen[usize::from(*page)];
            *seen = shared.touches().read(*seen, |touch| touches.push(touch));
            while shared.ring().pending().unwrap() > 0 {
                let request = Request::decode(&shared.ring().peek()).unwrap();
                let answer = match request {
                    Request::Keys { first, count } => {
                        let keys = self.taken_up.entry(*page).or_default();
                        keys.truncate(first as usize);
                        match keys.len() == first as usize {
                            true => keys.extend(shared.chain().keys(count as usize)),
                            false => keys.clear(),
                        }
                        None
                    }
                    Request::Locate(question) | Request::Promote(question)
                        if !self.parks || matches!(request, Request::Locate(_)) =>
                    {
                        let keys = self.taken_up.remove(page).unwrap_or_default();
                        let keys = if keys.len() == question.blocks as usize { keys } else { Vec::new() };
                        let shares = shared.chain().shares(question.shares as usize).collect();
                        let chain = (keys, shares);
                        let (verdict, located) = match request {
                            Request::Locate(_) => {
                                (Verdict::Located, locate(&self.memory.segment, &self.below, &chain))
                            }
                            _ => {
                                self.kept.push((*page, question.ticket));
                                promote(
                                    &self.memory.segment,
                                    &mut self.arena,
                                    &self.below,
                                    self.tier_says,
                                    &chain,
                                )
                            }
                        };
                        shared.completion(question.ticket).unwrap().answer_with(
                            question.ticket,
                            verdict,
                            located,
                        );
                        None
                    }
                    Request::Promote(question) => {
                        self.taken_up.remove(page);
                        self.parked.push((*page, question.ticket));
                        None
                    }
                    Request::Reserve { ticket, .. } if self.parks => {
                        self.parked.push((*page, ticket));
                        None
                    }
                    Request::Cancel { ticket } if self.parked.contains(&(*page, ticket)) => {
                        self.parked.retain(|&parked| parked != (*page, ticket));
                        Some((ticket, Verdict::Expired))
                    }
                    Request::Cancel { ticket } => {
                        self.kept.retain(|&kept| kept != (*page, ticket));
                        None
                    }
                    request => {
                        handle(&self.memory.segment, &mut self.arena, &mut self.suspects, *page, request)
                    }
                };
                if let Some((ticket, verdict)) = answer {
                    shared.completion(ticket).unwrap().answer(ticket, verdict);
                }
                shared.ring().done();
                if Bell::new(shared.asleep()).must_ring()
                    && let Some(bell) = bell
                {
                    rustix::io::write(bell, &1u64.to_ne_bytes()).unwrap();
                }
            }
        }
    }

    fn answer_connection(&mut self, mut stream: UnixStream) {
        let mut header = [0; HEADER_BYTES];
        stream.read_exact(&mut header).unwrap();
        let header = Header::decode(&header).unwrap();
        let mut body = vec![0; header.body_bytes];
        stream.read_exact(&mut body).unwrap();
        match Frame::decode(header, &body).unwrap() {
            Frame::Query(name) => {
                stream.write_all(&Frame::Answer(format!("{{\"asked\":\"{name}\"}}")).encode()).unwrap();
            }
            Frame::Attach { segment_id, page, owner } => {
                let id = self.memory.segment.id();
                let known = self.clients.iter().position(|c| id == segment_id && (c.0, c.1) == (page, owner));
                let word = |page: u16| self.memory.segment.page(page).unwrap().owner();
                let buried = || self.clients.iter().position(|c| word(c.0).load(Ordering::Acquire) == 0);
                let at = known.or_else(buried).unwrap_or_else(|| {
                    self.clients.push((self.clients.len() as u16, 0, None));
                    self.clients.len() - 1
                });
                if known.is_none() {
                    self.drawn += 1;
                    self.clients[at].1 = 1000 + self.drawn;
                }
                let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap();
                let (page, owner, _) = self.clients[at];
                let is_buried = self.buries > 0;
                self.buries -= usize::from(is_buried);
                let owner_word = if is_buried { 0 } else { owner };
                self.memory.segment.page(page).unwrap().owner().store(owner_word, Ordering::Release);
                let epoch = self.memory.segment.epoch().load(Ordering::SeqCst);
                let frame = Frame::Attached { segment_id: id, page, owner, epoch, arenas: 1 };
                let fds = [
                    self.bell.as_fd(),
                    bell.as_fd(),
                    self.memory.pages.as_fd(),
                    self.memory.meta.as_fd(),
                    self.memory.arena.as_fd(),
                ];
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(5))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
                // Who asked may have given up by now.
                let _ = sendmsg(&stream, &[IoSlice::new(&frame.encode())], &mut control, SendFlags::NOSIGNAL);
                self.clients[at].2 = Some(bell);
                self.connections.push(stream);
            }
            other => panic!("a client sent {other:?}"),
        }
    }

    /// Marks the segment as closed, as a node does that stops.
    pub(crate) fn close(&self) {
        self.memory.segment.close();
    }

    /// Gives up on the reserves that were made to wait.
    pub(crate) fn answer_parked(&mut self) {
        for (page, ticket) in self.parked.drain(..) {
            let shared = self.memory.segment.page(page).unwrap();
            shared.completion(ticket).unwrap().answer(ticket, Verdict::NoRoom);
        }
    }

    /// Whether any reserve waits.
    pub(crate) fn has_parked(&self) -> bool {
        !self.parked.is_empty()
    }

    pub(crate) fn find(&self, id: &PieceId) -> Option<SlotRef> {
        find(&self.memory.segment, id)
    }

    /// Evicts a piece; `false` if a client claims it.
    pub(crate) fn evict(&mut self, id: &PieceId) -> bool {
        let segment = &self.memory.segment;
        let slot = find(segment, id).expect("only what is there is evicted");
        let line = segment.line(slot.arena, slot.slot).unwrap();
        line.step(Event::Drain).unwrap();
        let mut scan = Scan::new(Vec::new());
        let pages = self.clients.iter().map(|(page, ..)| segment.page(*page).unwrap());
        for page in pages.filter(|page| page.owner().load(Ordering::Acquire) != 0) {
            page.claims().into_iter().for_each(|cells| scan.add(cells));
        }
        scan.finish();
        if scan.names(slot) {
            line.step(Event::Restore).unwrap();
            return false;
        }
        let at = Location { arena: slot.arena, slot: slot.slot };
        assert!(segment.index().remove(id.hash(segment.geometry().seed), at));
        line.step(Event::Reclaim).unwrap();
        give_back(segment, &mut self.arena, slot);
        true
    }

    /// Stops half way through an eviction.
    pub(crate) fn consider(&mut self, id: &PieceId) {
        let slot = self.find(id).expect("only what is there is considered");
        self.memory.segment.line(slot.arena, slot.slot).unwrap().step(Event::Drain).unwrap();
        self.considered = Some(slot);
    }

    /// Goes on from there: the piece stays.
    pub(crate) fn put_back(&mut self) {
        let slot = self.considered.take().expect("one is considered");
        self.memory.segment.line(slot.arena, slot.slot).unwrap().step(Event::Restore).unwrap();
    }

    /// Flips a bit of a published piece.
    pub(crate) fn damage(&self, id: &PieceId) {
        let slot = self.find(id).unwrap();
        let byte = self.memory.segment.bytes(slot, 1).unwrap();
        // SAFETY: the byte lies in the mapped arena, as `bytes` checked.
        unsafe { byte.write(byte.read() ^ 4) };
    }

    pub(crate) fn free_bytes(&self) -> u64 {
        self.arena.free_bytes()
    }
}

fn find(segment: &Segment<'_>, id: &PieceId) -> Option<SlotRef> {
    segment.index().candidates(id.hash(segment.geometry().seed)).find_map(|at| {
        let generation = segment.line(at.arena, at.slot)?.ready_with(id)?;
        Some(SlotRef { arena: at.arena, slot: at.slot, generation })
    })
}

fn give_back(segment: &Segment<'_>, arena: &mut Arena, slot: SlotRef) {
    if arena.give(slot.slot) {
        let chunk = u64::from(slot.slot) / segment.geometry().slots_per_chunk();
        segment.chunk_word(0, chunk as u32).unwrap().store(0, Ordering::Release);
    }
}

/// How much of a chain is there: in memory, and with what the lower tier has.
fn locate(
    segment: &Segment<'_>,
    below: &HashMap<PieceId, Vec<u8>>,
    (keys, shares): &(Vec<BlockKey>, Vec<Share>),
) -> Located {
    let longest = |is_there: &dyn Fn(&PieceId) -> bool| {
        let mut walk = Walk::new(keys.len(), shares);
        while let Some(probe) = walk.next() {
            if !is_there(&shares[probe.share].piece(keys[probe.block])) {
                walk.missing(probe);
            }
        }
        walk.length()
    };
    let memory_blocks = longest(&|id| find(segment, id).is_some());
    let blocks = longest(&|id| find(segment, id).is_some() || below.contains_key(id));
    Located { blocks, memory_blocks, tiers: u64::from(blocks > memory_blocks) }
}

/// Brings what the lower tier has of a chain into memory, unless it says otherwise.
fn promote(
    segment: &Segment<'_>,
    arena: &mut Arena,
    below: &HashMap<PieceId, Vec<u8>>,
    tier_says: Option<Verdict>,
    chain: &(Vec<BlockKey>, Vec<Share>),
) -> (Verdict, Located) {
    let located = locate(segment, below, chain);
    if let Some(verdict) = tier_says.filter(|_| located.tiers != 0) {
        return (verdict, Located::in_memory(located.memory_blocks));
    }
    let (keys, shares) = chain;
    for probe in Walk::backwards(located.blocks, shares) {
        let id = shares[probe.share].piece(keys[probe.block]);
        if find(segment, &id).is_none() {
            load(segment, arena, &id, &below[&id]);
        }
    }
    (Verdict::Promoted, Located::in_memory(located.blocks))
}

/// Publishes a piece as a promotion does: Free, Loading, Ready.
fn load(segment: &Segment<'_>, arena: &mut Arena, id: &PieceId, bytes: &[u8]) {
    let slot_bytes = segment.geometry().slot_bytes(bytes.len() as u64).unwrap();
    let taken = arena.take(slot_bytes).expect("the tests leave room");
    if let Some(chunk) = taken.cut {
        segment.chunk_word(0, chunk).unwrap().store(slot_bytes, Ordering::Release);
    }
    let line = segment.line(0, taken.slot).unwrap();
    let generation = line.step(Event::Load).unwrap().generation;
    let slot = SlotRef { arena: 0, slot: taken.slot, generation };
    let target = segment.bytes(slot, bytes.len() as u64).unwrap();
    // SAFETY: the slot is Loading, so it is the node's alone, and its extent was checked.
    unsafe { target.copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
    let checksum = seal(id, bytes.len() as u64).update(bytes).value();
    line.describe(&PieceMeta { id: *id, len_bytes: bytes.len() as u64, checksum, depth: 0 });
    line.step(Event::Publish).unwrap();
    segment
        .index()
        .insert(id.hash(segment.geometry().seed), Location { arena: 0, slot: taken.slot })
        .unwrap();
}

fn handle(
    segment: &Segment<'_>,
    arena: &mut Arena,
    suspects: &mut Vec<SlotRef>,
    page: u16,
    request: Request,
) -> Option<(Ticket, Verdict)> {
    match request {
        Request::Commit { slot, meta, ticket, .. } => {
            let line = segment.line(slot.arena, slot.slot).unwrap();
            let seen = line.snapshot().unwrap();
            let yours = (seen.state, seen.client, seen.generation) == (State::Granted, page, slot.generation);
            let verdict = if !yours {
                Verdict::NotYours
            } else if find(segment, &meta.id).is_some() {
                line.step(Event::Revoke).unwrap();
                line.step(Event::Reclaim).unwrap();
                give_back(segment, arena, slot);
                Verdict::AlreadyPresent
            } else {
                line.describe(&meta);
                line.step(Event::Publish).unwrap();
                let at = Location { arena: slot.arena, slot: slot.slot };
                segment.index().insert(meta.id.hash(segment.geometry().seed), at).unwrap();
                Verdict::Fresh
            };
            ticket.map(|ticket| (ticket, verdict))
        }
        Request::Reserve { len_bytes, ticket, .. } => {
            let slot_bytes = segment.geometry().slot_bytes(len_bytes).unwrap();
            let shared = segment.page(page).unwrap();
            let lane = shared.lane_for(slot_bytes).or_else(|| shared.lane_for(0)).unwrap();
            lane.assign(slot_bytes);
            while lane.outstanding() < HANDED_OUT {
                let Some(taken) = arena.take(slot_bytes) else { break };
                if let Some(chunk) = taken.cut {
                    segment.chunk_word(0, chunk).unwrap().store(slot_bytes, Ordering::Release);
                }
                let line = segment.line(0, taken.slot).unwrap();
                let generation = line.step(Event::Grant { client: page }).unwrap().generation;
                assert!(lane.hand_out(SlotRef { arena: 0, slot: taken.slot, generation }));
            }
            let verdict = if lane.outstanding() > 0 { Verdict::Granted } else { Verdict::NoRoom };
            Some((ticket, verdict))
        }
        Request::Abort { slot } => {
            let line = segment.line(slot.arena, slot.slot).unwrap();
            line.step(Event::Revoke).unwrap();
            line.step(Event::Reclaim).unwrap();
            give_back(segment, arena, slot);
            None
        }
        Request::Suspect { slot } => {
            suspects.push(slot);
            None
        }
        Request::Discard { slot } => {
            let line = segment.line(slot.arena, slot.slot).unwrap();
            if let Some((generation, meta)) = line.read()
                && generation == slot.generation
            {
                let at = Location { arena: slot.arena, slot: slot.slot };
                assert!(segment.index().remove(meta.id.hash(segment.geometry().seed), at));
                line.step(Event::Revoke).unwrap();
                line.step(Event::Reclaim).unwrap();
                give_back(segment, arena, slot);
            }
            None
        }
        Request::Cancel { .. } | Request::Keys { .. } | Request::Locate(_) | Request::Promote(_) => {
            unreachable!("served where the books are")
        }
        Request::Flush { ticket } => Some((ticket, Verdict::Flushed)),
    }
}
