//! The store against a plain model, over heap memory: histories of puts, reads, claims, deaths, evictions, adoptions.

use std::collections::{HashMap, HashSet};
use std::ptr::NonNull;

use cascade_core::hazard::{self, Reader};
use cascade_core::key::BlockKey;
use cascade_core::page::HOLD_CELLS;
use cascade_core::piece::{PieceId, PieceMeta, seal};
use cascade_core::policy;
use cascade_core::request::{Ticket, Verdict};
use cascade_core::segment::{ARENAS_MAX, Geometry, Segment};
use cascade_core::slot::{SlotRef, Snapshot, State};
use cascade_core::sync::Ordering;
use cascade_core::touch::Touch;
use cascade_core::view::Region;
use cascade_node::engine::Store;
use proptest::prelude::*;

const CHUNK: u64 = 1 << 20;
const PIECE: u64 = 128 << 10;

/// Memory that outlives every view of it, as a mapping does.
fn region(bytes: u64) -> Region<'static> {
    let words: &'static mut [u64] = Box::leak(vec![0u64; bytes as usize / 8].into_boxed_slice());
    let base = NonNull::from(words).cast::<u8>();
    // SAFETY: leaked memory is never freed, and is reached through the region only.
    unsafe { Region::new(base, bytes as usize) }
}

fn segment(chunks: u64) -> Segment<'static> {
    segment_of(&Geometry::plan(&[chunks * CHUNK], CHUNK, 4096, 4, 99))
}

fn segment_of(geometry: &Geometry) -> Segment<'static> {
    let meta = region(geometry.meta_bytes().next_multiple_of(8));
    Segment::create(geometry, meta, 7).unwrap();
    let mut arenas = [None; ARENAS_MAX];
    arenas[0] = Some(region(geometry.arena_bytes(0)));
    Segment::open(meta, region(geometry.pages_bytes()), arenas).unwrap()
}

fn store(segment: Segment<'static>, chunks: u32) -> Store {
    let mut store = Store::new(segment, policy::by_name("lru", 8).unwrap());
    (0..chunks).for_each(|chunk| store.back(0, chunk));
    store.admit(1);
    store
}

fn key(i: u8) -> BlockKey {
    BlockKey::from_bytes([i; 32])
}

fn parent(i: u8) -> BlockKey {
    if i < 2 { BlockKey::ROOT } else { key(i / 2) }
}

/// Puts block `i` under block `i / 2`, all bytes `i`.
fn put(store: &mut Store, i: u8, len_bytes: u64) -> Option<(Verdict, SlotRef)> {
    put_group(store, i, 0, len_bytes)
}

/// Puts one KV group's piece of block `i`.
fn put_group(store: &mut Store, i: u8, group: u16, len_bytes: u64) -> Option<(Verdict, SlotRef)> {
    let slot_bytes = store.segment().geometry().slot_bytes(len_bytes).unwrap();
    store.make_room(slot_bytes, 1);
    let slot = store.grant(1, slot_bytes)?;
    let id = PieceId { group, ..PieceId::sole(key(i)) };
    let bytes = store.segment().bytes(slot, len_bytes).unwrap();
    // SAFETY: the slot was granted to us, and its range was checked just now.
    let checksum = unsafe {
        bytes.as_ptr().write_bytes(i, len_bytes as usize);
        cascade_core::copy::checksum(bytes.as_ptr(), len_bytes as usize, seal(&id, len_bytes))
    };
    let depth = u32::from(i).checked_ilog2().unwrap_or(0);
    let meta = PieceMeta { id, len_bytes, checksum: checksum.value(), depth };
    Some((store.publish(1, slot, &meta, &parent(i)), slot))
}

/// Where a reader finds block `i`, if the bytes there are its own.
fn find(store: &Store, i: u8) -> Option<SlotRef> {
    find_group(store, i, 0)
}

/// Where a reader finds one KV group's piece of block `i`.
fn find_group(store: &Store, i: u8, group: u16) -> Option<SlotRef> {
    let segment = store.segment();
    let id = PieceId { group, ..PieceId::sole(key(i)) };
    let at = segment
        .index()
        .candidates(id.hash(segment.geometry().seed))
        .find(|at| segment.line(at.arena, at.slot).is_some_and(|line| line.ready_with(&id).is_some()))?;
    let (generation, meta) = segment.line(at.arena, at.slot)?.read()?;
    let slot = SlotRef { arena: at.arena, slot: at.slot, generation };
    assert!(store.verify(slot, &meta), "block {i} has other bytes");
    Some(slot)
}

