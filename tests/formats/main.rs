//! Golden bytes: what lies in shared memory, on disk, on the wire and in keys, as programs of other releases find it.
//!
//! Each format has a text file beside this one: a line a value, its name and its bytes or 64-bit words in hexadecimal
//! (words lie little-endian in memory). A difference means that this program no longer understands what an older
//! one wrote: raise the version that the test names, describe the change in `core/docs/layout.md`, and only then write
//! the files anew with `CASCADE_GOLDEN=write cargo test -p cascade-tests --test formats`.

mod golden;

use cascade_core::chain::Located;
use cascade_core::checksum::Crc32c;
use cascade_core::index::{BUCKET_WORDS, Index, Location};
use cascade_core::key::{BlockKey, Namespace, block_key, chain, wrapped_key};
use cascade_core::page::{PAGE_BYTES, PAGE_WORDS, Page};
use cascade_core::piece::{PieceId, PieceMeta, seal};
use cascade_core::request::{COMPLETION_WORDS, Completion, Question, Request, Ticket, Verdict};
use cascade_core::rule::{Rule, Share};
use cascade_core::segment::{Geometry, HEADER_BYTES, Segment};
use cascade_core::slot::{Event, LINE_WORDS, Line, SlotRef, State};
use cascade_core::sync::{AtomicU64, Ordering, zeroed_words};
use cascade_core::tally::Tally;
use cascade_core::touch::{NOTE_WORDS, Touch, Touches};
use cascade_core::view::{Region, WORD_BYTES};
use cascade_core::wire::Frame;
use cascade_tier::{Place, Record};
use cascade_tier_lustre::format as store;
use golden::Golden;
use std::ptr::NonNull;

const SEGMENT: &str = "segment::LAYOUT_VERSION";

fn namespace() -> Namespace {
    Namespace {
        model: "meta-llama/Llama-3.1-8B".into(),
        revision: "0e9e39f".into(),
        weights_fingerprint: [0xa5; 32],
        dtype: "bfloat16".into(),
        layout: "NHD".into(),
        block_tokens: 16,
        tensor_parallel: 4,
        pipeline_parallel: 2,
        lora: "sql".into(),
        tenant_salt: "tenant-1".into(),
    }
}

fn meta() -> PieceMeta {
    let id =
        PieceId { key: BlockKey::from_bytes(std::array::from_fn(|i| i as u8)), rank: 0x1122, group: 0x3344 };
    PieceMeta { id, len_bytes: 0x0102_0304_0506, checksum: 0xdead_beef, depth: 0x0a0b_0c0d }
}

const SLOT: SlotRef = SlotRef { arena: 0x77, slot: 0x8899_aabb, generation: 0x00cc_ddee };

fn values(words: &[AtomicU64]) -> Vec<u64> {
    words.iter().map(|word| word.load(Ordering::Relaxed)).collect()
}

#[test]
fn keys_are_the_same_in_every_release_and_language() {
    let mut golden = Golden::new("keys", "the contexts in core/src/key.rs (\"… v1\")");
    let root = namespace().root();
    golden.bytes("namespace root, all fields set", root.as_bytes());
    golden.bytes("namespace root, all fields empty", Namespace::default().root().as_bytes());
    golden.bytes("block key, tokens 0..16", block_key(&root, &Vec::from_iter(0..16)).as_bytes());
    golden.bytes("block key, no tokens", block_key(&root, &[]).as_bytes());
    let tokens: Vec<u32> = (0..40).map(|i| i * 3 + 128_000).collect();
    for (i, key) in chain(root, 16, &tokens).enumerate() {
        golden.bytes(&format!("chain of 40 tokens from 128000 by 3, block {i}"), key.as_bytes());
    }
    golden.bytes("wrapped key of 32 times ff", wrapped_key(&root, &[0xff; 32]).as_bytes());
    golden.compare();
}

#[test]
fn a_namespace_describes_itself_as_it_always_did() {
    let mut golden = Golden::new("namespace", "key::DESCRIPTION_VERSION");
    let quoted = Namespace { layout: "{\"a\\b\":\n\u{e9}}".into(), ..Namespace::default() };
    for (name, namespace) in [("all fields set", namespace()), ("with what has to be quoted", quoted)] {
        let description = namespace.description();
        golden.bytes(name, description.as_bytes());
        let fields: serde_json::Value = serde_json::from_str(&description).expect("it is JSON");
        assert_eq!(fields["layout"], namespace.layout);
        assert_eq!(fields["tenant"], namespace.tenant_salt);
    }
    let PieceId { key, rank, group } = PieceId::description(namespace().root());
    golden.bytes("block of the description", key.as_bytes());
    golden.words("rank and group of the description", &[u64::from(rank), u64::from(group)]);
    golden.compare();
}

