//! Matching and holding chains.

mod support;

use cascade_client::{BlockKey, Client, Committed, Lineage, Lookup, PieceId, Reason, Rule, Share};
use std::sync::atomic::{AtomicBool, Ordering};
use support::{Node, bytes, key, soon};

const RANKS: [Share; 2] = [Share::new(0, 0), Share::new(1, 0)];
const SOLE: [Share; 1] = [Share::new(0, 0)];
/// A hybrid model: full attention, a sliding window, a recurrent group.
const HYBRID: [Share; 3] = [
    Share::new(0, 0),
    Share::new(0, 1).under(Rule::Window { blocks: 3 }),
    Share::new(0, 2).under(Rule::LastState),
];

fn piece(key: BlockKey, share: Share) -> PieceId {
    PieceId { key, rank: share.rank, group: share.group }
}

fn put(client: &Client, keys: &[BlockKey], index: usize, share: Share) {
    let lineage = Lineage::in_chain(BlockKey::ROOT, keys, index);
    let committed = client.put_wait(&piece(keys[index], share), lineage, &bytes(index as u8, 4096), soon());
    assert_eq!(committed.unwrap(), Committed::Fresh);
}

fn keys(count: u8) -> Vec<BlockKey> {
    (1..=count).map(key).collect()
}

#[test]
fn a_match_ends_at_the_first_block_that_lacks_a_piece() {
    let node = Node::start(4);
    let client = node.connect();
    let keys = keys(100);
    for i in 0..70 {
        put(&client, &keys, i, RANKS[0]);
        if i != 50 {
            put(&client, &keys, i, RANKS[1]);
        }
    }
    assert_eq!(client.match_chain(&keys, &SOLE).unwrap(), 70);
    assert_eq!(client.match_chain(&keys, &RANKS).unwrap(), 50);
    assert_eq!(client.match_chain(&keys[..33], &RANKS).unwrap(), 33);
    assert_eq!(client.match_chain(&keys[90..], &SOLE).unwrap(), 0);
    assert_eq!(client.match_chain(&keys, &[]).unwrap(), 0);
    assert_eq!(client.match_chain(&[], &SOLE).unwrap(), 0);
}

#[test]
fn a_match_goes_by_the_rule_of_each_share() {
    let node = Node::start(4);
    let client = node.connect();
    let keys = keys(100);
    (0..90).for_each(|i| put(&client, &keys, i, HYBRID[0]));
    (60..80).filter(|&i| i != 75).for_each(|i| put(&client, &keys, i, HYBRID[1]));
    [20, 63, 76].into_iter().for_each(|i| put(&client, &keys, i, HYBRID[2]));
    assert_eq!(client.match_chain(&keys, &HYBRID).unwrap(), 64, "before block 76 the window has a hole");
    assert_eq!(client.match_chain(&keys, &HYBRID[..2]).unwrap(), 80);
    assert_eq!(
        client.match_chain(&keys, &HYBRID[1..2]).unwrap(),
        80,
        "of a window alone nothing else is needed"
    );
    assert_eq!(client.match_chain(&keys, &HYBRID[2..]).unwrap(), 77);
    assert_eq!(client.match_chain(&keys[..63], &HYBRID).unwrap(), 0, "the state of block 20 has no window");
}

#[test]
fn a_hold_claims_what_the_rules_require_of_the_tail() {
    let node = Node::start(2);
    let (scheduler, worker) = (node.connect(), node.connect());
    let keys = keys(8);
    (0..7).for_each(|i| put(&scheduler, &keys, i, HYBRID[0]));
    (2..7).for_each(|i| put(&scheduler, &keys, i, HYBRID[1]));
    put(&scheduler, &keys, 5, HYBRID[2]);
    let hold = scheduler.hold(&keys, &HYBRID).unwrap().hit().unwrap();
    assert_eq!(hold.blocks(), 6, "block 6 has no state");
    for share in HYBRID {
        assert!(!node.state().evict(&piece(keys[5], share)));
        let got = worker.get_into(&piece(keys[5], share), &mut [0; 4096]).unwrap();
        assert_eq!(got, Lookup::Hit(4096));
    }
    assert!(node.state().evict(&piece(keys[6], HYBRID[0])), "beyond the boundary nothing is held");
    drop(hold);
    assert!(node.state().evict(&piece(keys[4], HYBRID[1])));
    assert!(!scheduler.hold(&keys, &HYBRID).unwrap().is_hit(), "the only state has no window any more");
}

