//! The flow between memory and a lower tier, over heap memory and a tier that does what the test tells it.

mod shelf;

use std::ptr::NonNull;

use cascade_core::governor::Urgency;
use cascade_core::key::BlockKey;
use cascade_core::piece::{PieceId, PieceMeta, seal};
use cascade_core::policy;
use cascade_core::request::Verdict;
use cascade_core::segment::{ARENAS_MAX, Geometry, Segment};
use cascade_core::slot::SlotRef;
use cascade_core::touch::Touch;
use cascade_core::view::Region;
use cascade_node::config::{Admission, Config, FlowMode};
use cascade_node::engine::{Answered, Granted, Jobs, Lower, Store, Task, What, Whereabouts, Wish};
use cascade_tier::{Library, Memory, Status};
use proptest::prelude::*;
use serde_json::json;
use shelf::Named;

const CHUNK: u64 = 1 << 20;
/// Eight in a chunk.
const PIECE: u64 = 128 << 10;
const MS: u64 = 1_000_000;
/// Turns after which whatever can happen has happened.
const TURNS: usize = 400;

/// A store with a lower tier.
struct Node {
    store: Store,
    lower: Option<Lower>,
    jobs: Jobs,
    now: u64,
    answered: Vec<Answered>,
}

fn region(bytes: u64) -> (Region<'static>, *mut u8) {
    let words: &'static mut [u64] = Box::leak(vec![0u64; bytes as usize / 8].into_boxed_slice());
    let base = NonNull::from(words).cast::<u8>();
    // SAFETY: leaked memory is never freed, and is reached through the region, and by the tier, only.
    (unsafe { Region::new(base, bytes as usize) }, base.as_ptr())
}

fn key(i: u32) -> BlockKey {
    cascade_core::key::block_key(&BlockKey::ROOT, &[i])
}

fn piece(i: u32) -> PieceId {
    PieceId::sole(key(i))
}

/// Configuration with marks that suit a memory of a few pieces.
fn config() -> Config {
    let mut config = Config::default();
    (config.flow.clean_low_ratio, config.flow.clean_high_ratio) = (0.5, 0.75);
    config.flow.loading_share = 0.25;
    config.flow.read_on_blocks = 0;
    (config.flow.hang_ms, config.flow.pause_ms, config.flow.failures_max) = (100, 50, 2);
    config
}

impl Node {
    /// Over a shelf, with so many chunks of memory.
    fn start(shelf: &str, chunks: u64, config: &Config) -> Self {
        let geometry = Geometry::plan(&[chunks * CHUNK], CHUNK, 4096, 4, 99);
        let (meta, _) = region(geometry.meta_bytes().next_multiple_of(8));
        Segment::create(&geometry, meta, 7).unwrap();
        let (arena, base) = region(geometry.arena_bytes(0));
        let mut arenas = [None; ARENAS_MAX];
        arenas[0] = Some(arena);
        let segment = Segment::open(meta, region(geometry.pages_bytes()).0, arenas).unwrap();
        let mut store = Store::new(segment, policy::by_name("lru", 8).unwrap());
        (0..chunks as u32).for_each(|chunk| store.back(0, chunk));
        store.admit(1);
        Self::over(store, base, geometry.arena_bytes(0), shelf, config)
    }

    fn over(mut store: Store, base: *mut u8, bytes: u64, shelf: &str, config: &Config) -> Self {
        let library = Library::from_entry(shelf::entry).unwrap();
        let memory = Memory::new("arena-0", bytes).at(base);
        let told = json!({ "directory": shelf }).to_string();
        // SAFETY: the memory is leaked, and slots are handed out by the store.
        let lower = unsafe { Lower::open(&library, &told, &[(0, memory)], &config.flow) }.unwrap();
        lower.attach(&mut store);
        let mut node =
            Self { store, lower: Some(lower), jobs: Jobs::default(), now: 1, answered: Vec::new() };
        node.turns(2);
        node
    }