#[test]
fn a_piece_is_sealed_as_it_always_was() {
    let mut golden = Golden::new("seal", SEGMENT);
    let PieceMeta { id, len_bytes, .. } = meta();
    golden.bytes("seal before the first byte", &seal(&id, len_bytes).value().to_le_bytes());
    let payload: Vec<u8> = (0..=255).collect();
    golden.bytes("checksum with bytes 00 to ff", &seal(&id, 256).update(&payload).value().to_le_bytes());
    golden
        .bytes("checksum of an empty piece", &seal(&PieceId::sole(BlockKey::ROOT), 0).value().to_le_bytes());
    golden.words("hash of a piece, seed 7", &[id.hash(7)]);
    golden.compare();
}

#[test]
fn requests_lie_in_the_ring_as_they_always_did() {
    let mut golden = Golden::new("requests", SEGMENT);
    let ticket = Ticket::new(0x0123_4567_89ab, 0x0042);
    let parent = BlockKey::from_bytes([0xee; 32]);
    let question = Question { blocks: 0x1234, shares: 0x21, deadline_ns: 0x5678_9abc_def0, ticket };
    let requests = [
        ("commit", Request::Commit { slot: SLOT, meta: meta(), parent, ticket: Some(ticket) }),
        ("commit, nobody waits", Request::Commit { slot: SLOT, meta: meta(), parent, ticket: None }),
        ("reserve", Request::Reserve { len_bytes: 0x1234, deadline_ns: 0x5678_9abc_def0, ticket }),
        ("abort", Request::Abort { slot: SLOT }),
        ("suspect", Request::Suspect { slot: SLOT }),
        ("cancel", Request::Cancel { ticket }),
        ("flush", Request::Flush { ticket }),
        ("discard", Request::Discard { slot: SLOT }),
        ("keys", Request::Keys { first: 0x0a00, count: 0x01ff }),
        ("locate", Request::Locate(question)),
        ("promote", Request::Promote(question)),
    ];
    for (name, request) in requests {
        golden.words(name, &request.encode());
    }
    for verdict in [
        Verdict::Fresh,
        Verdict::AlreadyPresent,
        Verdict::NoRoom,
        Verdict::TooLarge,
        Verdict::NotYours,
        Verdict::Granted,
        Verdict::Expired,
        Verdict::Flushed,
    ] {
        let words = zeroed_words(COMPLETION_WORDS);
        Completion::new(&words).answer(ticket, verdict);
        golden.words(&format!("completion {verdict:?}"), &values(&words));
    }
    let located = Located { blocks: 0x0a0b, memory_blocks: 0x0102, tiers: 0b101 };
    for verdict in [Verdict::Located, Verdict::Promoted, Verdict::Declined, Verdict::Fenced] {
        let words = zeroed_words(COMPLETION_WORDS);
        Completion::new(&words).answer_with(ticket, verdict, located);
        golden.words(&format!("completion {verdict:?} of a chain"), &values(&words));
    }
    golden.compare();
}

#[test]
fn frames_cross_the_socket_as_they_always_did() {
    let mut golden = Golden::new("frames", "wire::VERSION");
    let (segment_id, owner) = (0x0102_0304_0506_0708, 0x1112_1314_1516_1718);
    let frames = [
        ("attach", Frame::Attach { segment_id, page: 0x2122, owner }),
        ("attached", Frame::Attached { segment_id, page: 0x2122, owner, epoch: 9, arenas: 0b101 }),
        ("refused", Frame::Refused("no".into())),
        ("query", Frame::Query("status".into())),
        ("answer", Frame::Answer("{}".into())),
    ];
    for (name, frame) in frames {
        golden.bytes(name, &frame.encode());
    }
    golden.compare();
}

