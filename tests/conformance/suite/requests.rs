//! What holds for every request: one completion, whatever happens to it.

use super::{Scratch, Session, USED_BYTES};
use crate::subjects::Subject;
use cascade_tier::capability::{feature, operation};
use cascade_tier::{Action, MemoryRange, Operation, Status, monotonic_ns};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::HashSet;

/// `count` copies of 512 bytes to different places, from different places.
fn copies(session: &mut Session, count: u64) -> Vec<Operation> {
    let (all, _) = session.host_with_bytes(count * 512);
    let copy = |session: &mut Session, number: u64| {
        let source = MemoryRange::new(all.memory, number * 512, 512);
        let target = session.exported(number * 512, 512);
        session.operation(Action::Copy { source, target })
    };
    (0..count).map(|number| copy(session, number)).collect()
}

pub(crate) fn every_request_completes_exactly_once_in_any_order<S: Subject>() {
    let scratch = Scratch::new();
    let mut session = Session::open::<S>(&scratch);
    let operations = copies(&mut session, 1000);
    // The session fails on a completion that comes twice or from nowhere.
    for completion in session.run(&operations) {
        assert_eq!((completion.status, completion.bytes), (Status::OK, 512));
    }
    assert_eq!(session.poll(usize::MAX), 0);
    let arena = session.exported(0, 1000 * 512);
    let Action::Copy { source, .. } = operations[0].action else { unreachable!("they are copies") };
    let sent = session.bytes(MemoryRange { length: 1000 * 512, ..source }).to_vec();
    assert_eq!(session.read_back(arena), sent);
}

pub(crate) fn a_full_tier_takes_what_fits_and_goes_on_later<S: Subject>() {
    let scratch = Scratch::new();
    let mut session = Session::open::<S>(&scratch);
    let depth = session.capabilities().queue_depth as usize;
    let operations = copies(&mut session, depth as u64 + 50);
    let taken = session.offer(&operations);
    assert!((1..=depth).contains(&taken), "took {taken} with room for {depth}");
    let (rest, mut done) = (&operations[taken..], 0);
    while session.is_under_way() {
        done += session.poll(usize::MAX);
    }
    assert_eq!(done, taken, "what was not taken does not complete");
    assert!(session.run(rest).iter().all(|completion| completion.status.is_ok()));
}

pub(crate) fn an_empty_batch_is_no_request<S: Subject>() {
    let scratch = Scratch::new();
    let mut session = Session::open::<S>(&scratch);
    assert_eq!(session.offer(&[]), 0);
    assert_eq!(session.poll(usize::MAX), 0);
}

pub(crate) fn polling_with_little_room_loses_nothing<S: Subject>() {
    let scratch = Scratch::new();
    let mut session = Session::open::<S>(&scratch);
    let operations = copies(&mut session, 12);
    let taken = session.offer(&operations);
    assert_eq!(session.poll(0), 0);
    let mut count = 0;
    while count < taken {
        let found = session.poll(1);
        assert!(found <= 1);
        count += found;
    }
    assert!(!session.is_under_way());
}

pub(crate) fn a_cancelled_request_completes_once_and_its_buffer_is_the_tiers_until_then<S: Subject>() {
    let scratch = Scratch::new();
    let mut session = Session::open::<S>(&scratch);
    let arena = session.exported(0, USED_BYTES);
    let (pattern, _) = session.host_with_bytes(USED_BYTES);
    session.perform(Action::Copy { source: pattern, target: arena });
    let expected = session.bytes(pattern)[..8192].to_vec();
    let targets: Vec<_> = (0..12).map(|_| session.host(8192)).collect();
    let source = session.exported(0, 8192);
    let loads: Vec<_> =
        targets.iter().map(|&target| session.operation(Action::Copy { source, target })).collect();
    let taken = session.offer(&loads);
    for load in &loads[..taken] {
        // Done already is no error of the host's: it could not know.
        let cancelled = session.tier.cancel(load.request_id);
        assert!(
            cancelled.as_ref().err().is_none_or(|error| error.status == Status::NOT_FOUND),
            "{cancelled:?}"
        );
    }
    session.wait_for_all();
    for (load, target) in loads[..taken].iter().zip(targets) {
        match session.finished(load).status {
            Status::OK => assert_eq!(session.bytes(target), expected),
            Status::CANCELLED => {
                // Nothing may land after the completion.
                session.fill(target, &[0x55; 8192]);
                session.poll(usize::MAX);
                assert_eq!(session.bytes(target), [0x55; 8192]);
            }
            other => panic!("a cancelled request is done or cancelled, not {other}"),
        }
        assert_eq!(session.tier.cancel(load.request_id).unwrap_err().status, Status::NOT_FOUND);
    }
}