#[test]
fn a_put_is_found_with_its_bytes_and_the_first_one_wins() {
    let mut store = store(segment(1), 1);
    assert_eq!(put(&mut store, 1, PIECE).unwrap().0, Verdict::Fresh);
    let first = find(&store, 1).unwrap();
    assert_eq!(put(&mut store, 1, PIECE - 1).unwrap().0, Verdict::AlreadyPresent);
    assert_eq!(find(&store, 1), Some(first));
    assert_eq!(store.counters().put_conflicts, 1);
    assert_eq!(store.free_slots(PIECE), 7);
}

#[test]
fn what_the_node_keeps_stays_with_all_that_is_above_it() {
    let mut store = store(segment(1), 1);
    (1..=4).for_each(|i| assert_eq!(put(&mut store, i, PIECE).unwrap().0, Verdict::Fresh));
    let (first, second) = (Ticket::new(1, 0), Ticket::new(2, 1));
    let tail = PieceId::sole(key(4));
    assert!(store.keep(1, first, &tail, 10) && store.keep(1, second, &tail, 20));
    assert!(!store.keep(1, first, &PieceId::sole(key(9)), 10), "it is not there");
    for i in 100..120 {
        assert_eq!(put(&mut store, i, PIECE).unwrap().0, Verdict::Fresh, "the others' slots are enough");
    }
    let is_there = |store: &Store| [1, 2, 4].map(|i| find(store, i).is_some());
    assert_eq!((is_there(&store), find(&store, 3)), ([true; 3], None), "block 3 is in another chain");
    assert!(store.unkeep(1, first) && !store.unkeep(1, first));
    store.evict_all();
    assert_eq!(is_there(&store), [true; 3]);
    store.lapse(20);
    assert_eq!((store.kept(), store.counters().lapsed_keeps), (0, 1));
    store.evict_all();
    assert_eq!(is_there(&store), [false; 3]);
}

#[test]
fn a_client_keeps_so_many_chains_and_no_more() {
    let mut store = store(segment(1), 1);
    store.admit(2);
    assert_eq!(put(&mut store, 1, PIECE).unwrap().0, Verdict::Fresh);
    let keep = |store: &mut Store, page, n| store.keep(page, Ticket::new(n, 0), &PieceId::sole(key(1)), 10);
    assert!(keep(&mut store, 2, 1));
    (1..=2 * HOLD_CELLS as u64).for_each(|n| assert!(keep(&mut store, 1, n)));
    assert_eq!(store.kept(), HOLD_CELLS + 1);
    assert!(!store.unkeep(1, Ticket::new(1, 0)), "the oldest went");
    assert!(store.unkeep(1, Ticket::new(2 * HOLD_CELLS as u64, 0)) && store.unkeep(2, Ticket::new(1, 0)));
    store.forget(1);
    assert_eq!(store.kept(), 0);
}

#[test]
fn a_slot_of_another_client_or_generation_is_refused() {
    let mut store = store(segment(1), 1);
    let slot = store.grant(1, PIECE).unwrap();
    let meta = PieceMeta { id: PieceId::sole(key(1)), len_bytes: 1, checksum: 0, depth: 0 };
    assert_eq!(store.publish(2, slot, &meta, &BlockKey::ROOT), Verdict::NotYours);
    let stale = SlotRef { generation: slot.generation + 1, ..slot };
    assert_eq!(store.publish(1, stale, &meta, &BlockKey::ROOT), Verdict::NotYours);
    let too_long = PieceMeta { len_bytes: PIECE + 1, ..meta };
    assert_eq!(store.publish(1, slot, &too_long, &BlockKey::ROOT), Verdict::NotYours);
    assert_eq!(store.free_slots(PIECE), 8);
}

#[test]
fn a_full_index_costs_a_leaf_and_not_the_root_that_all_chains_share() {
    let geometry = Geometry { buckets: 2, ..Geometry::plan(&[CHUNK], CHUNK, 4096, 4, 99) };
    let mut store = store(segment_of(&geometry), 1);
    for i in 1..=17 {
        assert_eq!(put(&mut store, i, 4096).unwrap().0, Verdict::Fresh);
    }
    assert_eq!((store.counters().full_buckets, store.counters().evicted_blocks), (1, 1));
    let resident: Vec<u8> = (1..=17).filter(|&i| find(&store, i).is_some()).collect();
    assert!(resident.starts_with(&[1, 2, 3, 4, 5, 6, 7, 8]), "{resident:?}");
}

