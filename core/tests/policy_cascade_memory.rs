//! What the `cascade` policy takes of the heap, and how it grows: every allocation of this process is counted, so
//! this file has one test.

use cascade_core::policy::{Arrival, BlockId, Cascade, Policy, Removal, Request};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counting;

static HEAP_BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all is done by the system's allocator; the counter beside it allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HEAP_BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HEAP_BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Tables whose size does not depend on the capacity.
const FIXED_BYTES: usize = 512 << 10;

/// Capacities, some of them just above where a table doubles.
const CAPACITIES: [usize; 4] = [10_007, 29_000, 40_000, 57_500];

/// Bytes a block of capacity after `chains` chains of `blocks` new blocks each, `kept` of which are touched again by the next.
fn bytes_per_block(capacity: usize, chains: u64, blocks: u64, kept: usize) -> f64 {
    let before = HEAP_BYTES.load(Ordering::Relaxed);
    let mut policy = Cascade::new(capacity);
    let mut free: Vec<u32> = (0..capacity as u32 + blocks as u32).rev().collect();
    let spare = HEAP_BYTES.load(Ordering::Relaxed);
    let fixed = spare - before - free.capacity() * 4;
    assert!(fixed <= FIXED_BYTES, "{fixed} fixed bytes");
    let mut last: Vec<BlockId> = Vec::with_capacity(blocks as usize);
    for chain in 0..chains {
        last.truncate(kept);
        last.retain(|&block| policy.contains(block));
        policy.touch(&Request { number: chain, matched: &last, missing: &[], blocks: blocks as u32 });
        for n in last.len() as u64..blocks {
            let block = BlockId(free.pop().expect("a free handle"));
            let fingerprint = (chain * blocks + n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            policy.insert(Arrival { block, fingerprint, parent: last.last().copied() });
            last.push(block);
        }
        while policy.excess() > 0 {
            let victim = policy.victim(&mut |_| true).expect("nothing is refused");
            policy.remove(victim, Removal::Evicted);
            free.push(victim.0);
        }
    }
    assert_eq!(policy.len(), capacity);
    let bytes = HEAP_BYTES.load(Ordering::Relaxed) - spare;
    bytes as f64 / capacity as f64
}

#[test]
fn a_block_takes_64_bytes_at_most_whatever_the_shape_of_the_traffic() {
    // Chains of one block, of two, of many, and branches that cut each other's segments short.
    let shapes = [(1, 0), (2, 0), (3, 1), (20, 0), (20, 19), (9, 4)];
    for (capacity, (blocks, kept)) in
        CAPACITIES.into_iter().flat_map(|capacity| shapes.map(|shape| (capacity, shape)))
    {
        let chains = 3 * capacity as u64 / (blocks - kept as u64).max(1);
        let bytes = bytes_per_block(capacity, chains, blocks, kept);
        assert!(
            bytes <= 64.0,
            "{bytes:.1} bytes a block of {capacity} in chains of {blocks} blocks, {kept} shared"
        );
    }
}