    fn turns(&mut self, turns: usize) {
        for _ in 0..turns {
            self.now += MS;
            let lower = self.lower.as_mut().unwrap();
            let mut provide = |store: &mut Store, slot_bytes, slots, evicts| {
                if evicts {
                    store.make_room(slot_bytes, slots);
                }
            };
            let (answered, _) = lower.turn(&mut self.store, self.now, 0, &mut provide);
            self.jobs.advance(&mut self.store, Some(lower), &answered, self.now);
            self.answered.extend(answered);
        }
    }

    /// Puts block `i` under its parent, all bytes `i`.
    fn put(&mut self, i: u32, parent: u32, depth: u32) -> Option<Verdict> {
        let above = if depth == 0 { BlockKey::ROOT } else { key(parent) };
        let bytes = vec![i as u8; PIECE as usize];
        self.put_piece(piece(i), above, depth, &bytes)
    }

    fn put_piece(&mut self, id: PieceId, parent: BlockKey, depth: u32, bytes: &[u8]) -> Option<Verdict> {
        let len_bytes = bytes.len() as u64;
        let slot_bytes = self.store.segment().geometry().slot_bytes(len_bytes).unwrap();
        self.store.make_room(slot_bytes, 1);
        let slot = self.store.grant(1, slot_bytes)?;
        let target = self.store.segment().bytes(slot, len_bytes).unwrap();
        // SAFETY: the slot was granted to us, and its range was checked just now.
        let checksum = unsafe {
            target.as_ptr().copy_from(bytes.as_ptr(), bytes.len());
            cascade_core::copy::checksum(target.as_ptr(), bytes.len(), seal(&id, len_bytes))
        };
        let meta = PieceMeta { id, len_bytes, checksum: checksum.value(), depth };
        Some(self.store.publish(1, slot, &meta, &parent))
    }

    /// Puts blocks without relatives, with some turns after each.
    fn put_all(&mut self, blocks: std::ops::Range<u32>) {
        for i in blocks {
            assert_eq!(self.put(i, 0, 0), Some(Verdict::Fresh));
            self.turns(3);
        }
    }

    /// Where a reader finds a block, its bytes compared.
    fn find(&self, i: u32) -> Option<SlotRef> {
        let segment = self.store.segment();
        let id = piece(i);
        let is_it = |slot: u32| segment.line(0, slot).is_some_and(|line| line.ready_with(&id).is_some());
        let at = segment.index().candidates(id.hash(segment.geometry().seed)).find(|at| is_it(at.slot))?;
        let (generation, meta) = segment.line(0, at.slot)?.read()?;
        let slot = SlotRef { arena: 0, slot: at.slot, generation };
        assert!(self.store.verify(slot, &meta), "block {i} does not match its checksum");
        let bytes = segment.bytes(slot, meta.len_bytes).unwrap();
        // SAFETY: the range was checked, and nobody writes a Ready slot.
        let bytes = unsafe { std::slice::from_raw_parts(bytes.as_ptr(), meta.len_bytes as usize) };
        assert!(bytes.iter().all(|&byte| byte == i as u8), "block {i} has other bytes");
        Some(slot)
    }

    fn wish_within(&mut self, blocks: impl IntoIterator<Item = u32>, ms: u64) -> u64 {
        let pieces = blocks.into_iter().map(piece).collect();
        let deadline_ns = self.now + ms * MS;
        let wish = Wish { pieces, deadline_ns, urgency: Urgency::Waited, near: None };
        self.lower.as_mut().unwrap().wish(wish)
    }

    /// Wishes for blocks and waits for what comes of it.
    fn promote(&mut self, blocks: impl IntoIterator<Item = u32>) -> Granted {
        let wish = self.wish_within(blocks, 1000);
        self.turns(TURNS);
        self.granted(wish).expect("a wish ends")
    }

    fn granted(&self, wish: u64) -> Option<Granted> {
        self.answered.iter().find(|answered| answered.wish == wish).map(|answered| answered.granted)
    }