#[test]
fn a_parent_is_never_evicted_before_its_child() {
    let mut store = store(segment(1), 1);
    for i in [1, 2, 4, 8, 16] {
        assert_eq!(put(&mut store, i, PIECE).unwrap().0, Verdict::Fresh);
    }
    for _ in 0..5 {
        let resident: Vec<u8> = [1, 2, 4, 8, 16].into_iter().filter(|&i| find(&store, i).is_some()).collect();
        assert!(resident.iter().all(|&i| i == 1 || resident.contains(&(i / 2))), "{resident:?}");
        let free = store.free_slots(PIECE);
        store.make_room(PIECE, free + 1);
    }
    assert_eq!(find(&store, 1), None);
}

#[test]
fn a_claim_on_the_tail_holds_the_whole_chain() {
    let mut store = store(segment(1), 1);
    for i in [1, 2, 4, 3] {
        put(&mut store, i, PIECE).unwrap();
    }
    let page = store.segment().page(1).unwrap();
    let tail = find(&store, 4).unwrap();
    let line = store.segment().line(tail.arena, tail.slot).unwrap();
    assert!(hazard::protect(page.hold(0), tail, line.state_word(), Reader::Anyone));
    assert_eq!(store.make_room(PIECE, 8), 5, "all but the chain 1, 2, 4 is evicted");
    assert!([1, 2, 4].into_iter().all(|i| find(&store, i).is_some()));
    hazard::release(page.hold(0));
    assert_eq!(store.make_room(PIECE, 8), 8);
}

#[test]
fn a_claim_on_one_group_of_the_tail_holds_the_window_before_it_with_all_groups() {
    let mut store = store(segment(1), 1);
    // A model without full attention: of the chain 1, 2, 4, 8 the window 4, 8 was put, and the state after 8.
    let pieces = [(4, 0), (8, 0), (8, 1)];
    for (i, group) in pieces {
        assert_eq!(put_group(&mut store, i, group, PIECE).unwrap().0, Verdict::Fresh);
    }
    put(&mut store, 3, PIECE).unwrap();
    pin(&store, 0, find_group(&store, 8, 1).unwrap());
    assert_eq!(store.make_room(PIECE, 8), 5, "only block 3 goes");
    assert!(pieces.into_iter().all(|(i, group)| find_group(&store, i, group).is_some()));
    hazard::release(store.segment().page(1).unwrap().hazard(0));
    assert_eq!(store.make_room(PIECE, 6), 7, "the pieces of a block leave together");
    assert_eq!(pieces.map(|(i, group)| find_group(&store, i, group).is_some()), [true, false, false]);
}

#[test]
fn memory_is_recut_for_a_size_that_has_none() {
    let mut store = store(segment(2), 2);
    for i in 1..17 {
        put(&mut store, i, PIECE).unwrap();
    }
    assert_eq!(store.free_slots(CHUNK), 0);
    assert_eq!(put(&mut store, 100, CHUNK).unwrap().0, Verdict::Fresh);
    assert!(find(&store, 100).is_some());
    let stay = (1..17).filter(|&i| find(&store, i).is_some()).count();
    assert!(stay <= 8, "one of two chunks was emptied: {stay}");
}

#[test]
fn a_client_is_granted_near_memory_while_there_is_some() {
    let geometry = Geometry::plan(&[CHUNK, CHUNK], CHUNK, 4096, 4, 99);
    let meta = region(geometry.meta_bytes());
    Segment::create(&geometry, meta, 7).unwrap();
    let mut arenas = [None; ARENAS_MAX];
    (arenas[0], arenas[1]) = (Some(region(CHUNK)), Some(region(CHUNK)));
    let segment = Segment::open(meta, region(geometry.pages_bytes()), arenas).unwrap();
    let mut store = Store::new(segment, policy::by_name("lru", 8).unwrap());
    (0..2).for_each(|arena| store.back(arena, 0));
    for (client, near) in [(1, 0), (2, 1)] {
        store.admit(client);
        store.keep_near(client, near);
        for _ in 0..4 {
            assert_eq!(store.grant(client, PIECE).unwrap().arena, near);
        }
    }
    let rest: Vec<u8> = std::iter::from_fn(|| store.grant(1, PIECE)).map(|slot| slot.arena).collect();
    assert_eq!(rest, [0, 0, 0, 0, 1, 1, 1, 1]);
}

