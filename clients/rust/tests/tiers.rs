//! Chains and pieces over several tiers: located, promoted, read within a deadline.

mod support;

use cascade_client::{
    BlockKey, Client, Committed, Deadline, Error, Lineage, Located, Lookup, PieceId, Reason, Rule, Share,
    Verdict,
};
use cascade_core::chain::CHAIN_BLOCKS_MAX;
use cascade_core::key::Namespace;
use cascade_core::page::{CHAIN_KEYS, CHAIN_SHARES, COMPLETIONS};
use rustix::event::{PollFd, PollFlags, poll};
use support::{Node, SHORT, bytes, key, soon};

const SOLE: [Share; 1] = [Share::new(0, 0)];
const LEN: usize = 4096;

fn keys(count: u8) -> Vec<BlockKey> {
    (1..=count).map(key).collect()
}

fn put(client: &Client, keys: &[BlockKey], index: usize) {
    let lineage = Lineage::in_chain(BlockKey::ROOT, keys, index);
    let piece = PieceId::sole(keys[index]);
    let committed = client.put_wait(&piece, lineage, &bytes(index as u8, LEN), soon()).unwrap();
    assert_eq!(committed, Committed::Fresh);
}

/// A node with the first blocks of a chain in memory and the next ones below.
fn node_with(keys: &[BlockKey], memory: usize, below: usize) -> (Node, Client) {
    let node = Node::start(2);
    let client = node.connect();
    (0..memory).for_each(|i| put(&client, keys, i));
    let stored = (memory..memory + below).map(|i| (PieceId::sole(keys[i]), bytes(i as u8, LEN)));
    node.state().below.extend(stored);
    (node, client)
}

#[test]
fn locating_counts_every_tier_and_brings_nothing() {
    let keys = keys(10);
    let (node, client) = node_with(&keys, 3, 4);
    let located = client.locate(&keys, &SOLE, soon()).unwrap();
    assert_eq!(located, Located { blocks: 7, memory_blocks: 3, tiers: 1 });
    assert_eq!(client.match_chain(&keys, &SOLE).unwrap(), 3);
    assert_eq!(client.locate(&keys[..2], &SOLE, soon()).unwrap(), Located::in_memory(2));
    let windowed = [SOLE[0].under(Rule::Window { blocks: 2 })];
    node.state().below.remove(&PieceId::sole(keys[3]));
    assert_eq!(client.locate(&keys, &SOLE, soon()).unwrap(), Located::in_memory(3));
    assert_eq!(client.locate(&keys, &windowed, soon()).unwrap().blocks, 7);
    assert_eq!(client.stats().promotions, 0);
}

#[test]
fn a_promoted_chain_is_in_memory_and_kept_until_it_is_let_go() {
    let keys = keys(10);
    let (node, client) = node_with(&keys, 3, 4);
    let promotion = client.promote(&keys, &SOLE, soon()).unwrap();
    assert_eq!((promotion.blocks(), promotion.reason()), (7, None));
    assert_eq!(client.match_chain(&keys, &SOLE).unwrap(), 7);
    for (i, key) in keys[..7].iter().enumerate() {
        let mut target = [0; LEN];
        assert_eq!(client.get_into(&PieceId::sole(*key), &mut target).unwrap(), Lookup::Hit(LEN));
        assert_eq!(target[..], bytes(i as u8, LEN)[..]);
    }
    assert_eq!(node.state().kept.len(), 1);
    let hold = promotion.hold().unwrap().hit().unwrap();
    assert_eq!(hold.blocks(), 7);
    drop(promotion);
    node.settle(&client);
    assert_eq!(node.state().kept.len(), 0);
    assert!(!node.state().evict(&PieceId::sole(keys[6])), "the hold has it now");
    let stats = client.stats();
    assert_eq!((stats.promotions, stats.promoted_blocks), (1, 7));
}

#[test]
fn a_promotion_tells_why_not_all_came_and_counts_it() {
    let keys = keys(10);
    let (node, client) = node_with(&keys, 3, 4);
    let verdicts = [
        (Verdict::Expired, Reason::Expired),
        (Verdict::Declined, Reason::Declined),
        (Verdict::Fenced, Reason::Fenced),
    ];
    for (verdict, reason) in verdicts {
        node.state().tier_says = Some(verdict);
        let promotion = client.promote(&keys, &SOLE, soon()).unwrap();
        assert_eq!((promotion.blocks(), promotion.reason()), (3, Some(reason)));
        let in_memory = client.promote(&keys[..3], &SOLE, soon()).unwrap();
        assert_eq!((in_memory.blocks(), in_memory.reason()), (3, None), "the tier is not needed");
        let got = client.get_within(&PieceId::sole(keys[5]), &mut [0; LEN], soon()).unwrap();
        assert_eq!(got, Lookup::Miss(reason));
    }
    let stats = client.stats();
    assert_eq!([stats.misses_expired, stats.misses_declined, stats.misses_fenced], [2; 3]);
}

