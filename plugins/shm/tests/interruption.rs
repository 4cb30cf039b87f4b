//! Long operations that are already running when their deadline passes or their host withdraws them.

mod support;

use cascade_tier::{Action, CloseMode, Completion, MemoryRange, OpenTier, Operation, Status, monotonic_ns};
use rustix::event::{PollFd, PollFlags, poll};
use serde_json::json;
use support::*;

/// Long enough to be interrupted: a quarter of a second's allocation, in pieces of 64 MiB.
const LONG_BYTES: u64 = 1024 * MIB;

/// A segment whose arena takes long to allocate, or `None` where there is no room for it.
fn open_long(scratch: &Scratch) -> Option<OpenTier> {
    let probe: serde_json::Value = serde_json::from_str(&library().probe("{}").unwrap()).unwrap();
    if probe["available_bytes"].as_u64().unwrap() < 2 * LONG_BYTES {
        println!("SKIPPED: /dev/shm has no room for an allocation that takes long");
        return None;
    }
    let mut long = config(&scratch.segment());
    long["regions"][2]["bytes"] = json!(LONG_BYTES);
    Some(open(&long))
}

fn long_allocation() -> Operation {
    Operation::new(1, Action::Allocate { range: MemoryRange::new(2, 0, LONG_BYTES) })
}

/// Waits on the event alone: polling would expire what has not started yet.
fn completion(tier: &mut OpenTier) -> Completion {
    let event = tier.event_fd().unwrap().unwrap();
    poll(&mut [PollFd::new(&event, PollFlags::IN)], None).unwrap();
    let mut completions = Vec::new();
    assert_eq!(tier.poll(&mut completions).unwrap(), 1);
    completions[0]
}

#[test]
fn a_running_allocation_ends_at_its_deadline_and_says_how_far_it_came() {
    let scratch = Scratch::new();
    let Some(mut tier) = open_long(&scratch) else { return };
    tier.submit(&[long_allocation().by(monotonic_ns() + 5_000_000)]).unwrap();
    let completion = completion(&mut tier);
    assert_eq!(completion.status, Status::EXPIRED);
    assert!(completion.bytes < LONG_BYTES, "{completion:?}");
    let allocated = stats(&tier)["regions"][2]["allocated_bytes"].as_u64().unwrap();
    assert_eq!(allocated, completion.bytes);
}

#[test]
fn a_running_allocation_is_cancelled_and_the_next_one_is_not() {
    let scratch = Scratch::new();
    let Some(mut tier) = open_long(&scratch) else { return };
    tier.submit(&[long_allocation()]).unwrap();
    while stats(&tier)["regions"][2]["allocated_bytes"] == 0 {
        std::thread::yield_now();
    }
    tier.cancel(1).unwrap();
    let cancelled = completion(&mut tier);
    assert_eq!(cancelled.status, Status::CANCELLED);
    assert!((64 * MIB..LONG_BYTES).contains(&cancelled.bytes), "{cancelled:?}");
    assert_eq!(allocate(&mut tier, 2, 0, LONG_BYTES).status, Status::OK);
}

#[test]
fn closing_does_not_wait_for_a_long_allocation() {
    let scratch = Scratch::new();
    let Some(mut tier) = open_long(&scratch) else { return };
    tier.submit(&[long_allocation(), Operation { request_id: 2, ..long_allocation() }]).unwrap();
    while stats(&tier)["regions"][2]["allocated_bytes"] == 0 {
        std::thread::yield_now();
    }
    tier.close(CloseMode::Leave).unwrap();
    let arena = std::fs::metadata(scratch.segment().join("arena-0")).unwrap();
    let allocated_bytes = std::os::unix::fs::MetadataExt::blocks(&arena) * 512;
    assert!(allocated_bytes < LONG_BYTES, "it went on to the end");
}
