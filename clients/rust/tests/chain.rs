//! Matching and holding chains.

mod support;

use cascade_client::{BlockKey, Client, Committed, Lineage, Lookup, PieceId, Reason, Share};
use support::{Node, bytes, key, soon};

const RANKS: [Share; 2] = [Share { rank: 0, group: 0 }, Share { rank: 1, group: 0 }];
const SOLE: [Share; 1] = [Share { rank: 0, group: 0 }];

fn piece(key: BlockKey, share: Share) -> PieceId {
    PieceId { key, rank: share.rank, group: share.group }
}

fn put(client: &Client, keys: &[BlockKey], index: usize, share: Share) {
    let lineage = Lineage::in_chain(keys, index);
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
fn a_match_tells_the_node_once_what_is_in_use() {
    let node = Node::start(1);
    let client = node.connect();
    let keys = keys(10);
    (0..6).for_each(|i| put(&client, &keys, i, SOLE[0]));
    assert_eq!(client.match_chain(&keys, &SOLE).unwrap(), 6);
    assert!(client.touch(&piece(keys[2], SOLE[0]), 3).unwrap());
    assert!(!client.touch(&piece(keys[9], SOLE[0]), 10).unwrap());
    node.settle(&client);
    // One more turn of the node: it reads touches before requests.
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
