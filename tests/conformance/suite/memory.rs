//! Registering, allocating, releasing, copying.

use super::{Scratch, Session, USED_BYTES};
use crate::subjects::Subject;
use cascade_tier::capability::operation;
use cascade_tier::{Action, MemoryRange, Status};

pub(crate) fn registered_memory_is_usable_until_it_is_forgotten<S: Subject>() {
    let scratch = Scratch::new();
    let mut session = Session::open::<S>(&scratch);
    let (source, bytes) = session.host_with_bytes(5000);
    session.put(source, 0);
    assert_eq!(session.get_back(0, &bytes), bytes);
    let again = session.outward(source, 0);
    session.tier.forget_memory(source.memory).unwrap();
    assert_eq!(session.perform(again).status, Status::INVALID);
    assert_eq!(session.tier.forget_memory(source.memory).unwrap_err().status, Status::NOT_FOUND);
}

pub(crate) fn two_registered_memories_are_told_apart<S: Subject>() {
    let scratch = Scratch::new();
    let mut session = Session::open::<S>(&scratch);
    let (first, first_bytes) = session.host_with_bytes(512);
    let (second, second_bytes) = session.host_with_bytes(512);
    assert_ne!(first.memory, second.memory);
    session.put(first, 0);
    session.put(second, 512);
    assert_eq!(session.get_back(0, &first_bytes), first_bytes);
    assert_eq!(session.get_back(512, &second_bytes), second_bytes);
}

pub(crate) fn memory_in_use_is_not_forgotten<S: Subject>() {
    let scratch = Scratch::new();
    let mut session = Session::open::<S>(&scratch);
    let (source, _) = session.host_with_bytes(USED_BYTES);
    let action = session.outward(source, 0);
    let operation = session.operation(action);
    assert_eq!(session.offer(&[operation]), 1);
    match session.tier.forget_memory(source.memory) {
        // It was done already: then its completion is there.
        Ok(()) => assert_eq!(session.poll(1), 1),
        Err(error) => assert_eq!(error.status, Status::INVALID, "{error}"),
    }
    session.wait_for_all();
}

pub(crate) fn released_memory_reads_as_zeros_and_its_neighbours_stay<S: Subject>() {
    let scratch = Scratch::new();
    let mut session = Session::open::<S>(&scratch);
    let page = session.capabilities().alignment_bytes;
    if !session.can(operation::ALLOCATE | operation::RELEASE) {
        let range = session.host(page);
        assert_eq!(session.perform(Action::Release { range }).status, Status::UNSUPPORTED);
        return;
    }
    let middle = session.exported(page, page);
    let (source, bytes) = session.host_with_bytes(3 * page);
    let target = session.exported(0, 3 * page);
    session.perform(Action::Copy { source, target });
    let released = session.perform(Action::Release { range: middle });
    assert_eq!((released.status, released.bytes), (Status::OK, page));
    let allocated = session.perform(Action::Allocate { range: middle });
    assert_eq!((allocated.status, allocated.bytes), (Status::OK, page));
    let found = session.read_back(target);
    let page = page as usize;
    assert_eq!(found[..page], bytes[..page]);
    assert_eq!(found[page..2 * page], vec![0; page]);
    assert_eq!(found[2 * page..], bytes[2 * page..]);
}

pub(crate) fn allocating_keeps_content<S: Subject>() {
    let scratch = Scratch::new();
    let mut session = Session::open::<S>(&scratch);
    let page = session.capabilities().alignment_bytes;
    if !session.can(operation::ALLOCATE) {
        let range = session.host(page);
        assert_eq!(session.perform(Action::Allocate { range }).status, Status::UNSUPPORTED);
        return;
    }
    let (source, bytes) = session.host_with_bytes(page);
    let target = session.exported(0, page);
    session.perform(Action::Copy { source, target });
    assert_eq!(session.perform(Action::Allocate { range: target }).status, Status::OK);
    assert_eq!(session.read_back(target), bytes);
}

pub(crate) fn copies_are_exact_at_any_offset_and_length<S: Subject>() {
    let scratch = Scratch::new();
    let mut session = Session::open::<S>(&scratch);
    if !session.can(operation::COPY) {
        return has_no_memory_to_copy(&mut session);
    }
    let (all, _) = session.host_with_bytes(USED_BYTES);
    let arena = session.exported(0, USED_BYTES);
    session.perform(Action::Copy { source: all, target: arena });
    let mut expected = session.bytes(all).to_vec();
    let (patch, patch_bytes) = session.host_with_bytes(70_000);
    for _ in 0..40 {
        let length = 1 + session.random(70_000);
        let from = session.random(70_001 - length);
        let to = session.random(USED_BYTES + 1 - length);
        let source = MemoryRange::new(patch.memory, from, length);
        let target = MemoryRange::new(arena.memory, to, length);
        let completion = session.perform(Action::Copy { source, target });
        assert_eq!((completion.status, completion.bytes), (Status::OK, length));
        expected[to as usize..(to + length) as usize]
            .copy_from_slice(&patch_bytes[from as usize..(from + length) as usize]);
    }
    assert_eq!(session.read_back(arena), expected);
}

pub(crate) fn a_copy_within_the_tiers_memory_is_exact<S: Subject>() {
    let scratch = Scratch::new();
    let mut session = Session::open::<S>(&scratch);
    if !session.can(operation::COPY) {
        return has_no_memory_to_copy(&mut session);
    }
    let (source, bytes) = session.host_with_bytes(100_000);
    let first = session.exported(0, 100_000);
    let second = session.exported(300_000, 100_000);
    session.perform(Action::Copy { source, target: first });
    assert_eq!(session.perform(Action::Copy { source: first, target: second }).status, Status::OK);
    assert_eq!(session.read_back(second), bytes);
}

fn has_no_memory_to_copy(session: &mut Session) {
    assert!(session.tier.exports().unwrap().is_empty(), "what is its memory for?");
    let (source, target) = (session.host(64), session.host(64));
    assert_eq!(session.perform(Action::Copy { source, target }).status, Status::UNSUPPORTED);
}