    fn run(&mut self, task: Task) -> serde_json::Value {
        let job = self.jobs.begin(&mut self.store, task, self.now);
        self.turns(TURNS);
        let report = self.jobs.report(job).unwrap();
        assert_eq!(report["finished"], true, "{report}");
        report
    }

    fn state(&self) -> String {
        self.lower.as_ref().unwrap().report(&self.store, self.now)["state"].as_str().unwrap().to_owned()
    }

    /// All is at rest: whatever is not in memory is free, to the byte.
    fn assert_nothing_leaked(&mut self) {
        self.turns(TURNS);
        self.store.settle();
        self.lower.take().unwrap().close(&mut self.store).unwrap();
        assert_eq!(self.store.evict_all(), 0);
        assert_eq!(self.store.free_bytes(), self.store.backed_bytes(), "every slot came back");
        assert_eq!(self.store.segment().index().entries().count(), 0);
    }
}

#[test]
fn a_working_set_larger_than_memory_is_all_there_and_written_once() {
    let mut node = Node::start("larger", 2, &config());
    node.put_all(0..64);
    assert_eq!(node.store.counters().evicted_undemoted_blocks, 0, "clean ones went first");
    for round in 0..3 {
        for i in 0..64 {
            assert_eq!(node.promote([i]), Granted::All, "block {i}, round {round}");
            assert!(node.find(i).is_some());
        }
    }
    let stored = Named::of("larger").lock().pieces();
    let distinct: std::collections::HashSet<_> = stored.iter().collect();
    assert_eq!(stored.len(), distinct.len(), "what is below is not written again");
    node.assert_nothing_leaked();
}

#[test]
fn a_put_never_waits_for_a_store_while_the_tier_keeps_up() {
    let mut node = Node::start("margin", 2, &config());
    for i in 0..200 {
        let slots = node.store.free_slots(PIECE);
        assert!(slots > 0 || node.store.make_room(PIECE, 1) > 0, "no room for block {i}");
        node.put_all(i..i + 1);
    }
    assert_eq!(node.store.counters().evicted_undemoted_blocks, 0);
}

#[test]
fn a_chain_goes_down_from_its_root_and_comes_back_from_its_root() {
    let mut node = Node::start("chain", 1, &config());
    for i in 0..7 {
        assert_eq!(node.put(i, i.wrapping_sub(1), i), Some(Verdict::Fresh));
    }
    node.turns(TURNS);
    let order = Named::of("chain").lock().pieces();
    // Two thirds of it were wanted: those at the tail, and of them the one nearest to the root came first.
    let depths: Vec<u32> = (0..7).filter(|&i| order.contains(&piece(i).into())).collect();
    assert_eq!(order, depths.iter().map(|&i| piece(i).into()).collect::<Vec<_>>());
    node.run(Task::Persist);
    assert_eq!(node.store.make_room(PIECE, 8), 8);
    assert!((0..7).all(|i| node.find(i).is_none()));
    let wish = node.wish_within(0..7, 1000);
    for _ in 0..TURNS {
        node.turns(1);
        let there: Vec<bool> = (0..7).map(|i| node.find(i).is_some()).collect();
        assert!(there.is_sorted_by(|above, below| above >= below), "a child before its parent: {there:?}");
    }
    assert_eq!(node.granted(wish), Some(Granted::All));
    // A claim on the tail holds the chain, as if it had been put.
    let block = node.store.whereabouts(&piece(6));
    assert_eq!(block, Whereabouts::Memory);
    assert_eq!(node.store.make_room(PIECE, 2), 2);
    assert_eq!(node.find(6), None, "the tail goes first");
    assert!(node.find(0).is_some());
}

#[test]
fn nothing_is_written_before_the_tier_has_told_what_it_holds() {
    let mut first = Node::start("told", 1, &config());
    first.put_all(0..8);
    first.run(Task::Persist);
    let stores = Named::of("told").lock().stores;
    Named::of("told").lock().is_silent = true;
    let mut second = Node::start("told", 1, &config());
    second.put_all(0..8);
    second.turns(TURNS);
    assert_eq!(Named::of("told").lock().stores, stores);
    Named::of("told").lock().is_silent = false;
    second.turns(TURNS);
    assert_eq!(Named::of("told").lock().stores, stores, "all of it was below already");
    assert_eq!(second.store.dirty_pieces_total(), 0);
}