#[test]
fn a_segment_begins_with_the_header_that_it_always_had() {
    let mut golden = Golden::new("header", SEGMENT);
    let geometry = Geometry::plan(&[64 << 20, 0, 32 << 20], 1 << 20, 4096, 16, 0x0123_4567_89ab_cdef);
    let words = zeroed_words(HEADER_BYTES / WORD_BYTES);
    // SAFETY: the words outlive the region, are atomic, and are reached through it and themselves only.
    let region = unsafe { Region::new(NonNull::from(&words[..]).cast(), HEADER_BYTES) };
    Segment::create(&geometry, region, 0x4242).expect("the region holds a header");
    for (at, line) in
        values(&words).chunks(8).enumerate().filter(|(_, line)| line.iter().any(|&word| word != 0))
    {
        golden.words(&format!("words {}..{}", at * 8, at * 8 + 8), line);
    }
    golden.words("bytes of the metadata and of the pages", &[geometry.meta_bytes(), geometry.pages_bytes()]);
    golden.compare();
}

#[test]
fn index_entries_are_packed_and_placed_as_they_always_were() {
    let mut golden = Golden::new("index", SEGMENT);
    let words = zeroed_words(64 * BUCKET_WORDS);
    let index = Index::new(&words);
    for hash in [0, 0x0123_4567_89ab_cdef, u64::MAX] {
        let place = Location { arena: SLOT.arena, slot: SLOT.slot };
        assert!(index.insert(hash, place).is_ok(), "the table is all but empty");
        let (at, _) = index.entries().next().expect("just inserted");
        let entry = words[at].load(Ordering::Relaxed);
        golden.words(&format!("hash {hash:016x} of 64 buckets: word, entry"), &[at as u64, entry]);
        assert!(index.remove(hash, place));
    }
    golden.compare();
}

#[test]
fn slot_lines_are_as_they_always_were() {
    let mut golden = Golden::new("slot", SEGMENT);
    let words = zeroed_words(LINE_WORDS);
    let line = Line::new(&words);
    golden.words("handle: arena 77, generation ccddee, slot 8899aabb", &[SLOT.pack()]);
    let mut step = |event| {
        let state = line.step(event).expect("the event has its place").state;
        golden.words(&format!("state word, {state:?} after {event:?}"), &[words[0].load(Ordering::Relaxed)]);
    };
    [Event::Load, Event::Revoke, Event::Reclaim, Event::Grant { client: 0x5566 }]
        .into_iter()
        .for_each(&mut step);
    line.describe(&meta());
    [Event::Publish, Event::Drain, Event::Restore].into_iter().for_each(&mut step);
    golden.words("line of a Ready slot", &values(&words));
    golden.words("codes of the states, in order", &State::ALL.map(|state| state as u64));
    golden.compare();
}

#[test]
fn the_groups_of_a_client_page_lie_where_they_always_lay() {
    let mut golden = Golden::new("page", SEGMENT);
    let words = zeroed_words(PAGE_WORDS);
    let page = Page::new(&words);
    let at = |word: &AtomicU64| (std::ptr::from_ref(word).addr() - words.as_ptr().addr()) as u64;
    golden.words("offset of owner, epoch, asleep", &[at(page.owner()), at(page.epoch()), at(page.asleep())]);
    golden.words("offset of pins, holds", &[at(page.hazard(0)), at(page.hold(0))]);
    // The other groups show themselves by what is written through them.
    let changed = |what: &dyn Fn()| {
        let before = values(&words);
        what();
        let now = values(&words);
        let places = (0..PAGE_WORDS).filter(|&i| before[i] != now[i]);
        places.flat_map(|i| [(i * WORD_BYTES) as u64, now[i]]).collect::<Vec<_>>()
    };
    let pairs = "offset and value of each changed word";
    golden.words(
        &format!("pin of cell 2, {pairs}"),
        &changed(&|| page.hazard(2).store(SLOT.pack(), Ordering::Relaxed)),
    );
    golden.words(
        &format!("hold of cell 1, {pairs}"),
        &changed(&|| page.hold(1).store(SLOT.pack(), Ordering::Relaxed)),
    );
    golden.words(
        &format!("grant in lane 1, {pairs}"),
        &changed(&|| {
            page.lane(1).assign(4096);
            assert!(page.lane(1).hand_out(SLOT));
        }),
    );
    golden.words(
        &format!("answer to entry 1, {pairs}"),
        &changed(&|| {
            let ticket = Ticket::new(3, 1);
            page.completion(ticket).expect("there is such an entry").answer(ticket, Verdict::Fresh);
        }),
    );
    golden.words(
        &format!("request, {pairs}"),
        &changed(&|| {
            assert!(page.ring().push(&Request::Abort { slot: SLOT }.encode()).is_some());
        }),
    );
    golden.words(&format!("request done, {pairs}"), &changed(&|| page.ring().done()));
    golden.words(
        &format!("touch, {pairs}"),
        &changed(&|| page.touches().note(Touch { tail: SLOT, blocks: 5 })),
    );
    golden.words(
        &format!("two keys of a chain, {pairs}"),
        &changed(&|| page.chain().lay_keys(&[meta().id.key, BlockKey::from_bytes([0xee; 32])])),
    );
    let share = Share::new(0x1122, 0x3344);
    let shares = [share, share.under(Rule::Window { blocks: 0x5566_7788 }), share.under(Rule::LastState)];
    golden.words(
        &format!("shares: every block, a window of 55667788, the last state, {pairs}"),
        &changed(&|| page.chain().lay_shares(&shares)),
    );
    golden.words(
        &format!("each tally counted once in stripe 1, {pairs}"),
        &changed(&|| Tally::ALL.into_iter().for_each(|tally| page.tallies().add(1, tally, 1 + tally as u64))),
    );
    golden.words("words of a page, bytes to the next", &[PAGE_WORDS as u64, PAGE_BYTES as u64]);
    golden.compare();
}