#[test]
fn a_piece_is_read_wherever_it_lies() {
    let keys = keys(10);
    let (node, client) = node_with(&keys, 1, 1);
    let mut target = [0; LEN];
    let mut get =
        |i: usize, deadline| client.get_within(&PieceId::sole(keys[i]), &mut target, deadline).unwrap();
    assert_eq!(get(0, soon()), Lookup::Hit(LEN));
    assert_eq!(client.stats().promotions, 0, "what is in memory is not asked for");
    assert_eq!(get(1, Deadline::NOW), Lookup::Miss(Reason::Absent));
    assert_eq!(get(1, soon()), Lookup::Hit(LEN));
    assert_eq!(get(1, Deadline::NOW), Lookup::Hit(LEN));
    assert_eq!(get(2, soon()), Lookup::Miss(Reason::Absent));
    let short = client.get_within(&PieceId::sole(keys[0]), &mut [0; 10], soon()).unwrap();
    assert_eq!(short, Lookup::Miss(Reason::TooShort { len_bytes: LEN as u64 }));
    node.state().damage(&PieceId::sole(keys[0]));
    assert_eq!(get(0, soon()), Lookup::Miss(Reason::Corrupt), "this node looks at no suspicion");
    node.settle(&client);
    assert!(node.state().kept.is_empty());
}

#[test]
fn a_chain_longer_than_the_area_is_handed_over_batch_by_batch() {
    let node = Node::start(1);
    let client = node.connect();
    let keys = vec![key(1); 3 * CHAIN_KEYS + 7];
    put(&client, &keys, 0);
    assert_eq!(client.locate(&keys, &SOLE, soon()).unwrap(), Located::in_memory(keys.len()));
    let endless = vec![key(1); CHAIN_BLOCKS_MAX + 1];
    assert_eq!(client.locate(&endless, &SOLE, soon()).unwrap().blocks, CHAIN_BLOCKS_MAX);
    let many = vec![SOLE[0]; CHAIN_SHARES];
    assert_eq!(client.locate(&endless, &many, soon()).unwrap().blocks, (1 << 20) / CHAIN_SHARES);
    let too_many = vec![SOLE[0]; CHAIN_SHARES + 1];
    assert!(matches!(client.locate(&keys, &too_many, soon()), Err(Error::Refused(_))));
    assert_eq!(client.locate(&[], &SOLE, Deadline::NOW).unwrap(), Located::default());
    assert_eq!(client.promote(&keys, &[], Deadline::NOW).unwrap().blocks(), 0);
}

#[test]
fn questions_are_begun_and_given_up_without_waiting_whatever_the_node_does() {
    let keys = vec![key(1); 2 * CHAIN_KEYS];
    let (node, client) = node_with(&keys[..1], 1, 0);
    node.freeze();
    let mut abandoned = client.start_locate(&keys, &SOLE, soon()).unwrap();
    let mut first = client.start_locate(&keys, &SOLE, soon()).unwrap();
    let mut second = client.start_promote(&keys[..5], &SOLE, soon()).unwrap();
    assert_eq!(abandoned.poll().unwrap(), None);
    assert_eq!(first.poll().unwrap(), None);
    assert!(matches!(second.wait(Deadline::after(SHORT)), Err(Error::Deadline)));
    // Half of its keys are with the node; the next question makes them void.
    drop(abandoned);
    node.thaw();
    // One who waits moves those along that nobody looks after.
    assert_eq!(second.wait(soon()).unwrap().blocks(), 5);
    let events = client.event_fd().unwrap();
    let located = loop {
        client.clear_event().unwrap();
        if let Some(located) = first.poll().unwrap() {
            break located;
        }
        poll(&mut [PollFd::new(&events, PollFlags::IN)], None).unwrap();
    };
    assert_eq!(located.blocks, keys.len());
    assert!(matches!(first.poll(), Err(Error::NodeLost)), "it is over");
}

#[test]
fn a_promotion_that_is_given_up_is_cancelled_and_its_entry_serves_again() {
    let keys = keys(4);
    let (node, client) = node_with(&keys, 1, 3);
    node.state().parks = true;
    for _ in 0..2 * COMPLETIONS {
        let promoting = client.start_promote(&keys, &SOLE, soon()).unwrap();
        node.settle(&client);
        assert!(node.state().has_parked());
        drop(promoting);
        node.settle(&client);
        assert!(!node.state().has_parked());
    }
    node.state().parks = false;
    assert_eq!(client.promote(&keys, &SOLE, soon()).unwrap().blocks(), 4);
}