#[test]
fn what_persist_acknowledged_is_what_a_new_node_with_empty_memory_has() {
    let mut first = Node::start("persisted", 2, &config());
    for i in 0..12 {
        first.put(i, i.wrapping_sub(1), i);
    }
    let report = first.run(Task::Persist);
    assert_eq!(report["error"], serde_json::Value::Null);
    assert_eq!((report["done"].as_u64(), report["total"].as_u64()), (Some(12), Some(12)), "{report}");
    assert!(Named::of("persisted").lock().syncs > 0);
    // Nobody closes it: it was killed.
    let mut second = Node::start("persisted", 2, &config());
    assert_eq!(second.store.stored_pieces(), 12);
    assert_eq!(second.promote(0..12), Granted::All);
    assert!((0..12).all(|i| second.find(i).is_some()));
    second.assert_nothing_leaked();
}

#[test]
fn a_tier_that_hangs_costs_hits_and_a_bounded_part_of_memory_and_comes_back() {
    let mut node = Node::start("hangs", 4, &config());
    node.put_all(0..48);
    let below: Vec<u32> = (0..48).filter(|&i| node.find(i).is_none()).collect();
    assert!(below.len() >= 8);
    Named::of("hangs").lock().hangs = true;
    let waiting = node.wish_within(below.clone(), 50);
    node.turns(60);
    assert_eq!(node.granted(waiting), Some(Granted::Late), "at its deadline");
    let report = node.lower.as_ref().unwrap().report(&node.store, node.now);
    assert!(report["promoting"].as_u64().unwrap() <= 8, "a quarter of the memory at most: {report}");
    node.turns(100);
    assert_eq!(node.state(), "fenced");
    let refused = node.wish_within(below.clone(), 10_000);
    node.turns(2);
    assert_eq!(node.granted(refused), Some(Granted::Fenced), "at once");
    // Puts go on: what the tier has leaves first, then what it has not.
    for i in 100..160 {
        assert_eq!(node.put(i, 0, 0), Some(Verdict::Fresh), "block {i}");
        node.turns(1);
    }
    assert!(node.store.counters().evicted_undemoted_blocks > 0);
    Named::of("hangs").lock().hangs = false;
    node.turns(TURNS);
    assert_eq!(node.state(), "on_trial", "nobody has asked it for anything since");
    let missing: Vec<u32> = below.iter().copied().filter(|&i| node.find(i).is_none()).collect();
    assert_eq!(node.promote(missing), Granted::All);
    assert_eq!(node.state(), "working", "{}", node.lower.as_ref().unwrap().report(&node.store, node.now));
    node.assert_nothing_leaked();
}

#[test]
fn a_tier_that_fails_is_left_alone_and_tried_again() {
    let mut node = Node::start("fails", 2, &config());
    node.put_all(0..32);
    let below = (0..32).find(|&i| node.find(i).is_none()).unwrap();
    Named::of("fails").lock().fails = Some(Status::IO);
    assert_ne!(node.promote([below]), Granted::All);
    node.put_all(100..110);
    assert_eq!(node.state(), "fenced");
    let loads = Named::of("fails").lock().loads;
    let refused = node.wish_within([below], 10);
    node.turns(20);
    assert!(node.granted(refused).is_some_and(|granted| granted != Granted::All));
    assert!(Named::of("fails").lock().loads <= loads + 1, "a probe at most");
    Named::of("fails").lock().fails = None;
    node.turns(100);
    assert_eq!(node.promote([below]), Granted::All, "the copy below was never given up");
    node.assert_nothing_leaked();
}

