//! What a get and a pin answer, and what they never do.

mod support;

use cascade_client::{Committed, Lineage, Lookup, Reason, Share, Stored};
use std::io::{IoSlice, IoSliceMut};
use support::{CHUNK, Node, bytes, id, key, soon};

#[test]
fn a_piece_is_read_back_exactly_whatever_its_length() {
    let node = Node::start(16);
    let client = node.connect();
    for (i, len) in [0, 1, 63, 4096, 4097, 65_536 + 3, 300_000, CHUNK as usize].into_iter().enumerate() {
        let id = id(i as u8 + 1);
        let put = bytes(i as u8, len);
        assert_eq!(client.put_wait(&id, Lineage::FIRST, &put, soon()).unwrap(), Committed::Fresh);
        assert_eq!(client.len_bytes(&id).unwrap(), Some(len));
        let mut got = vec![0xaa; len + 7];
        assert_eq!(client.get_into(&id, &mut got).unwrap(), Lookup::Hit(len));
        assert_eq!(got[..len], put);
        assert_eq!(got[len..], [0xaa; 7], "nothing is written past the piece");
    }
}

#[test]
fn what_nobody_put_is_absent() {
    let node = Node::start(1);
    let client = node.connect();
    assert_eq!(client.get_into(&id(1), &mut []).unwrap(), Lookup::Miss(Reason::Absent));
    assert!(!client.pin(&id(1)).unwrap().is_hit());
    assert!(!client.contains(&id(1)).unwrap());
    assert_eq!(client.len_bytes(&id(1)).unwrap(), None);
    assert_eq!(client.stats().misses_absent, 2);
}

#[test]
fn another_client_reads_what_was_published() {
    let node = Node::start(1);
    let (writer, reader) = (node.connect(), node.connect());
    let put = bytes(3, 10_000);
    assert_eq!(writer.put(&id(1), Lineage::FIRST, &put, soon()).unwrap(), Stored::Posted);
    node.settle(&writer);
    let mut got = vec![0; 10_000];
    assert_eq!(reader.get_into(&id(1), &mut got).unwrap(), Lookup::Hit(10_000));
    assert_eq!(got, put);
}

#[test]
fn a_client_reads_what_it_wrote_before_the_node_has_seen_it() {
    let node = Node::start(2);
    let (writer, other) = (node.connect(), node.connect());
    // The first put brings more slots than it needs.
    assert_eq!(writer.put_wait(&id(1), Lineage::FIRST, &bytes(1, 9000), soon()).unwrap(), Committed::Fresh);
    node.freeze();
    let put = bytes(2, 9000);
    assert_eq!(writer.put(&id(2), Lineage::FIRST, &put, soon()).unwrap(), Stored::Posted);
    assert_eq!(writer.put(&id(2), Lineage::FIRST, &put, soon()).unwrap(), Stored::AlreadyPresent);

    let mut got = vec![0; 9000];
    assert_eq!(writer.get_into(&id(2), &mut got).unwrap(), Lookup::Hit(9000));
    assert_eq!(got, put);
    let view = writer.pin(&id(2)).unwrap().hit().unwrap();
    assert!(view.verify().unwrap());
    assert_eq!(writer.match_chain(&[key(1), key(2)], &[Share::default()]).unwrap(), 2);
    assert_eq!(other.get_into(&id(2), &mut got).unwrap(), Lookup::Miss(Reason::Absent));

    node.thaw();
    node.settle(&writer);
    assert_eq!(other.get_into(&id(2), &mut got).unwrap(), Lookup::Hit(9000));
    assert!(!node.state().evict(&id(2)), "the pin taken before the verdict holds after it");
    drop(view);
    assert!(node.state().evict(&id(2)));
}

#[test]
fn a_destination_that_is_too_short_learns_the_length() {
    let node = Node::start(1);
    let client = node.connect();
    let _ = client.put_wait(&id(1), Lineage::FIRST, &bytes(1, 5000), soon()).unwrap();
    let answer = client.get_into(&id(1), &mut [0; 4999]).unwrap();
    assert_eq!(answer, Lookup::Miss(Reason::TooShort { len_bytes: 5000 }));
    assert!(node.state().evict(&id(1)), "the miss left no claim behind");
}

#[test]
fn fragments_may_be_cut_differently_on_each_side() {
    let node = Node::start(1);
    let client = node.connect();
    let put = bytes(5, 192 << 10);
    let fragments: Vec<_> = put.chunks(4 << 10).map(IoSlice::new).collect();
    assert_eq!(fragments.len(), 48);
    assert_eq!(client.put_vectored(&id(1), Lineage::FIRST, &fragments, soon()).unwrap(), Stored::Posted);
    let mut got = vec![0; 192 << 10];
    let mut targets: Vec<_> = got.chunks_mut(10_007).map(IoSliceMut::new).collect();
    assert_eq!(client.get_into_vectored(&id(1), &mut targets).unwrap(), Lookup::Hit(192 << 10));
    assert_eq!(got, put);
}

