//! One suite, every engine, direct and buffered files, on disk and in shared memory.

use crate::support::{self, Folder, Memory, finish, finish_all};
use cascade_tier_lustre::io::{ALIGNMENT_BYTES, Direction, STREAM};
use cascade_tier_lustre::io::{Caching, Depth, Directory, Engine, FileKind, Part, Pool, Ring, Transfer};

/// Small, so that transfers of a test are cut.
const DEPTH: Depth = Depth { requests: 3, transfers: 64, request_bytes: 64 << 10 };

macro_rules! engines {
    ($($module:ident: $engine:expr, $caching:expr, $place:ident;)*) => {$(
        mod $module {
            use super::*;

            fn engine() -> Option<Box<dyn Engine>> {
                $engine
            }

            fn folder(test: &str) -> Folder {
                Folder::$place(&format!("{}-{test}", stringify!($module)), $caching)
            }

            #[test]
            fn what_was_written_is_read_at_any_aligned_offset_and_length() {
                let Some(engine) = engine() else { return };
                super::what_was_written_is_read(engine, &folder("exact"));
            }

            #[test]
            fn a_read_beyond_the_end_says_how_much_there_was() {
                let Some(engine) = engine() else { return };
                super::a_read_beyond_the_end_is_short(engine, &folder("end"));
            }

            #[test]
            fn many_at_once_are_each_done_once() {
                let Some(engine) = engine() else { return };
                super::many_at_once_are_each_done_once(engine, &folder("many"));
            }

            #[test]
            fn what_cannot_be_done_is_an_error_of_its_own() {
                let Some(engine) = engine() else { return };
                super::what_cannot_be_done_is_an_error_of_its_own(engine, &folder("errors"));
            }

            #[test]
            fn a_full_engine_gives_the_transfer_back() {
                let Some(engine) = engine() else { return };
                super::a_full_engine_gives_the_transfer_back(engine);
            }

            #[test]
            fn what_hangs_does_not_hold_up_the_rest_for_ever() {
                let Some(engine) = engine() else { return };
                super::what_hangs_does_not_hold_up_the_rest_for_ever(engine);
            }

            #[test]
            fn dropping_it_while_a_transfer_hangs_does_not_wait() {
                let Some(engine) = engine() else { return };
                super::dropping_it_while_a_transfer_hangs_does_not_wait(engine);
            }
        }
    )*};
}

fn pool() -> Option<Box<dyn Engine>> {
    Some(Box::new(Pool::new("pread", DEPTH).expect("threads start")))
}

fn ring() -> Option<Box<dyn Engine>> {
    match Ring::new(DEPTH) {
        Ok(ring) => Some(Box::new(ring)),
        Err(error) => {
            println!("SKIPPED io_uring: {error}");
            None
        }
    }
}

engines! {
    pool_direct_on_disk: pool(), Caching::Avoided, on_disk;
    pool_buffered_on_disk: pool(), Caching::Used, on_disk;
    pool_direct_in_memory: pool(), Caching::Avoided, in_memory;
    pool_buffered_in_memory: pool(), Caching::Used, in_memory;
    ring_direct_on_disk: ring(), Caching::Avoided, on_disk;
    ring_buffered_on_disk: ring(), Caching::Used, on_disk;
    ring_direct_in_memory: ring(), Caching::Avoided, in_memory;
    ring_buffered_in_memory: ring(), Caching::Used, in_memory;
}

#[cfg(feature = "faults")]
fn faultless() -> Option<Box<dyn Engine>> {
    use cascade_tier_lustre::io::faulty::{Faults, FaultyEngine};
    let faults = Faults::new("/nowhere/faults.json".into());
    Some(Box::new(FaultyEngine::new(pool()?, faults).expect("descriptors")))
}

#[cfg(feature = "faults")]
engines! {
    faultless_direct_on_disk: faultless(), Caching::Avoided, on_disk;
}