#[test]
fn a_full_tier_is_read_and_written_again_when_there_is_room() {
    let mut node = Node::start("full", 2, &config());
    node.put_all(0..16);
    Named::of("full").lock().is_full = true;
    let before = Named::of("full").lock().stored.len();
    node.put_all(100..140);
    assert_eq!(node.state(), "read_only");
    assert!(node.store.counters().evicted_undemoted_blocks > 0, "puts go on");
    let stored: Vec<u32> =
        (0..16).filter(|&i| node.store.whereabouts(&piece(i)) != Whereabouts::Nowhere).collect();
    assert_eq!(node.promote(stored[..2].to_vec()), Granted::All);
    assert_eq!(Named::of("full").lock().stored.len(), before);
    Named::of("full").lock().is_full = false;
    node.turns(100);
    node.put_all(200..216);
    assert_eq!(node.state(), "working");
    assert!(Named::of("full").lock().stored.len() > before);
    node.assert_nothing_leaked();
}

#[test]
fn what_was_lost_or_damaged_below_is_a_miss_and_never_another_piece() {
    let mut node = Node::start("damage", 1, &config());
    for i in 0..6 {
        node.put(i, i.wrapping_sub(1), i);
    }
    node.run(Task::Persist);
    assert_eq!(node.store.make_room(PIECE, 8), 8);
    {
        let shelf = Named::of("damage");
        let mut shelf = shelf.lock();
        shelf.lose(&piece(5).into());
        shelf.lose_quietly(&piece(4).into());
        shelf.damage(&piece(3).into());
    }
    node.turns(2);
    assert_eq!(node.store.whereabouts(&piece(5)), Whereabouts::Nowhere);
    assert_eq!(node.promote(0..6), Granted::Part);
    assert_eq!(
        (0..6).map(|i| node.find(i).is_some()).collect::<Vec<_>>(),
        [true, true, true, false, false, false]
    );
    assert_eq!(node.store.counters().corrupt_below, 1);
    for i in 3..6 {
        assert_eq!(node.put(i, i - 1, i), Some(Verdict::Fresh), "who missed it computes it anew");
    }
    node.run(Task::Persist);
    node.assert_nothing_leaked();
}

#[test]
fn the_place_told_last_counts_and_the_loss_of_another_changes_nothing() {
    let mut node = Node::start("places", 1, &config());
    node.put_all(0..1);
    node.run(Task::Persist);
    assert_eq!(node.store.make_room(PIECE, 8), 8);
    let shelf = Named::of("places");
    shelf.lock().store_again(&piece(0).into());
    node.turns(2);
    // The first place goes; the second one is what counts.
    let first = *shelf.lock().stored.keys().next().unwrap();
    shelf.lock().stored.remove(&first);
    assert_eq!(node.promote([0]), Granted::All);
    assert!(node.find(0).is_some());
}

#[test]
fn a_put_that_comes_before_the_tier_wins_and_no_slot_is_lost() {
    let mut node = Node::start("overtaken", 1, &config());
    node.put_all(0..1);
    node.run(Task::Persist);
    assert_eq!(node.store.make_room(PIECE, 8), 8);
    Named::of("overtaken").lock().hangs = true;
    let wish = node.wish_within([0], 1000);
    node.turns(2);
    assert_eq!(node.put(0, 0, 0), Some(Verdict::Fresh));
    let slot = node.find(0);
    Named::of("overtaken").lock().hangs = false;
    node.turns(10);
    assert_eq!((node.granted(wish), node.find(0)), (Some(Granted::All), slot));
    node.assert_nothing_leaked();
}

#[test]
fn what_is_discarded_while_it_is_written_is_gone_everywhere() {
    let mut config = config();
    config.flow.mode = FlowMode::WriteThrough;
    let mut node = Node::start("discarded", 1, &config);
    Named::of("discarded").lock().hangs = true;
    node.put(0, 0, 0);
    node.turns(3);
    let slot = node.find(0).unwrap();
    assert!(node.store.discard(slot));
    assert_eq!(node.find(0), None);
    // The tier still reads it: its slot is nobody else's.
    assert_eq!(node.store.make_room(PIECE, 8), 7);
    assert_eq!(node.put(0, 0, 0), Some(Verdict::Fresh), "a put of its name is fresh");
    let next = node.find(0).unwrap();
    assert_ne!(next.slot, slot.slot);
    assert!(node.store.discard(next));
    Named::of("discarded").lock().hangs = false;
    node.turns(TURNS);
    assert!(Named::of("discarded").lock().stored.is_empty(), "what was written of it is removed");
    node.assert_nothing_leaked();
}