#[test]
fn a_corrupt_piece_is_dropped_and_what_hangs_below_waits_for_the_next_of_its_name() {
    let mut store = store(segment(1), 1);
    for i in [1, 2, 4] {
        put(&mut store, i, PIECE).unwrap();
    }
    let slot = find(&store, 2).unwrap();
    store.suspect(slot, u64::MAX);
    assert!(find(&store, 2).is_some(), "a wrong suspicion changes nothing");
    let bytes = store.segment().bytes(slot, 1).unwrap();
    // SAFETY: the range was checked, and this test is the only reader and writer.
    unsafe { bytes.as_ptr().write(!bytes.as_ptr().read()) };
    store.suspect(slot, u64::MAX);
    assert_eq!(store.counters().corrupt_pieces, 1);
    assert_eq!([1, 2, 4].map(|i| find(&store, i).is_some()), [true, false, true]);
    assert_eq!(put(&mut store, 2, PIECE).unwrap().0, Verdict::Fresh);
    assert!([1, 2, 4].iter().all(|&i| find(&store, i).is_some()));
}

#[test]
fn a_slot_under_transfer_is_out_of_use_until_it_has_new_pages() {
    let shared = segment(1);
    let mut store = store(shared, 1);
    let (_, slot) = put(&mut store, 1, PIECE).unwrap();
    let line = shared.line(slot.arena, slot.slot).unwrap();
    let loading = Snapshot { state: State::Loading, generation: slot.generation, client: 0 };
    line.state_word().store(loading.pack(), Ordering::Relaxed);
    let mut next = Store::new(shared, policy::by_name("lru", 8).unwrap());
    let adopted = next.adopt();
    assert_eq!((adopted.loading, adopted.pieces, adopted.damaged), (1, 0, 0));
    assert_eq!(next.make_room(PIECE, 8), 7);
    assert_eq!(next.next_loading(), Some(slot));
    assert_eq!(next.make_room(PIECE, 8), 7, "whoever asked for it may have failed to renew it");
    next.give_up_load(slot);
    assert_eq!(next.make_room(PIECE, 8), 8);
    assert_eq!(line.snapshot().unwrap().generation, slot.generation + 1);
}

/// Pins block `i` in a cell of client 1.
fn pin(store: &Store, cell: usize, slot: SlotRef) {
    let (page, line) = (store.segment().page(1).unwrap(), store.segment().line(0, slot.slot).unwrap());
    assert!(hazard::protect(page.hazard(cell), slot, line.state_word(), Reader::Anyone));
}

#[test]
fn a_corrupt_piece_is_out_of_the_way_even_under_a_claim() {
    let mut store = store(segment(1), 1);
    let (_, slot) = put(&mut store, 1, PIECE).unwrap();
    pin(&store, 0, slot);
    let bytes = store.segment().bytes(slot, 1).unwrap();
    // SAFETY: the range was checked, and this test is the only reader and writer.
    unsafe { bytes.as_ptr().write(!bytes.as_ptr().read()) };
    store.suspect(slot, u64::MAX);
    assert_eq!(find(&store, 1), None);
    assert_eq!(store.counters().resident_bytes, 0);
    let (verdict, next) = put(&mut store, 1, PIECE).unwrap();
    assert_eq!(verdict, Verdict::Fresh);
    assert_ne!(next.slot, slot.slot, "the old slot is claimed");
    assert_eq!(store.free_slots(PIECE), 6);
    hazard::release(store.segment().page(1).unwrap().hazard(0));
    store.settle();
    assert_eq!(store.free_slots(PIECE), 7);
}

#[test]
fn a_piece_is_discarded_once_and_only_at_its_generation() {
    let mut store = store(segment(1), 1);
    let (_, slot) = put(&mut store, 1, PIECE).unwrap();
    assert!(!store.discard(SlotRef { generation: slot.generation + 1, ..slot }));
    assert!(store.discard(slot));
    assert!(!store.discard(slot));
    assert_eq!(put(&mut store, 1, PIECE).unwrap().0, Verdict::Fresh);
    assert!(!store.discard(slot), "the slot may be the same, the piece is another");
    assert_eq!((store.counters().discarded_pieces, store.counters().dropped_blocks), (1, 1));
}