fn what_was_written_is_read(mut engine: Box<dyn Engine>, folder: &Folder) {
    const PAGES: usize = 96;
    let file = folder.directory.create("pieces", FileKind::Container).unwrap();
    let written = Memory::patterned(PAGES, 7);
    let whole = Transfer {
        token: 1,
        file: file.clone(),
        offset: 0,
        direction: Direction::Write,
        parts: written.parts(&[3, 1, 40, 2, 50]),
    };
    // SAFETY: the memory outlives the transfer, which is finished below.
    unsafe { engine.submit(whole) }.unwrap();
    assert_eq!(finish(engine.as_mut(), 1).unwrap(), written.length());

    let read = Memory::patterned(PAGES, 9);
    for first in [0, 1, 15, 16, 17, 31, 60, 95] {
        for count in [1, 2, 15, 16, 17, 33, 90] {
            let count = count.min(PAGES - first);
            read.fill(0);
            let transfer = Transfer {
                token: 2,
                file: file.clone(),
                offset: first as u64 * ALIGNMENT_BYTES,
                direction: Direction::Read,
                parts: read.parts(&[1, count - 1]),
            };
            // SAFETY: as above.
            unsafe { engine.submit(transfer) }.unwrap();
            assert_eq!(finish(engine.as_mut(), 2).unwrap(), count as u64 * ALIGNMENT_BYTES);
            assert!(read.pages(0, count) == written.pages(first, count), "{count} pages at {first}");
            assert!(read.pages(count, PAGES - count).iter().all(|&byte| byte == 0), "no byte beyond");
        }
    }
    assert_eq!(engine.under_way(), 0);
}

fn a_read_beyond_the_end_is_short(mut engine: Box<dyn Engine>, folder: &Folder) {
    let file = folder.directory.create("pieces", FileKind::Records).unwrap();
    let written = Memory::patterned(40, 3);
    let end = 33 * ALIGNMENT_BYTES as usize + 1000;
    folder.directory.write_at(&file, &written.pages(0, 40)[..end], 0).unwrap();
    let file = folder.directory.open("pieces", FileKind::Container).unwrap();
    let read = Memory::patterned(40, 0);
    for (first, expected) in [(0, end as u64), (33, 1000), (34, 0), (1000, 0)] {
        let transfer = Transfer {
            token: first,
            file: file.clone(),
            offset: first * ALIGNMENT_BYTES,
            direction: Direction::Read,
            parts: read.parts(&[40]),
        };
        // SAFETY: the memory outlives the transfer, which is finished below.
        unsafe { engine.submit(transfer) }.unwrap();
        assert_eq!(finish(engine.as_mut(), first).unwrap(), expected);
        let skipped = (first as usize * ALIGNMENT_BYTES as usize).min(end);
        assert!(read.pages(0, 40)[..expected as usize] == written.pages(0, 40)[skipped..end]);
    }
}

fn many_at_once_are_each_done_once(mut engine: Box<dyn Engine>, folder: &Folder) {
    const PIECES: usize = 40;
    const PAGES: usize = 20;
    let file = folder.directory.create("pieces", FileKind::Container).unwrap();
    let written = Memory::patterned(PIECES * PAGES, 11);
    let read = Memory::patterned(PIECES * PAGES, 0);
    for (direction, memory) in [(Direction::Write, &written), (Direction::Read, &read)] {
        for piece in 0..PIECES {
            // Each piece's place is another's turn, so that the order of the ends is not that of the file.
            let place = (piece * 17) % PIECES;
            let transfer = Transfer {
                token: place as u64,
                file: file.clone(),
                offset: (place * PAGES) as u64 * ALIGNMENT_BYTES,
                direction,
                parts: vec![memory.part(place * PAGES, PAGES)],
            };
            // SAFETY: the memory outlives the transfers, which are finished below.
            unsafe { engine.submit(transfer) }.unwrap();
        }
        let mut tokens: Vec<u64> = finish_all(engine.as_mut())
            .into_iter()
            .map(|done| {
                assert_eq!(done.result.unwrap(), PAGES as u64 * ALIGNMENT_BYTES);
                done.token
            })
            .collect();
        tokens.sort_unstable();
        assert!(tokens.into_iter().eq(0..PIECES as u64));
    }
    assert!(read.pages(0, PIECES * PAGES) == written.pages(0, PIECES * PAGES));
}

