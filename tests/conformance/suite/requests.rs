//! What holds for every request: one completion, whatever happens to it.

use super::{Scratch, Session};
use crate::subjects::Subject;
use cascade_tier::capability::{feature, operation};
use cascade_tier::{Action, MemoryRange, Status, monotonic_ns};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::HashSet;

pub(crate) fn every_request_completes_exactly_once_in_any_order<S: Subject>() {
    let scratch = Scratch::new();
    let mut session = Session::open::<S>(&scratch);
    let (operations, sent) = session.moves(1000);
    // The session fails on a completion that comes twice or from nowhere.
    let completions = session.run(&operations);
    for completion in &completions {
        assert_eq!((completion.status, completion.bytes), (Status::OK, 512));
    }
    assert_eq!(session.poll(usize::MAX), 0);
    for (place, (completion, sent)) in (0..).step_by(512).zip(completions.iter().zip(sent.chunks(512))) {
        session.kept.insert(place, completion.extent);
        assert_eq!(session.get_back(place, sent), sent);
    }
}

pub(crate) fn a_full_tier_takes_what_fits_and_goes_on_later<S: Subject>() {
    let scratch = Scratch::new();
    let mut session = Session::open::<S>(&scratch);
    let depth = session.capabilities().queue_depth as usize;
    let (operations, _) = session.moves(depth as u64 + 50);
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
    let (operations, _) = session.moves(12);
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
    let (pattern, expected) = session.host_with_bytes(8192);
    session.put(pattern, 0);
    let targets: Vec<_> = (0..12).map(|_| session.host(8192)).collect();
    let inward: Vec<_> = targets.iter().map(|&target| session.inward(0, target, &expected)).collect();
    let loads: Vec<_> = inward.into_iter().map(|action| session.operation(action)).collect();
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
    let (source, bytes) = session.host_with_bytes(4096);
    session.put(source, 0);
    let target = session.host(4096);
    let before = session.bytes(target).to_vec();
    let action = session.inward(0, target, &bytes);
    let operation = session.operation(action);
    let expired = session.run(&[operation.by(monotonic_ns() - 1)]);
    assert_eq!((expired[0].status, expired[0].bytes), (Status::EXPIRED, 0));
    assert_eq!(session.bytes(target), before);
    let operation = session.operation(action);
    let in_time = session.run(&[operation.by(monotonic_ns() + 3_600_000_000_000)]);
    assert_eq!(in_time[0].status, Status::OK);
    assert_eq!(session.bytes(target), bytes);
}

pub(crate) fn wrong_ranges_are_refused_and_their_neighbours_are_done<S: Subject>() {
    let scratch = Scratch::new();
    let mut session = Session::open::<S>(&scratch);
    let (host, bytes) = session.host_with_bytes(4096);
    session.put(host, 0);
    let good = session.outward(host, 0);
    let mut actions = vec![(good, Status::OK)];
    if session.can(operation::COPY) {
        actions.extend(wrong_copies(&mut session, host));
    }
    let host_at = |offset, length| MemoryRange { offset, length, ..host };
    let wrong = [
        MemoryRange { memory: 40_000, ..host },
        host_at(1, 4096),
        host_at(4096, 4096),
        host_at(u64::MAX, 4096),
        host_at(0, u64::MAX),
        host_at(0, 0),
    ];
    for wrong in wrong {
        actions.push((session.outward(wrong, 0), Status::INVALID));
        actions.push((session.inward(0, wrong, &bytes), Status::INVALID));
        actions.push((good, Status::OK));
    }
    actions.push((Action::Unknown(4711), Status::UNSUPPORTED));
    let operations: Vec<_> = actions.iter().map(|&(action, _)| session.operation(action)).collect();
    for (completion, (action, status)) in session.run(&operations).iter().zip(actions) {
        assert_eq!(completion.status, status, "{action:?}");
    }
}

/// Copies that go wrong at the tier's own memory, and allocations.
fn wrong_copies(session: &mut Session, host: MemoryRange) -> Vec<(Action, Status)> {
    let arena = session.exported(0, 4096);
    let length_bytes = session.tier.exports().unwrap()[0].length_bytes;
    let at = |offset, length| MemoryRange::new(arena.memory, offset, length);
    let wrong_ranges = [
        at(length_bytes, 4096),
        at(length_bytes - 4095, 4096),
        at(u64::MAX - 4095, 4096),
        at(0, u64::MAX),
        at(0, 0),
    ];
    let mut wrong = Vec::new();
    for range in wrong_ranges {
        let source = MemoryRange { length: range.length, ..host };
        wrong.push(Action::Copy { source, target: range });
        wrong.push(Action::Copy { source: range, target: host });
        if session.can(operation::ALLOCATE | operation::RELEASE) {
            wrong.extend([Action::Allocate { range }, Action::Release { range }]);
        }
    }
    if session.can(operation::ALLOCATE) {
        wrong.push(Action::Allocate { range: at(1, 4096) });
        wrong.push(Action::Release { range: at(0, 4095) });
        wrong.push(Action::Allocate { range: host });
    }
    let shorter = MemoryRange { length: 4095, ..host };
    wrong.push(Action::Copy { source: shorter, target: arena });
    wrong.into_iter().map(|action| (action, Status::INVALID)).collect()
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
    let (operations, _) = session.moves(8);
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