#[test]
fn write_through_writes_at_once_and_what_was_adopted_too() {
    let mut config = config();
    config.flow.mode = FlowMode::WriteThrough;
    let mut node = Node::start("through", 2, &config);
    node.put_all(0..3);
    assert_eq!(Named::of("through").lock().stored.len(), 3);
    assert_eq!(node.store.dirty_pieces_total(), 0);
}

#[test]
fn with_admission_of_the_reused_what_came_once_goes_straight_out() {
    let mut config = config();
    config.flow.admission = Admission::Reused;
    let mut node = Node::start("reused", 1, &config);
    node.put_all(0..4);
    for i in [1, 3] {
        let tail = node.find(i).unwrap();
        assert_eq!(node.store.touch(Touch { tail, blocks: 1 }), 1);
    }
    node.put_all(100..108);
    let stored = Named::of("reused").lock().pieces();
    let is_stored = |i: u32| stored.contains(&piece(i).into());
    assert_eq!([0, 1, 2, 3].map(is_stored), [false, true, false, true]);
    assert_eq!(node.store.counters().evicted_undemoted_blocks, 0, "nobody wanted the others");
}

#[test]
fn a_hit_deep_in_a_chain_reads_on() {
    let mut config = config();
    config.flow.read_on_blocks = 3;
    let mut node = Node::start("read-on", 1, &config);
    for i in 0..7 {
        node.put(i, i.wrapping_sub(1), i);
    }
    node.run(Task::Persist);
    assert_eq!(node.store.make_room(PIECE, 8), 8);
    assert_eq!(node.promote(0..2), Granted::All);
    let tail = node.find(1).unwrap();
    node.store.touch(Touch { tail, blocks: 2 });
    node.turns(TURNS);
    assert_eq!(
        (0..7).map(|i| node.find(i).is_some()).collect::<Vec<_>>(),
        [true, true, true, true, true, false, false]
    );
    assert_eq!(node.store.counters().read_on_pieces, 3);
}

#[test]
fn a_drain_writes_the_most_useful_first_and_admits_nothing_new() {
    let mut node = Node::start("drained", 4, &config());
    node.put_all(0..8);
    let tail = node.find(5).unwrap();
    node.store.touch(Touch { tail, blocks: 1 });
    let report = node.run(Task::Drain { until_ns: node.now + 10_000 * MS });
    assert_eq!(report["error"], serde_json::Value::Null);
    let stored = Named::of("drained").lock().pieces();
    assert_eq!((stored.len(), stored[0]), (8, piece(5).into()));
}

#[test]
fn a_drain_ends_when_its_time_does() {
    let mut node = Node::start("late", 4, &config());
    node.put_all(0..8);
    Named::of("late").lock().hangs = true;
    let report = node.run(Task::Drain { until_ns: node.now + 20 * MS });
    assert!(report["error"].as_str().unwrap().contains("8 pieces are not written"), "{report}");
}

#[test]
fn persist_says_so_when_it_cannot() {
    let mut node = Node::start("unwritable", 4, &config());
    node.put_all(0..8);
    Named::of("unwritable").lock().is_full = true;
    let job = node.jobs.begin(&mut node.store, Task::Persist, node.now);
    node.turns(TURNS);
    node.now += 61_000 * MS;
    node.turns(1);
    let report = node.jobs.report(job).unwrap();
    assert!(report["error"].is_string(), "{report}");
}

