//! The node dies, comes back, or begins anew, and a forked child keeps its hands off.

mod support;

use cascade_client::{Client, Committed, Deadline, Error, Lineage, Lookup, Reserved, Stats, Stored, Verdict};
use cascade_core::page::COMPLETIONS;
use std::io::Read;
use std::os::unix::net::UnixListener;
use support::{Node, SHORT, bytes, id, soon};

#[test]
fn a_client_that_finds_no_node_lists_what_it_tried() {
    let paths = ["/nonexistent/a.sock", "/nonexistent/b.sock"].map(Into::into);
    let error = Client::connect_to(paths.into(), soon()).unwrap_err();
    assert!(matches!(&error, Error::NoNode { tried } if tried.len() == 2), "{error}");
}

#[test]
fn without_a_node_resident_pieces_stay_readable_and_the_rest_fails_at_its_deadline() {
    let mut node = Node::start(1);
    let client = node.connect();
    let _ = client.put_wait(&id(1), Lineage::FIRST, &bytes(1, 4096), soon()).unwrap();
    node.kill();
    assert_eq!(client.get_into(&id(1), &mut [0; 4096]).unwrap(), Lookup::Hit(4096));
    assert!(client.pin(&id(1)).unwrap().is_hit());
    let reserved = client.reserve(100_000, Deadline::after(SHORT));
    assert!(matches!(reserved, Err(Error::NodeLost)), "{reserved:?}");
    assert!(matches!(client.status(soon()), Err(Error::NoNode { .. })));
}

#[test]
fn a_node_that_comes_back_finds_its_clients_with_views_fills_and_commits() {
    let mut node = Node::start(2);
    let client = node.connect();
    let _ = client.put_wait(&id(1), Lineage::FIRST, &bytes(1, 4096), soon()).unwrap();
    let view = client.pin(&id(1)).unwrap().hit().unwrap();
    let Reserved::Fill(mut fill) = client.reserve(4096, soon()).unwrap() else { panic!("no slot") };
    fill.bytes_mut().unwrap().fill(7);

    node.kill();
    // A slot was handed out before, so this needs no node.
    assert_eq!(client.put(&id(2), Lineage::FIRST, &bytes(2, 4096), soon()).unwrap(), Stored::Posted);
    node.revive();

    assert_eq!(fill.commit_wait(&id(3), Lineage::FIRST, soon()).unwrap(), Committed::Fresh);
    assert!(view.verify().unwrap());
    let state = node.state();
    assert!(state.find(&id(2)).is_some(), "posted while no node lived, published by the next");
    assert!(state.find(&id(3)).is_some());
    drop(state);
    assert!(!node.state().evict(&id(1)));
    assert_eq!(client.stats().reattaches, 1);
}

#[test]
fn who_waits_while_the_node_restarts_gets_an_answer() {
    let mut node = Node::start(4);
    let client = node.connect();
    node.freeze();
    let waiter = {
        let client = client.clone();
        std::thread::spawn(move || client.put_wait(&id(1), Lineage::FIRST, &bytes(1, 4096), soon()))
    };
    node.kill();
    node.thaw();
    node.revive();
    assert_eq!(waiter.join().unwrap().unwrap(), Committed::Fresh);
}

#[test]
fn a_reserve_that_the_next_node_makes_wait_never_answers_another_question() {
    let mut node = Node::start(1);
    let client = node.connect();
    node.freeze();
    let mut first = client.reserve_async(4096, soon()).unwrap();
    node.kill();
    node.thaw();
    node.state().parks = true;
    node.revive();
    let patience = soon();
    let lost = loop {
        match first.poll() {
            Ok(None) => assert!(!patience.has_passed(), "the reserve is still waited for"),
            over => break over,
        }
    };
    assert!(matches!(lost, Err(Error::NodeLost)), "{lost:?}");

    node.state().parks = false;
    let mut second = client.reserve_async(4096, soon()).unwrap();
    node.settle(&client);
    node.state().answer_parked();
    assert_eq!(second.poll().unwrap(), Some(Verdict::Granted));
}

#[test]
fn a_reserve_that_nobody_waits_for_is_struck_off() {
    let node = Node::start(1);
    let client = node.connect();
    node.state().parks = true;
    for _ in 0..3 * COMPLETIONS {
        drop(client.reserve_async(4096, soon()).unwrap());
    }
    node.settle(&client);
    assert!(!node.state().has_parked());
}

#[test]
fn a_page_that_was_taken_back_before_it_was_locked_is_not_used() {
    let mut node = Node::start(1);
    node.state().buries = 2;
    let client = node.connect();
    let _ = client.put_wait(&id(1), Lineage::FIRST, &bytes(1, 4096), soon()).unwrap();
    let view = client.pin(&id(1)).unwrap().hit().unwrap();
    assert!(!node.state().evict(&id(1)), "the node sees the pin");
    drop(view);

    let _old = node.begin_anew();
    node.state().buries = 2;
    let _ = client.put_wait(&id(2), Lineage::FIRST, &bytes(2, 300_000), soon()).unwrap();
    let _view = client.pin(&id(2)).unwrap().hit().unwrap();
    assert!(!node.state().evict(&id(2)), "the node sees the pin");
}