pub(crate) fn cancelling_what_is_not_under_way_is_not_found<S: Subject>() {
    let scratch = Scratch::new();
    let mut session = Session::open::<S>(&scratch);
    let error = session.tier.cancel(987_654).unwrap_err();
    assert_eq!(error.status, Status::NOT_FOUND);
    assert!(error.message.contains("987654"), "{error}");
}

pub(crate) fn an_expired_request_completes_as_expired_and_does_nothing<S: Subject>() {
    let scratch = Scratch::new();
    let mut session = Session::open::<S>(&scratch);
    let (source, _) = session.host_with_bytes(4096);
    let target = session.exported(0, 4096);
    let before = session.read_back(target);
    let operation = session.operation(Action::Copy { source, target });
    let expired = session.run(&[operation.by(monotonic_ns() - 1)]);
    assert_eq!((expired[0].status, expired[0].bytes), (Status::EXPIRED, 0));
    assert_eq!(session.read_back(target), before);
    let operation = session.operation(Action::Copy { source, target });
    let in_time = session.run(&[operation.by(monotonic_ns() + 3_600_000_000_000)]);
    assert_eq!(in_time[0].status, Status::OK);
}

pub(crate) fn wrong_ranges_are_refused_and_their_neighbours_are_done<S: Subject>() {
    let scratch = Scratch::new();
    let mut session = Session::open::<S>(&scratch);
    let (host, _) = session.host_with_bytes(4096);
    let arena = session.exported(0, 4096);
    let length_bytes = session.tier.exports().unwrap()[0].length_bytes;
    let at = |offset, length| MemoryRange::new(arena.memory, offset, length);
    let wrong_ranges = [
        MemoryRange { memory: 40_000, ..arena },
        at(length_bytes, 4096),
        at(length_bytes - 4095, 4096),
        at(u64::MAX - 4095, 4096),
        at(0, u64::MAX),
        at(0, 0),
    ];
    let good = Action::Copy { source: host, target: arena };
    let mut actions = vec![(good, Status::OK)];
    for wrong in wrong_ranges {
        let source = MemoryRange { length: wrong.length, ..host };
        actions.push((Action::Copy { source, target: wrong }, Status::INVALID));
        actions.push((Action::Copy { source: wrong, target: host }, Status::INVALID));
        if session.can(operation::ALLOCATE | operation::RELEASE) {
            actions.push((Action::Allocate { range: wrong }, Status::INVALID));
            actions.push((Action::Release { range: wrong }, Status::INVALID));
        }
        actions.push((good, Status::OK));
    }
    if session.can(operation::ALLOCATE) {
        actions.push((Action::Allocate { range: at(1, 4096) }, Status::INVALID));
        actions.push((Action::Release { range: at(0, 4095) }, Status::INVALID));
        actions.push((Action::Allocate { range: host }, Status::INVALID));
    }
    // Of the right length, but beyond the end of what was registered.
    for offset in [1, 4096, u64::MAX] {
        let beyond = MemoryRange { offset, ..host };
        actions.push((Action::Copy { source: beyond, target: arena }, Status::INVALID));
        actions.push((Action::Copy { source: arena, target: beyond }, Status::INVALID));
    }
    let shorter = MemoryRange { length: 4095, ..host };
    actions.push((Action::Copy { source: shorter, target: arena }, Status::INVALID));
    actions.push((Action::Unknown(4711), Status::UNSUPPORTED));
    let operations: Vec<_> = actions.iter().map(|&(action, _)| session.operation(action)).collect();
    for (completion, (action, status)) in session.run(&operations).iter().zip(actions) {
        assert_eq!(completion.status, status, "{action:?}");
    }
}

pub(crate) fn the_event_is_readable_while_completions_wait_and_quiet_after<S: Subject>() {
    let scratch = Scratch::new();
    let mut session = Session::open::<S>(&scratch);
    if !session.capabilities().has(feature::EVENT_FD) {
        assert!(session.tier.event_fd().unwrap().is_none());
        return;
    }
    let readable = |session: &Session, wait_s| {
        let event = session.tier.event_fd().unwrap().unwrap();
        let timeout = Timespec { tv_sec: wait_s, tv_nsec: 0 };
        poll(&mut [PollFd::new(&event, PollFlags::IN)], Some(&timeout)).unwrap() == 1
    };
    assert!(!readable(&session, 0), "nothing is under way");
    let operations = copies(&mut session, 8);
    let taken = session.offer(&operations);
    let mut done = 0;
    while done < taken {
        assert!(readable(&session, 60), "{done} of {taken} are done, and nobody is told of the rest");
        done += session.poll(1);
    }
    session.poll(1);
    assert!(!readable(&session, 0), "nothing waits any more");
    assert_eq!(operations.iter().map(|operation| operation.request_id).collect::<HashSet<_>>().len(), 8);
}