#[test]
fn a_batch_answers_for_each_piece() {
    let node = Node::start(4);
    let client = node.connect();
    for i in (0..40).step_by(2) {
        let _ = client.put_wait(&id(i), Lineage::FIRST, &bytes(i, 4096), soon()).unwrap();
    }
    let mut targets = vec![vec![0; 4096]; 40];
    let mut pieces: Vec<_> =
        targets.iter_mut().enumerate().map(|(i, target)| (id(i as u8), target.as_mut_slice())).collect();
    let answers = client.get_batch_into(&mut pieces).unwrap();
    for (i, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.is_hit(), i % 2 == 0);
        assert!(i % 2 == 1 || targets[i] == bytes(i as u8, 4096));
    }
}

#[test]
fn a_flipped_bit_is_a_miss_and_the_node_is_told() {
    let node = Node::start(1);
    let client = node.connect();
    let _ = client.put_wait(&id(1), Lineage::FIRST, &bytes(1, 8192), soon()).unwrap();
    node.state().damage(&id(1));
    let answer = client.get_into(&id(1), &mut [0; 8192]).unwrap();
    assert_eq!(answer, Lookup::Miss(Reason::Corrupt));
    let view = client.pin(&id(1)).unwrap().hit().unwrap();
    assert!(!view.verify().unwrap());
    node.settle(&client);
    let slot = node.state().find(&id(1)).unwrap();
    assert_eq!(node.state().suspects, [slot, slot]);
}

#[test]
fn a_pinned_slot_is_never_recycled() {
    let node = Node::start(1);
    let client = node.connect();
    let put = bytes(9, 20_000);
    let _ = client.put_wait(&id(1), Lineage::FIRST, &put, soon()).unwrap();
    let view = client.pin(&id(1)).unwrap().hit().unwrap();
    assert!(!node.state().evict(&id(1)));
    // SAFETY: the only writer of this segment is the test's own node, which leaves published slots alone.
    assert_eq!(unsafe { view.as_slice() }, put);
    let survivor = std::thread::spawn(move || {
        // The view outlives the handle and crosses threads.
        drop(client);
        view.verify().unwrap()
    });
    assert!(survivor.join().unwrap());
    assert!(node.state().evict(&id(1)));
}

#[test]
fn pins_beyond_the_budget_miss_and_gets_still_work() {
    let node = Node::start_with_pin_budget(10_000);
    let client = node.connect();
    for i in 1..=3 {
        let _ = client.put_wait(&id(i), Lineage::FIRST, &bytes(i, 5000), soon()).unwrap();
    }
    let first = client.pin(&id(1)).unwrap().hit().unwrap();
    let _second = client.pin(&id(2)).unwrap().hit().unwrap();
    assert!(matches!(client.pin(&id(3)).unwrap(), Lookup::Miss(Reason::PinBudget)));
    assert_eq!(client.get_into(&id(3), &mut [0; 5000]).unwrap(), Lookup::Hit(5000));
    assert!(node.state().evict(&id(3)), "the refused pin left no claim behind");
    drop(first);
    assert!(client.pin(&id(1)).unwrap().is_hit());
}

#[test]
fn a_client_with_every_pin_out_can_still_get() {
    let node = Node::start(1);
    let client = node.connect();
    let _ = client.put_wait(&id(1), Lineage::FIRST, &bytes(1, 100), soon()).unwrap();
    let mut views = Vec::new();
    while let Lookup::Hit(view) = client.pin(&id(1)).unwrap() {
        views.push(view);
    }
    assert!(views.len() >= 512);
    assert_eq!(client.get_into(&id(1), &mut [0; 100]).unwrap(), Lookup::Hit(100));
}

#[test]
fn threads_of_one_handle_never_read_other_bytes_while_pieces_come_and_go() {
    let node = Node::start(2);
    let client = node.connect();
    std::thread::scope(|scope| {
        for thread in 0..3u8 {
            let client = client.clone();
            scope.spawn(move || {
                let mut got = vec![0; 50_000];
                for round in 0..400u32 {
                    let piece = (round as u8).wrapping_mul(7).wrapping_add(thread) % 8;
                    let put = bytes(piece, 40_000 + usize::from(piece));
                    let _ = client.put(&id(piece), Lineage::FIRST, &put, soon()).unwrap();
                    if let Lookup::Hit(len) = client.get_into(&id(piece), &mut got).unwrap() {
                        assert_eq!(got[..len], put);
                    }
                }
            });
        }
        for round in 0..2_000u32 {
            let mut state = node.state();
            if state.find(&id(round as u8 % 8)).is_some() {
                state.evict(&id(round as u8 % 8));
            }
            drop(state);
            std::thread::yield_now();
        }
    });
    assert_eq!(client.stats().misses_corrupt, 0);
}

#[test]
fn a_node_that_stopped_half_way_through_an_eviction_delays_nobody() {
    let node = Node::start(1);
    let client = node.connect();
    let _ = client.put_wait(&id(1), Lineage::FIRST, &bytes(1, 4096), soon()).unwrap();
    node.freeze();
    node.state().consider(&id(1));
    assert_eq!(client.get_into(&id(1), &mut [0; 4096]).unwrap(), Lookup::Miss(Reason::Absent));
    assert_eq!(client.match_chain(&[key(1)], &[Share::default()]).unwrap(), 0);
    node.state().put_back();
    assert_eq!(client.get_into(&id(1), &mut [0; 4096]).unwrap(), Lookup::Hit(4096));
    node.thaw();
}