fn what_cannot_be_done_is_an_error_of_its_own(mut engine: Box<dyn Engine>, folder: &Folder) {
    folder.directory.create("pieces", FileKind::Container).unwrap();
    let read_only = folder.directory.open("pieces", FileKind::Container).unwrap();
    let memory = Memory::patterned(40, 1);
    let transfer = |token, direction, offset| Transfer {
        token,
        file: read_only.clone(),
        offset,
        direction,
        parts: memory.parts(&[40]),
    };
    // SAFETY: the memory outlives the transfers, which are finished below.
    unsafe {
        engine.submit(transfer(1, Direction::Write, 0)).unwrap();
        engine.submit(transfer(2, Direction::Read, 0)).unwrap();
        engine.submit(transfer(3, Direction::Read, u64::MAX - ALIGNMENT_BYTES + 1)).unwrap();
        engine.submit(Transfer { parts: Vec::new(), ..transfer(4, Direction::Read, 0) }).unwrap();
    }
    let mut done = finish_all(engine.as_mut());
    done.sort_unstable_by_key(|done| done.token);
    let mut results = done.into_iter().map(|done| done.result);
    assert_eq!(results.next().unwrap().unwrap_err().raw_os_error(), Some(libc::EBADF));
    assert_eq!(results.next().unwrap().unwrap(), 0);
    assert!(results.next().unwrap().is_err());
    assert_eq!(results.next().unwrap().unwrap(), 0);
}

/// A pipe that nobody writes to stands for a file system that does not answer.
fn hanging(token: u64, memory: &Memory) -> (Transfer, support::Hang) {
    let (file, hang) = support::hang();
    let part = Part { pointer: memory.part(0, 1).pointer, length: 1 };
    (Transfer { token, file, offset: STREAM, direction: Direction::Read, parts: vec![part] }, hang)
}

fn a_full_engine_gives_the_transfer_back(mut engine: Box<dyn Engine>) {
    let memory = Memory::patterned(1, 0);
    let mut hangs = Vec::new();
    for token in 0..DEPTH.transfers as u64 {
        let (transfer, hang) = hanging(token, &memory);
        hangs.push(hang);
        // SAFETY: the memory outlives the transfers, which are finished below.
        unsafe { engine.submit(transfer) }.unwrap();
    }
    assert_eq!(engine.under_way(), DEPTH.transfers);
    let (transfer, _hang) = hanging(1000, &memory);
    // SAFETY: as above.
    let refused = unsafe { engine.submit(transfer) }.unwrap_err();
    assert_eq!(refused.token, 1000);
    drop(hangs);
    assert_eq!(finish_all(engine.as_mut()).len(), DEPTH.transfers);
}

fn what_hangs_does_not_hold_up_the_rest_for_ever(mut engine: Box<dyn Engine>) {
    let memory = Memory::patterned(1, 0);
    let mut hangs = Vec::new();
    for token in 0..DEPTH.requests as u64 {
        let (transfer, hang) = hanging(token, &memory);
        hangs.push(hang);
        // SAFETY: the memory outlives the transfers, which are finished below.
        unsafe { engine.submit(transfer) }.unwrap();
    }
    let (transfer, other) = hanging(1000, &memory);
    // SAFETY: as above.
    unsafe { engine.submit(transfer) }.unwrap();
    drop(other);
    let mut done = Vec::new();
    while done.is_empty() {
        support::wait(engine.as_mut(), &mut done);
    }
    assert_eq!((done.len(), done[0].token), (1, 1000));
    drop(hangs);
    finish_all(engine.as_mut());
}

fn dropping_it_while_a_transfer_hangs_does_not_wait(mut engine: Box<dyn Engine>) {
    // Static: the hanging transfer keeps its memory for good.
    let memory: &'static Memory = Box::leak(Box::new(Memory::patterned(1, 0)));
    let (transfer, hang) = hanging(1, memory);
    // SAFETY: the memory is never given back.
    unsafe { engine.submit(transfer) }.unwrap();
    // What comes after it is done: so it was begun, and hangs.
    let (transfer, other) = hanging(2, memory);
    // SAFETY: as above.
    unsafe { engine.submit(transfer) }.unwrap();
    drop(other);
    let mut done = Vec::new();
    while done.is_empty() {
        support::wait(engine.as_mut(), &mut done);
    }
    assert_eq!((done.len(), done[0].token, engine.under_way()), (1, 2, 1));
    drop(engine);
    // Only now does it return; had the drop waited for that, the test would never have come here.
    drop(hang);
}