#[test]
fn touch_notes_carry_the_check_that_they_always_did() {
    let mut golden = Golden::new("touch", SEGMENT);
    let words = zeroed_words(1 + 2 * NOTE_WORDS);
    let touches = Touches::new(&words[0], &words[1..]);
    touches.note(Touch { tail: SLOT, blocks: 7 });
    touches.note(Touch { tail: SLOT, blocks: 8 });
    golden.words("count and two notes of one slot", &values(&words));
    golden.compare();
}

#[test]
fn a_store_on_disk_is_what_it_always_was() {
    let mut golden = Golden::new("store", "cascade_tier_lustre::format::VERSION");
    let container = store::ContainerId { writer: 0x0123_4567_89ab_cdef, sequence: 0x1122_3344 };
    let PieceMeta { id, checksum, depth, .. } = meta();
    let record = |offset| Record {
        piece: id.into(),
        checksum,
        length_bytes: 0x1234,
        place: Place { parent: [0xee; 32], depth },
        stored_unix_s: 0x6543_2100,
        extent: store::Location::checked(container, offset, 0x1234).expect("it may lie there").to_extent(),
    };
    for name in [
        store::FileName::Store,
        store::FileName::Manifest(container.writer),
        store::FileName::Folded(container.writer),
        store::FileName::Container(container),
        store::FileName::Claim(container.sequence),
        store::FileName::Unfinished(container.writer),
    ] {
        golden.bytes(&format!("name {name}"), name.to_string().as_bytes());
    }
    golden.words("extent of a piece", &record(0x5000).extent.words);
    let (unix_s, bytes) = (0x6543_2101, 0x0abc_d000);
    for (name, line) in [
        ("store", store::Line::Store { made_unix_s: unix_s }),
        ("opened", store::Line::Opened { container, reserved_bytes: bytes, opened_unix_s: unix_s }),
        ("stored", store::Line::Stored(record(0x5000))),
        ("removed", store::Line::Removed(record(0x5000))),
        ("sealed", store::Line::Sealed { container, bytes }),
        ("condemned", store::Line::Condemned { container }),
        ("gone", store::Line::Gone { container }),
        ("alive", store::Line::Alive { unix_s }),
        ("closed", store::Line::Closed { unix_s }),
        ("folds", store::Line::Folds { writer: container.writer, bytes }),
        ("head", store::Line::Head { container, offset: 0x4000, record_bytes: 0x3000, pieces: 1 }),
        ("footer", store::Line::Footer { container, offset: 0x7000, pieces: 1 }),
        ("claim", store::Line::Claim { writer: container.writer, renewals: 9 }),
        ("continues", store::Line::Continues { writer: container.writer }),
    ] {
        golden.bytes(&format!("line {name}"), &line.encode());
    }
    let mut block = vec![0; store::BLOCK_BYTES as usize];
    let pieces = vec![record(0x5000), record(0x6000)];
    store::Head { container, offset: 0x4000, record_bytes: 0x4000, pieces: pieces.clone() }
        .encode_into(&mut block);
    golden.bytes("checksum of the head of two pieces", &Crc32c::EMPTY.update(&block).value().to_le_bytes());
    let mut footer = vec![0; store::footer_bytes(2) as usize];
    store::Footer::encode_into(container, 0x8000, &pieces, &mut footer);
    golden
        .bytes("checksum of the footer of two pieces", &Crc32c::EMPTY.update(&footer).value().to_le_bytes());
    golden.compare();
}