#[test]
fn warming_fills_free_memory_with_what_was_stored_last() {
    let mut first = Node::start("warmed", 2, &config());
    first.put_all(0..16);
    first.run(Task::Persist);
    let mut second = Node::start("warmed", 1, &config());
    let report = second.run(Task::Warm { bytes: 5 * PIECE });
    assert_eq!(
        (report["done"].as_u64(), report["error"].clone()),
        (Some(5), serde_json::Value::Null),
        "{report}"
    );
    let there = (0..16).filter(|&i| second.find(i).is_some()).count();
    assert_eq!(there, 5);
    let report = second.run(Task::Warm { bytes: u64::MAX });
    assert_eq!(report["done"].as_u64(), Some(3), "nothing is evicted for it: {report}");
}

/// Two namespaces of a tenant each, a chain of three blocks under each, and a chain without one.
fn namespaces(node: &mut Node) -> [BlockKey; 2] {
    let roots = [key(1000), key(2000)];
    for (root, tenant) in roots.into_iter().zip(["alice", "bob"]) {
        let about = json!({ "model": "m", "tenant": tenant }).to_string();
        let id = PieceId { key: root, rank: u16::MAX, group: u16::MAX };
        assert_eq!(node.put_piece(id, BlockKey::ROOT, 0, about.as_bytes()), Some(Verdict::Fresh));
    }
    for (first, root) in [(0, roots[0]), (10, roots[1]), (20, BlockKey::ROOT)] {
        let mut parent = root;
        for depth in 0..3 {
            let i = first + depth;
            let bytes = vec![i as u8; PIECE as usize];
            assert_eq!(node.put_piece(piece(i), parent, depth, &bytes), Some(Verdict::Fresh));
            parent = key(i);
        }
    }
    roots
}

fn are_there(node: &Node) -> Vec<u32> {
    let is_there = |&i: &u32| node.store.whereabouts(&piece(i)) != Whereabouts::Nowhere;
    (0..30).filter(is_there).collect()
}

#[test]
fn a_namespace_is_forgotten_in_memory_and_below() {
    let mut node = Node::start("forgotten", 3, &config());
    let roots = namespaces(&mut node);
    node.run(Task::Persist);
    // Of one chain the middle is in memory only as a gap: the tail is below memory.
    node.store.make_room(PIECE, 12);
    let report = node.run(Task::Forget(What::Namespace(roots[0])));
    assert_eq!(report["error"], serde_json::Value::Null, "{report}");
    assert_eq!(report["done"].as_u64(), Some(4), "{report}");
    assert_eq!(are_there(&node), [10, 11, 12, 20, 21, 22]);
    let shelf = Named::of("forgotten");
    assert!((0..3).all(|i| !shelf.lock().pieces().contains(&piece(i).into())), "its bytes are gone below");
    assert_eq!(shelf.lock().stored.len(), 7);
    node.assert_nothing_leaked();
}

#[test]
fn a_tenants_namespaces_are_found_by_their_descriptions_also_below() {
    let mut first = Node::start("tenants", 3, &config());
    namespaces(&mut first);
    first.run(Task::Persist);
    let mut node = Node::start("tenants", 3, &config());
    let report = node.run(Task::Forget(What::Tenant("bob".into())));
    assert_eq!(report["error"], serde_json::Value::Null, "{report}");
    assert_eq!(are_there(&node), [0, 1, 2, 20, 21, 22]);
    let report = node.run(Task::Forget(What::Tenant("carol".into())));
    assert_eq!(report["done"].as_u64(), Some(0), "nobody is called so: {report}");
    assert_eq!(are_there(&node), [0, 1, 2, 20, 21, 22]);
}

#[test]
fn what_was_stored_long_ago_is_forgotten() {
    let mut node = Node::start("old", 2, &config());
    node.put_all(0..4);
    node.run(Task::Persist);
    // A shelf numbers its pieces in the place of a clock: all of these are of 1970.
    let mut next = Node::start("old", 2, &config());
    next.put_all(10..12);
    let report = next.run(Task::Forget(What::OlderThan { age_s: 3600 }));
    assert_eq!(report["done"].as_u64(), Some(4), "{report}");
    assert_eq!(are_there(&next), [10, 11]);
}