#[test]
fn a_hold_below_a_discarded_piece_keeps_what_it_was_given_for_what_comes_in_its_place() {
    let mut store = store(segment(1), 1);
    for i in [1, 2, 4] {
        put(&mut store, i, PIECE).unwrap();
    }
    let (root, middle, tail) = (find(&store, 1), find(&store, 2).unwrap(), find(&store, 4).unwrap());
    pin(&store, 0, tail);
    assert!(store.discard(middle));
    assert_eq!([1, 2, 4].map(|i| find(&store, i)), [root, None, Some(tail)]);
    assert_eq!(put(&mut store, 2, PIECE).unwrap().0, Verdict::Fresh);
    assert_eq!(store.make_room(PIECE, 8), 5, "the chain is one again, and held by its tail");
}

#[test]
fn a_store_shrinks_by_whole_chunks_down_to_what_is_claimed() {
    let mut store = store(segment(3), 3);
    for i in 1..17 {
        put(&mut store, i, PIECE).unwrap();
    }
    let page = store.segment().page(1).unwrap();
    let kept = find(&store, 1).unwrap();
    let line = store.segment().line(kept.arena, kept.slot).unwrap();
    assert!(hazard::protect(page.hazard(0), kept, line.state_word(), Reader::Anyone));
    assert!(store.shrink().is_some(), "the chunk that was never cut goes first");
    assert!(find(&store, 16).is_some());
    assert!(store.shrink().is_some());
    assert_eq!(store.shrink(), None);
    assert_eq!(store.backed_bytes(), CHUNK);
    assert_eq!(find(&store, 1), Some(kept));
    assert_eq!(store.unbacked_chunks(), 2);
}

#[test]
fn what_cannot_be_recut_is_not_evicted_in_vain() {
    let mut store = store(segment(2), 2);
    // One chain through both chunks, with a leaf beside it in each.
    for i in [1, 2, 4, 8, 16, 32, 64, 3, 128, 5, 6, 7, 9, 10, 11, 12] {
        put(&mut store, i, PIECE).unwrap();
    }
    let page = store.segment().page(1).unwrap();
    let tail = find(&store, 128).unwrap();
    let line = store.segment().line(tail.arena, tail.slot).unwrap();
    assert!(hazard::protect(page.hold(0), tail, line.state_word(), Reader::Anyone));
    assert_eq!(store.make_room(CHUNK, 1), 0);
    assert_eq!(store.counters().evicted_blocks, 0, "no chunk could become whole");
    hazard::release(page.hold(0));
    assert_eq!(store.make_room(CHUNK, 1), 1);
}

#[test]
fn a_long_held_chain_does_not_hide_what_can_go() {
    let mut store = store(segment(4), 4);
    let mut parent = BlockKey::ROOT;
    let numbered = |i: u32| cascade_core::key::block_key(&BlockKey::ROOT, &[i]);
    let mut last = None;
    for i in 0..1020 {
        let slot = store.grant(1, 4096).unwrap();
        // The last four stand alone, younger than the chain.
        let lineage = if i < 1016 { parent } else { BlockKey::ROOT };
        let meta = PieceMeta { id: PieceId::sole(numbered(i)), len_bytes: 1, checksum: 0, depth: i };
        assert_eq!(store.publish(1, slot, &meta, &lineage), Verdict::Fresh);
        parent = numbered(i);
        if i == 1015 {
            last = Some(slot);
        }
    }
    let (page, tail) = (store.segment().page(1).unwrap(), last.unwrap());
    let line = store.segment().line(tail.arena, tail.slot).unwrap();
    assert!(hazard::protect(page.hold(0), tail, line.state_word(), Reader::Anyone));
    assert_eq!(store.make_room(4096, 8), 8, "four were free, four stand alone");
    assert_eq!(store.make_room(4096, 9), 8);
    hazard::release(page.hold(0));
    assert_eq!(store.evict_all(), 0);
}