#[test]
fn many_threads_ask_through_one_area() {
    let node = Node::start(1);
    let client = node.connect();
    for i in 1..=4 {
        put(&client, &[key(i)], 0);
    }
    std::thread::scope(|scope| {
        for i in 1..=4u8 {
            let client = client.clone();
            scope.spawn(move || {
                for round in 0..20 {
                    // Blocks of its own up to a certain length, then one that is not there.
                    let length = usize::from(i) * 211 + round;
                    let mut keys = vec![key(i); length];
                    keys.push(key(100));
                    assert_eq!(client.locate(&keys, &SOLE, soon()).unwrap(), Located::in_memory(length));
                }
            });
        }
    });
}

#[test]
fn a_question_that_went_with_its_node_is_asked_anew() {
    let keys = keys(6);
    let (mut node, client) = node_with(&keys, 2, 3);
    node.state().parks = true;
    let mut begun = client.start_promote(&keys, &SOLE, soon()).unwrap();
    node.settle(&client);
    let waits = {
        let (client, keys) = (client.clone(), keys.clone());
        std::thread::spawn(move || client.promote(&keys, &SOLE, soon()).unwrap().blocks())
    };
    while client.stats().waits == 0 {
        std::thread::yield_now();
    }
    node.kill();
    node.state().parks = false;
    node.revive();
    assert_eq!(waits.join().unwrap(), 5);
    assert_eq!(begun.wait(soon()).unwrap().blocks(), 5);
    assert_eq!(client.locate(&keys, &SOLE, soon()).unwrap(), Located::in_memory(5));
}

#[test]
fn keys_that_a_node_took_with_it_are_no_miss() {
    let keys = vec![key(1); CHAIN_KEYS + 1];
    let (mut node, client) = node_with(&keys[..1], 1, 0);
    node.freeze();
    let mut locating = client.start_locate(&keys, &SOLE, soon()).unwrap();
    node.thaw();
    node.settle(&client);
    // The first batch is with a node that dies; its successor gets the second alone.
    node.kill();
    node.revive();
    assert_eq!(locating.wait(soon()).unwrap().blocks, keys.len());
}

#[test]
fn a_question_goes_on_to_another_segment() {
    let keys = keys(4);
    let (mut node, client) = node_with(&keys, 1, 0);
    node.freeze();
    let (mut waits, mut polls) = [(); 2].map(|()| client.start_promote(&keys, &SOLE, soon()).unwrap()).into();
    let old = node.begin_anew();
    node.thaw();
    assert_eq!(waits.wait(soon()).unwrap().blocks(), 0, "the next node began without it");
    while polls.poll().unwrap().is_none() {
        std::thread::yield_now();
    }
    drop(old);
}

#[test]
fn a_read_that_reaches_no_node_ends_with_its_deadline() {
    let keys = keys(2);
    let (mut node, client) = node_with(&keys, 1, 1);
    node.freeze();
    let absent = PieceId::sole(keys[1]);
    let got = client.get_within(&absent, &mut [0; LEN], Deadline::after(SHORT)).unwrap();
    assert_eq!(got, Lookup::Miss(Reason::Expired));
    assert_eq!(client.stats().misses_expired, 1);
    node.thaw();
    node.kill();
    let got = client.get_within(&absent, &mut [0; LEN], Deadline::after(SHORT));
    assert!(matches!(got, Err(Error::NodeLost)), "{got:?}");
    assert!(client.get_within(&PieceId::sole(keys[0]), &mut [0; LEN], soon()).unwrap().is_hit());
}

#[test]
fn a_namespace_is_described_once_and_is_above_its_chains() {
    let node = Node::start(1);
    let client = node.connect();
    let namespace = Namespace { model: "llama".into(), tenant_salt: "t1".into(), ..Namespace::default() };
    let root = namespace.root();
    for _ in 0..2 {
        let _ = client.describe(&namespace, soon()).unwrap();
        node.settle(&client);
    }
    assert_eq!(client.stats().puts, 1);
    let mut text = [0; 4096];
    let len = client.get_into(&PieceId::description(root), &mut text).unwrap().hit().unwrap();
    assert_eq!(text[..len], *namespace.description().as_bytes());
    let keys = keys(3);
    let place = |i| Lineage::in_chain(root, &keys, i);
    assert_eq!(place(0), Lineage { parent: root, depth: 1 });
    assert_eq!(place(2), Lineage { parent: keys[1], depth: 3 });
    assert_eq!(Lineage::in_chain(BlockKey::ROOT, &keys, 0), Lineage::FIRST);
}
