//! Belady's MIN: the hit ratio that no policy can pass.
//!
//! Evicts the block whose next use lies farthest ahead, the deeper one at a tie. A parent's next use is never after its
//! child's, so a parent never leaves first and MIN stays optimal under prefix semantics. The victim may be a block that
//! came just now. L. A. Belady, "A study of replacement algorithms for a virtual-storage computer", 1966.

use crate::trace::Dense;
use std::collections::BinaryHeap;

const NEVER: u32 = u32::MAX;

/// Blocks that hit in a cache of `capacity_blocks` with perfect foresight.
pub(crate) fn hits(trace: &Dense, capacity_blocks: usize) -> usize {
    let next_uses = next_uses(trace);
    // By block: its next use while resident.
    let mut resident: Vec<Option<u32>> = vec![None; trace.distinct_blocks];
    let mut resident_blocks = 0;
    // (next use, depth, block), farthest on top; an entry is stale unless the block is resident with that next use.
    let mut farthest = BinaryHeap::new();
    let mut hits = 0;
    for (chain, next_uses) in trace.requests.iter().zip(&next_uses) {
        hits += chain.iter().take_while(|&&block| resident[block as usize].is_some()).count();
        for (depth, (&block, &next_use)) in chain.iter().zip(next_uses).enumerate() {
            resident_blocks += usize::from(resident[block as usize].replace(next_use).is_none());
            farthest.push((next_use, depth, block));
        }
        while resident_blocks > capacity_blocks {
            let Some((next_use, _, block)) = farthest.pop() else { break };
            if resident[block as usize] == Some(next_use) {
                resident[block as usize] = None;
                resident_blocks -= 1;
            }
        }
    }
    hits
}

/// For each block of each request: the next request that names it.
fn next_uses(trace: &Dense) -> Vec<Vec<u32>> {
    let mut seen = vec![NEVER; trace.distinct_blocks];
    let mut next_uses = Vec::with_capacity(trace.requests.len());
    for (number, chain) in trace.requests.iter().enumerate().rev() {
        next_uses.push(chain.iter().map(|&block| seen[block as usize]).collect());
        for &block in chain {
            seen[block as usize] = number as u32;
        }
    }
    next_uses.reverse();
    next_uses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(requests: &[&[u32]]) -> Dense {
        let distinct_blocks = requests.iter().flat_map(|chain| *chain).max().map_or(0, |&id| id as usize + 1);
        Dense { requests: requests.iter().map(|chain| chain.to_vec()).collect(), distinct_blocks }
    }

    #[test]
    fn room_for_everything_misses_first_uses_only() {
        assert_eq!(hits(&trace(&[&[0, 1], &[0, 2], &[0, 1], &[0, 2]]), 3), 5);
    }

    #[test]
    fn the_block_used_soonest_stays() {
        // Room for one: 0 waits for request 3, 1 for request 2; keeping 1 then 0 is worth two hits.
        assert_eq!(hits(&trace(&[&[0], &[1], &[1], &[0]]), 1), 1);
        assert_eq!(hits(&trace(&[&[0], &[1], &[1], &[0]]), 2), 2);
    }

    #[test]
    fn a_hit_behind_a_miss_does_not_count() {
        assert_eq!(hits(&trace(&[&[0, 1], &[2, 3], &[0, 1]]), 1), 1);
    }

    #[test]
    fn no_choice_of_victims_does_better() {
        // Every choice of what to keep after each request, by exhaustion.
        fn best(requests: &[Vec<u32>], kept: u32, room: u32) -> usize {
            let Some((chain, rest)) = requests.split_first() else { return 0 };
            let hits = chain.iter().take_while(|&&block| kept >> block & 1 == 1).count();
            let all = chain.iter().fold(kept, |set, &block| set | 1 << block);
            let keepable = (0..64_u32).filter(|keep| keep & !all == 0 && keep.count_ones() <= room);
            hits + keepable.map(|keep| best(rest, keep, room)).max().unwrap_or(0)
        }
        let requests: &[&[u32]] = &[&[0, 1, 2], &[3, 4], &[0, 1, 5], &[3, 4], &[0, 1, 2]];
        let trace = trace(requests);
        for room in 1..=3 {
            assert_eq!(hits(&trace, room), best(&trace.requests, 0, room as u32), "room for {room}");
        }
    }
}