#[test]
fn a_child_that_was_adopted_before_its_parent_came_is_held_with_it() {
    let shared = segment(1);
    let mut store = store(shared, 1);
    put(&mut store, 2, PIECE).unwrap();
    store = Store::new(shared, policy::by_name("lru", 8).unwrap());
    store.admit(1);
    assert_eq!(store.adopt().pieces, 1);
    put(&mut store, 1, PIECE).unwrap();
    let page = store.segment().page(1).unwrap();
    let tail = find(&store, 2).unwrap();
    let line = store.segment().line(tail.arena, tail.slot).unwrap();
    assert!(hazard::protect(page.hold(0), tail, line.state_word(), Reader::Anyone));
    assert_eq!(store.make_room(PIECE, 8), 6);
    assert!(find(&store, 1).is_some());
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, bool),
    Touch(u8),
    Pin(u8),
    Unpin,
    Discard(u8),
    MakeRoom(u8),
    Die,
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1u8..64, any::<bool>()).prop_map(|(i, large)| Step::Put(i, large)),
        3 => (1u8..64).prop_map(Step::Touch),
        2 => (1u8..64).prop_map(Step::Pin),
        2 => Just(Step::Unpin),
        1 => (1u8..64).prop_map(Step::Discard),
        1 => (1u8..20).prop_map(Step::MakeRoom),
        1 => Just(Step::Die),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..150)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_history_loses_a_claim_or_a_slot_or_shows_wrong_bytes(steps in steps(), policy in 0usize..4) {
        let shared = segment(3);
        let name = policy::NAMES[policy];
        let fresh = || Store::new(shared, policy::by_name(name, 8).unwrap());
        let mut store = fresh();
        (0..3).for_each(|chunk| store.back(0, chunk));
        store.admit(1);
        let mut pins: Vec<(usize, u8, SlotRef)> = Vec::new();
        // Discarded under a pin: the slot keeps its bytes, and is not where the block is.
        let mut gone: HashSet<SlotRef> = HashSet::new();
        let mut lens: HashMap<u8, u64> = HashMap::new();
        for (at, step) in steps.into_iter().enumerate() {
            match step {
                Step::Put(i, large) => {
                    let len = if large { 300 << 10 } else { PIECE };
                    if let Some((Verdict::Fresh, _)) = put(&mut store, i, len) {
                        lens.insert(i, len);
                    }
                }
                Step::Touch(i) => {
                    if let Some(tail) = find(&store, i) {
                        store.touch(Touch { tail, blocks: 3 });
                    }
                }
                Step::Pin(i) => {
                    if let Some(slot) = find(&store, i) {
                        let cell = store.segment().page(1).unwrap().hazard(at);
                        let line = store.segment().line(slot.arena, slot.slot).unwrap();
                        prop_assert!(hazard::protect(cell, slot, line.state_word(), Reader::Anyone));
                        pins.push((at, i, slot));
                    }
                }
                Step::Unpin => {
                    if let Some((cell, ..)) = pins.pop() {
                        hazard::release(store.segment().page(1).unwrap().hazard(cell));
                    }
                }
                Step::Discard(i) => {
                    if let Some(slot) = find(&store, i) {
                        prop_assert!(store.discard(slot));
                        prop_assert_eq!(find(&store, i), None);
                        gone.insert(slot);
                    }
                }
                Step::MakeRoom(slots) => { store.make_room(PIECE, u64::from(slots)); }
                Step::Die => {
                    store.forget(1);
                    pins.clear();
                    store.admit(1);
                }
                Step::Restart => {
                    let before: Vec<_> = (1u8..64).filter(|&i| find(&store, i).is_some()).collect();
                    store = fresh();
                    store.admit(1);
                    let adopted = store.adopt();
                    let after: Vec<_> = (1u8..64).filter(|&i| find(&store, i).is_some()).collect();
                    prop_assert_eq!(&before, &after);
                    prop_assert_eq!(adopted.pieces, after.len());
                    prop_assert_eq!(adopted.damaged, 0);
                    (0..3).for_each(|chunk| store.back(0, chunk));
                }
            }
            for (_, i, slot) in &pins {
                let (found, meta) = (find(&store, *i), store.segment().line(0, slot.slot).unwrap().meta());
                prop_assert_eq!((meta.id, store.verify(*slot, &meta)), (PieceId::sole(key(*i)), true));
                let stays = found == Some(*slot);
                prop_assert_eq!(stays, !gone.contains(slot), "a pinned block stays where it is, or is gone");
            }
        }
        store.forget(1);
        prop_assert_eq!(store.evict_all(), 0);
        prop_assert_eq!(store.free_bytes(), store.backed_bytes(), "every slot came back");
        prop_assert_eq!(store.segment().index().entries().count(), 0);
    }
}