#[derive(Clone, Debug)]
enum Step {
    Put(u32),
    Wish(u32, u8),
    Touch(u32),
    MakeRoom(u8),
    Discard(u32),
    Lose(u32),
    Damage(u32),
    Hang(bool),
    Full(bool),
    Fail(bool),
    Turns(u8),
    Persist,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0u32..40).prop_map(Step::Put),
        4 => (0u32..40, 1u8..60).prop_map(|(i, ms)| Step::Wish(i, ms)),
        2 => (0u32..40).prop_map(Step::Touch),
        2 => (1u8..12).prop_map(Step::MakeRoom),
        1 => (0u32..40).prop_map(Step::Discard),
        1 => (0u32..40).prop_map(Step::Lose),
        1 => (0u32..40).prop_map(Step::Damage),
        1 => any::<bool>().prop_map(Step::Hang),
        1 => any::<bool>().prop_map(Step::Full),
        1 => any::<bool>().prop_map(Step::Fail),
        6 => (1u8..30).prop_map(Step::Turns),
        1 => Just(Step::Persist),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..120)
}

/// Block `i` hangs below block `i / 2`, so there are chains that branch.
fn place(i: u32) -> (u32, u32) {
    (i / 2, (i + 1).ilog2())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn no_history_shows_wrong_bytes_or_loses_a_slot(steps in steps(), seed: u64, through: bool) {
        let name = format!("history-{seed}-{through}");
        let mut config = config();
        config.flow.mode = if through { FlowMode::WriteThrough } else { FlowMode::WriteBack };
        config.flow.read_on_blocks = 2;
        let shelf = Named::of(&name);
        let mut node = Node::start(&name, 2, &config);
        for step in steps {
            match step {
                Step::Put(i) => {
                    let (parent, depth) = place(i);
                    node.put(i, parent, depth);
                }
                Step::Wish(i, ms) => {
                    node.wish_within([i / 4, i / 2, i], u64::from(ms));
                }
                Step::Touch(i) => {
                    if let Some(tail) = node.find(i) {
                        node.store.touch(Touch { tail, blocks: 3 });
                    }
                }
                Step::MakeRoom(slots) => {
                    node.store.make_room(PIECE, u64::from(slots));
                }
                Step::Discard(i) => {
                    if let Some(slot) = node.find(i) {
                        prop_assert!(node.store.discard(slot));
                        prop_assert_eq!(node.find(i), None);
                    }
                }
                Step::Lose(i) => {
                    let mut shelf = shelf.lock();
                    if shelf.pieces().contains(&piece(i).into()) {
                        shelf.lose(&piece(i).into());
                    }
                }
                Step::Damage(i) => {
                    let mut shelf = shelf.lock();
                    if shelf.pieces().contains(&piece(i).into()) {
                        shelf.damage(&piece(i).into());
                    }
                }
                Step::Hang(hangs) => shelf.lock().hangs = hangs,
                Step::Full(is_full) => shelf.lock().is_full = is_full,
                Step::Fail(fails) => shelf.lock().fails = fails.then_some(Status::IO),
                Step::Turns(turns) => node.turns(usize::from(turns)),
                Step::Persist => {
                    node.jobs.begin(&mut node.store, Task::Persist, node.now);
                }
                Step::Restart => {
                    // Killed, and what it had in memory with it.
                    node = Node::start(&name, 2, &config);
                }
            }
            // Looking compares every byte.
            for i in 0..40 {
                let _ = node.find(i);
            }
        }
        {
            let mut shelf = shelf.lock();
            (shelf.hangs, shelf.is_full, shelf.fails) = (false, false, None);
        }
        node.turns(TURNS);
        // The books and the shelf agree on what is below.
        for i in 0..40 {
            let is_below = matches!(node.store.whereabouts(&piece(i)), Whereabouts::Below { .. });
            if is_below {
                prop_assert!(shelf.lock().pieces().contains(&piece(i).into()), "block {} is nowhere", i);
            }
        }
        node.assert_nothing_leaked();
    }
}
