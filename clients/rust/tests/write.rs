//! Reserve, fill, commit, abort; what is refused, what waits, what is cancelled.

mod support;

use cascade_client::{
    BlockKey, Client, Committed, Deadline, Error, Fill, Item, Lineage, Lookup, Refusal, Reserved, Stored,
    Verdict,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use support::{CHUNK, Node, SHORT, bytes, id, key, soon};

fn reserve(client: &Client, len_bytes: u64) -> Fill {
    match client.reserve(len_bytes, soon()).unwrap() {
        Reserved::Fill(fill) => fill,
        Reserved::Refused(refusal) => panic!("{refusal}"),
    }
}

#[test]
fn a_fill_in_place_is_a_put() {
    let node = Node::start(1);
    let client = node.connect();
    let mut fill = reserve(&client, 7000);
    fill.bytes_mut().unwrap().copy_from_slice(&bytes(4, 7000));
    assert_eq!(fill.commit_wait(&id(1), Lineage::FIRST, soon()).unwrap(), Committed::Fresh);
    let mut got = vec![0; 7000];
    assert_eq!(client.get_into(&id(1), &mut got).unwrap(), Lookup::Hit(7000));
    assert_eq!(got, bytes(4, 7000));
}

#[test]
fn the_first_of_two_pieces_of_one_name_stays() {
    let node = Node::start(1);
    let (a, b) = (node.connect(), node.connect());
    let (mut first, mut second) = (reserve(&a, 4096), reserve(&b, 4096));
    first.bytes_mut().unwrap().fill(1);
    second.bytes_mut().unwrap().fill(2);
    assert_eq!(first.commit_wait(&id(1), Lineage::FIRST, soon()).unwrap(), Committed::Fresh);
    assert_eq!(second.commit_wait(&id(1), Lineage::FIRST, soon()).unwrap(), Committed::AlreadyPresent);
    let mut got = [0; 4096];
    assert_eq!(b.get_into(&id(1), &mut got).unwrap(), Lookup::Hit(4096));
    assert_eq!(got, [1; 4096]);
}

#[test]
fn a_fill_that_is_dropped_gives_its_slot_back() {
    let node = Node::start(1);
    let client = node.connect();
    let fill = reserve(&client, CHUNK);
    assert_eq!(node.state().free_bytes(), 0);
    drop(fill);
    node.settle(&client);
    assert_eq!(node.state().free_bytes(), CHUNK);
}

#[test]
fn a_piece_larger_than_the_largest_slot_is_refused_without_asking() {
    let node = Node::start(1);
    let client = node.connect();
    node.freeze();
    let put = vec![0; CHUNK as usize + 1];
    let stored = client.put(&id(1), Lineage::FIRST, &put, soon()).unwrap();
    assert_eq!(stored, Stored::Refused(Refusal::TooLarge));
    assert_eq!(client.stats().refused, 1);
    node.thaw();
}

#[test]
fn a_full_node_refuses() {
    let node = Node::start(1);
    let client = node.connect();
    let whole = vec![1; CHUNK as usize];
    assert_eq!(client.put_wait(&id(1), Lineage::FIRST, &whole, soon()).unwrap(), Committed::Fresh);
    let stored = client.put(&id(2), Lineage::FIRST, &whole, soon()).unwrap();
    assert_eq!(stored, Stored::Refused(Refusal::NoRoom));
    assert!(node.state().evict(&id(1)));
    assert_eq!(client.put_wait(&id(2), Lineage::FIRST, &whole, soon()).unwrap(), Committed::Fresh);
}

#[test]
fn a_batch_is_stored_in_order() {
    let node = Node::start(1);
    let client = node.connect();
    let keys: Vec<_> = (0..20).map(key).collect();
    let blocks: Vec<_> = (0..20).map(|i| bytes(i, 4096)).collect();
    let items: Vec<_> = (0..20usize)
        .map(|i| Item {
            id: id(i as u8),
            lineage: Lineage::in_chain(BlockKey::ROOT, &keys, i),
            bytes: &blocks[i],
        })
        .collect();
    assert!(client.put_batch(&items, soon()).unwrap().iter().all(|stored| *stored == Stored::Posted));
    assert!(client.put_batch(&items, soon()).unwrap().iter().all(|stored| *stored == Stored::AlreadyPresent));
    node.settle(&client);
    assert!((0..20).all(|i| node.state().find(&id(i)).is_some()));
}

#[test]
fn a_frozen_node_costs_a_deadline_and_no_more() {
    let node = Node::start(1);
    let client = node.connect();
    let _ = client.put_wait(&id(1), Lineage::FIRST, &bytes(1, 4096), soon()).unwrap();
    node.freeze();
    let reserved = client.reserve(100_000, Deadline::after(SHORT));
    assert!(matches!(reserved, Err(Error::Deadline)), "{reserved:?}");
    assert!(matches!(client.flush(Deadline::after(SHORT)), Err(Error::Deadline)));
    assert_eq!(client.get_into(&id(1), &mut [0; 4096]).unwrap(), Lookup::Hit(4096));
    node.thaw();
    node.settle(&client);
}

#[test]
fn answers_that_nobody_waits_for_do_not_use_up_the_entries() {
    let node = Node::start(1);
    let client = node.connect();
    for _ in 0..300 {
        drop(client.reserve_async(4096, soon()).unwrap());
    }
    node.settle(&client);
}

#[test]
fn an_answer_can_be_polled_by_descriptor() {
    let node = Node::start(1);
    let client = node.connect();
    let event_fd = client.event_fd().unwrap();
    let fill = reserve(&client, 4096);
    node.freeze();
    let mut pending = fill.commit_async(&id(1), Lineage::FIRST, soon()).unwrap();
    client.clear_event().unwrap();
    assert_eq!(pending.poll().unwrap(), None);
    node.thaw();
    let verdict = loop {
        let limit = Timespec { tv_sec: 20, tv_nsec: 0 };
        let ready = poll(&mut [PollFd::new(&event_fd, PollFlags::IN)], Some(&limit)).unwrap();
        assert_eq!(ready, 1, "the node rang");
        client.clear_event().unwrap();
        if let Some(verdict) = pending.poll().unwrap() {
            break verdict;
        }
    };
    assert_eq!(verdict, Verdict::Fresh);
}

#[test]
fn threads_that_wait_at_once_all_get_their_answers() {
    let node = Node::start(8);
    let client = node.connect();
    std::thread::scope(|scope| {
        for thread in 0..6u8 {
            let client = client.clone();
            scope.spawn(move || {
                for i in 0..30 {
                    let id = id(thread * 30 + i);
                    let committed = client.put_wait(&id, Lineage::FIRST, &bytes(i, 4096), soon()).unwrap();
                    assert_eq!(committed, Committed::Fresh);
                }
            });
        }
    });
}

#[test]
fn a_question_is_answered() {
    let node = Node::start(1);
    let client = node.connect();
    assert_eq!(client.status(soon()).unwrap(), "{\"asked\":\"status\"}");
}