#[test]
fn a_match_tells_the_node_once_what_is_in_use() {
    let node = Node::start(1);
    let client = node.connect();
    let keys = keys(10);
    (0..6).for_each(|i| put(&client, &keys, i, SOLE[0]));
    // A note that is read while it is written is lost, and may be: here nobody reads meanwhile.
    node.freeze();
    assert_eq!(client.match_chain(&keys, &SOLE).unwrap(), 6);
    assert!(client.touch(&piece(keys[2], SOLE[0]), 3).unwrap());
    assert!(!client.touch(&piece(keys[9], SOLE[0]), 10).unwrap());
    node.thaw();
    // The node reads touches before requests.
    node.settle(&client);
    let state = node.state();
    let seen: Vec<_> = state.touches.iter().map(|touch| (touch.tail, touch.blocks)).collect();
    let slot = |i: usize| state.find(&piece(keys[i], SOLE[0])).unwrap();
    assert_eq!(seen, [(slot(5), 6), (slot(2), 3)]);
}

#[test]
fn a_held_chain_keeps_its_tail_and_can_be_read_by_another_client() {
    let node = Node::start(2);
    let (scheduler, worker) = (node.connect(), node.connect());
    let keys = keys(8);
    for i in 0..5 {
        RANKS.iter().for_each(|&rank| put(&scheduler, &keys, i, rank));
    }
    let hold = scheduler.hold(&keys, &RANKS).unwrap().hit().unwrap();
    assert_eq!(hold.blocks(), 5);
    for rank in RANKS {
        assert!(!node.state().evict(&piece(keys[4], rank)));
        let got = worker.get_into(&piece(keys[3], rank), &mut [0; 4096]).unwrap();
        assert_eq!(got, Lookup::Hit(4096));
    }
    drop(hold);
    assert!(node.state().evict(&piece(keys[4], RANKS[0])));
    let rest = scheduler.hold(&keys, &RANKS).unwrap().hit().unwrap();
    assert_eq!(rest.blocks(), 4, "a block of which one rank is gone is no block");
}

#[test]
fn a_chain_of_which_nothing_is_there_is_not_held() {
    let node = Node::start(1);
    let client = node.connect();
    assert!(matches!(client.hold(&keys(3), &SOLE).unwrap(), Lookup::Miss(Reason::Absent)));
    assert!(matches!(client.hold(&[], &SOLE).unwrap(), Lookup::Miss(Reason::Absent)));
}

#[test]
fn holds_beyond_their_number_miss_and_leave_nothing_behind() {
    let node = Node::start(1);
    let client = node.connect();
    let keys = keys(1);
    RANKS.iter().for_each(|&rank| put(&client, &keys, 0, rank));
    let mut holds = Vec::new();
    while let Lookup::Hit(hold) = client.hold(&keys, &RANKS).unwrap() {
        holds.push(hold);
    }
    assert_eq!(holds.len(), cascade_core::page::HOLD_CELLS / RANKS.len());
    holds.clear();
    assert!(node.state().evict(&piece(keys[0], RANKS[1])));
}

#[test]
fn no_block_of_a_held_chain_goes_while_the_hold_lives() {
    let node = Node::start(2);
    let (holder, writer) = (node.connect(), node.connect());
    let keys = keys(12);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Evicts leaves only, as a node does, and puts the chain again from where it ends.
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let mut state = node.state();
                let tail = keys.iter().rposition(|&key| state.find(&piece(key, SOLE[0])).is_some());
                let evicted = tail.is_some_and(|tail| state.evict(&piece(keys[tail], SOLE[0])));
                drop(state);
                if !evicted {
                    for (i, key) in keys.iter().enumerate() {
                        let lineage = Lineage::in_chain(BlockKey::ROOT, &keys, i);
                        let put = bytes(i as u8, 4096);
                        let _ = writer.put_wait(&piece(*key, SOLE[0]), lineage, &put, soon()).unwrap();
                    }
                }
            }
        });
        // Also when an assertion fails: the scope waits for the evictor.
        let _over = Over(&done);
        let mut held = 0;
        let patience = soon();
        while held < 500 {
            assert!(!patience.has_passed(), "only {held} holds came about");
            let Lookup::Hit(hold) = holder.hold(&keys, &SOLE).unwrap() else { continue };
            held += 1;
            // Evictions happen under the state's lock: what is looked at there is not half way.
            let slots = || {
                let state = node.state();
                keys[..hold.blocks()].iter().map(|&key| state.find(&piece(key, SOLE[0]))).collect::<Vec<_>>()
            };
            let before = slots();
            assert!(before.iter().all(Option::is_some), "a held block was gone");
            std::thread::yield_now();
            assert_eq!(slots(), before, "a held block was evicted and put again");
        }
    });
}

/// Ends the evictor when it is dropped.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