#[test]
fn who_cannot_get_a_page_in_time_hears_so() {
    let node = Node::start(1);
    // More pages are taken back than there is time for.
    node.state().buries = usize::MAX;
    let refused = Client::connect_to(node.sockets(), Deadline::after(SHORT)).unwrap_err();
    assert!(matches!(refused, Error::Deadline), "{refused}");
}

#[test]
fn a_segment_that_is_closed_is_not_attached_to() {
    let node = Node::start(1);
    node.state().close();
    // So that the few pages there are do not run out.
    node.state().buries = usize::MAX;
    let refused = Client::connect_to(node.sockets(), Deadline::after(SHORT)).unwrap_err();
    assert!(matches!(refused, Error::Deadline), "{refused}");
}

#[test]
fn a_miss_does_not_wait_for_the_attempt_that_it_starts() {
    let mut node = Node::start(1);
    let client = node.connect();
    node.kill();
    let mute = UnixListener::bind(&node.sockets()[0]).unwrap();
    mute.set_nonblocking(true).unwrap();
    let patience = soon();
    loop {
        assert!(!patience.has_passed(), "every attempt was over when the miss returned");
        assert!(!client.get_into(&id(1), &mut []).unwrap().is_hit());
        let Ok((stream, _)) = mute.accept() else { continue };
        stream.set_nonblocking(true).unwrap();
        let mut question = [0; 4096];
        // Whoever asked waits still: there is an end only after they gave up.
        let is_over = || matches!((&stream).read(&mut question), Ok(0));
        if !std::iter::repeat_with(is_over).take(2).any(|over| over) {
            break;
        }
    }
}

#[test]
fn another_segment_is_taken_up_and_old_views_keep_theirs() {
    let mut node = Node::start(1);
    let client = node.connect();
    let _ = client.put_wait(&id(1), Lineage::FIRST, &bytes(1, 4096), soon()).unwrap();
    let Reserved::Fill(fill) = client.reserve(4096, soon()).unwrap() else { panic!("no slot") };
    let view = client.pin(&id(1)).unwrap().hit().unwrap();
    let (before, puts) = (client.segment_id().unwrap(), client.stats().puts);
    assert!(puts > 0);
    let _old = node.begin_anew();

    assert_eq!(
        client.put_wait(&id(2), Lineage::FIRST, &bytes(2, 300_000), soon()).unwrap(),
        Committed::Fresh
    );
    assert_ne!(client.segment_id().unwrap(), before);
    assert_eq!(client.stats().puts, puts + 1, "what was counted in the former page stays");
    assert!(!client.contains(&id(1)).unwrap());
    assert!(view.verify().unwrap());
    let refused = fill.commit(&id(3), Lineage::FIRST, soon()).unwrap_err();
    assert!(matches!(refused.error, Error::NodeLost));
    assert!(refused.fill.is_some(), "what was not committed comes back");
}

#[test]
fn a_reader_that_only_misses_finds_the_node_again_too() {
    let mut node = Node::start(1);
    let client = node.connect();
    let before = client.segment_id().unwrap();
    let _old = node.begin_anew();
    let patience = soon();
    while client.segment_id().unwrap() == before {
        assert!(!patience.has_passed(), "misses never looked around");
        assert!(!client.get_into(&id(1), &mut []).unwrap().is_hit());
    }
}

#[test]
fn a_forked_child_gets_the_error_and_leaves_the_parents_claims_alone() {
    let node = Node::start(1);
    let client = node.connect();
    let _ = client.put_wait(&id(1), Lineage::FIRST, &bytes(1, 4096), soon()).unwrap();
    let view = client.pin(&id(1)).unwrap().hit().unwrap();
    let Reserved::Fill(fill) = client.reserve(4096, soon()).unwrap() else { panic!("no slot") };
    // SAFETY: the child calls what a hit calls, which takes no lock that another thread may have, and `_exit`.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        let get = client.get_into(&id(1), &mut [0; 4096]);
        let refused = matches!(get, Err(Error::Forked))
            && matches!(view.verify(), Err(Error::Forked))
            && matches!(client.pin(&id(1)), Err(Error::Forked))
            && matches!(client.reserve(1, Deadline::NOW), Err(Error::Forked))
            && client.stats() == Stats::default();
        drop((view, fill, client));
        // SAFETY: ends the child without running what belongs to the parent.
        unsafe { libc::_exit(if refused { 0 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: waits for the child just made; `status` is written to.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0, "the child exits with 0");
    assert!(!node.state().evict(&id(1)), "the parent's pin is intact");
    assert!(view.verify().unwrap());
    assert_eq!(fill.commit_wait(&id(2), Lineage::FIRST, soon()).unwrap(), Committed::Fresh);
}
