//! A cache of a given size that stores nothing: a policy, driven as the node drives it.
//!
//! Rules, the node's and the dry run's alike: a hit counts only while all blocks before it hit; every block that missed is
//! inserted, root first; then the excess is evicted, never a block with a resident child. Invariant: after a request
//! at most `capacity` blocks are resident.

use crate::random::mix;
use cascade_core::policy::{Arrival, BlockId, Fingerprint, Policy, Removal, Request};

/// What the catalog of a node would know of a resident block.
#[derive(Clone, Copy)]
struct Resident {
    id: u32,
    parent: Option<BlockId>,
    children: u32,
}

/// A prefix cache over dense block ids.
pub(crate) struct PrefixCache {
    policy: Box<dyn Policy>,
    /// By block id: its handle while resident.
    handles: Vec<Option<BlockId>>,
    /// By handle.
    residents: Vec<Resident>,
    free: Vec<BlockId>,
    matched: Vec<BlockId>,
    missing: Vec<Fingerprint>,
    requests: u64,
}

impl PrefixCache {
    /// An empty cache for ids below `distinct_blocks`, as large as the policy's capacity.
    pub(crate) fn new(policy: Box<dyn Policy>, distinct_blocks: usize) -> Self {
        assert!(policy.is_empty());
        Self {
            policy,
            handles: vec![None; distinct_blocks],
            residents: Vec::new(),
            free: Vec::new(),
            matched: Vec::new(),
            missing: Vec::new(),
            requests: 0,
        }
    }

    /// Serves one request and returns how many of its blocks hit.
    pub(crate) fn serve(&mut self, chain: &[u32]) -> usize {
        self.look_up(chain);
        let hits = self.matched.len();
        self.policy.touch(&Request {
            number: self.requests,
            matched: &self.matched,
            missing: &self.missing,
            blocks: chain.len() as u32,
        });
        self.requests += 1;
        let mut parent = self.matched.last().copied();
        for &id in &chain[hits..] {
            // An id can be resident below its own miss only where a trace gives it two parents.
            parent = Some(self.handles[id as usize].unwrap_or_else(|| self.insert(id, parent)));
        }
        self.evict_to(self.policy.capacity());
        hits
    }

    fn look_up(&mut self, chain: &[u32]) {
        self.matched.clear();
        self.matched.extend(chain.iter().map_while(|&id| self.handles[id as usize]));
        self.missing.clear();
        self.missing.extend(chain[self.matched.len()..].iter().map(|&id| fingerprint(id)));
    }

    fn insert(&mut self, id: u32, parent: Option<BlockId>) -> BlockId {
        let resident = Resident { id, parent, children: 0 };
        let block = match self.free.pop() {
            Some(block) => {
                self.residents[block.0 as usize] = resident;
                block
            }
            None => {
                self.residents.push(resident);
                BlockId(self.residents.len() as u32 - 1)
            }
        };
        if let Some(parent) = parent {
            self.residents[parent.0 as usize].children += 1;
        }
        self.handles[id as usize] = Some(block);
        self.policy.insert(Arrival { block, fingerprint: fingerprint(id), parent });
        block
    }

    fn evict_to(&mut self, blocks: usize) {
        while self.policy.len() > blocks {
            let residents = &self.residents;
            let is_leaf = &mut |block: BlockId| residents[block.0 as usize].children == 0;
            // `None` asks for another call: the refused blocks went behind, and a finite tree has a leaf.
            let Some(block) = self.policy.victim(is_leaf) else { continue };
            self.policy.remove(block, Removal::Evicted);
            let Resident { id, parent, .. } = self.residents[block.0 as usize];
            if let Some(parent) = parent {
                self.residents[parent.0 as usize].children -= 1;
            }
            self.handles[id as usize] = None;
            self.free.push(block);
        }
    }
}

/// A key's fingerprint is uniform; an id of a trace is not.
fn fingerprint(id: u32) -> Fingerprint {
    mix(u64::from(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::{ChatTraffic, generate_chat};
    use crate::trace::Dense;
    use cascade_core::policy;

    fn chat() -> Dense {
        generate_chat(&ChatTraffic { requests: 1500, ..Default::default() }).dense()
    }

    fn cache(name: &str, capacity_blocks: usize, trace: &Dense) -> PrefixCache {
        PrefixCache::new(
            policy::by_name(name, capacity_blocks).expect("a policy's name"),
            trace.distinct_blocks,
        )
    }

    #[test]
    fn resident_blocks_are_within_the_capacity_and_none_is_below_a_gap() {
        let trace = chat();
        for name in policy::NAMES {
            let mut cache = cache(name, 300, &trace);
            for chain in &trace.requests {
                cache.serve(chain);
                let resident = cache.handles.iter().flatten().count();
                assert!(resident == cache.policy.len() && resident <= 300, "{name}: {resident} blocks");
                let kept = chain.iter().map(|&id| cache.handles[id as usize].is_some());
                assert!(
                    kept.is_sorted_by(|above, below| above >= below),
                    "{name}: a child outlived its parent"
                );
            }
        }
    }

    /// The definition, with no trait, handle or leaf rule: renew the whole request from its tail up, cut the old end.
    #[test]
    fn lru_hits_as_often_as_a_plain_list_of_ids() {
        let trace = chat();
        let mut cache = cache("lru", 200, &trace);
        let mut order: Vec<u32> = Vec::new();
        for chain in &trace.requests {
            let hits = chain.iter().take_while(|id| order.contains(id)).count();
            order.retain(|id| !chain.contains(id));
            order.extend(chain.iter().rev());
            order.drain(..order.len().saturating_sub(200));
            assert_eq!(cache.serve(chain), hits);
        }
    }

    /// A node mixes commits and evictions as they come. A block whose parent has left already is not kept.
    fn serve_block_by_block(cache: &mut PrefixCache, chain: &[u32]) -> usize {
        let hits = cache
            .serve(&chain[..chain.iter().take_while(|&&id| cache.handles[id as usize].is_some()).count()]);
        let mut parent = cache.matched.last().copied();
        for &id in &chain[hits..] {
            if parent.is_some_and(|parent| !cache.policy.contains(parent)) {
                break;
            }
            parent = Some(cache.insert(id, parent));
            cache.evict_to(cache.policy.capacity());
        }
        hits
    }

    #[test]
    fn evicting_after_each_block_hits_as_often_as_after_each_request() {
        let trace = chat();
        let references = trace.references() as f64;
        for name in ["lru", "arc", "s3fifo"] {
            for capacity in [100, 1000] {
                let (mut whole, mut pieces) = (cache(name, capacity, &trace), cache(name, capacity, &trace));
                let (mut whole_hits, mut pieces_hits) = (0, 0);
                for chain in &trace.requests {
                    whole_hits += whole.serve(chain);
                    pieces_hits += serve_block_by_block(&mut pieces, chain);
                }
                let difference = (whole_hits as f64 - pieces_hits as f64).abs() / references;
                assert!(
                    difference < 0.005,
                    "{name} at {capacity}: {whole_hits} and {pieces_hits} of {references}"
                );
            }
        }
    }

    /// Cascade may turn down the rest of a chain that is too much; room made ahead of each block, as a node does, is no reason to.
    #[test]
    fn cascade_hits_as_often_when_room_is_made_ahead_of_each_block() {
        let trace = chat();
        for capacity in [300, 1000] {
            let (mut whole, mut ahead) =
                (cache("cascade", capacity, &trace), cache("cascade", capacity + 40, &trace));
            let (mut whole_hits, mut ahead_hits) = (0, 0);
            for chain in &trace.requests {
                whole_hits += whole.serve(chain);
                let resident = chain.iter().take_while(|&&id| ahead.handles[id as usize].is_some()).count();
                ahead_hits += ahead.serve(&chain[..resident]);
                let mut parent = ahead.matched.last().copied();
                for &id in &chain[resident..] {
                    ahead.evict_to(capacity - 1);
                    if parent.is_some_and(|parent| !ahead.policy.contains(parent)) {
                        break;
                    }
                    parent = Some(ahead.insert(id, parent));
                }
            }
            let lost = whole_hits as f64 - ahead_hits as f64;
            assert!(
                lost / (trace.references() as f64) < 0.01,
                "at {capacity}: {whole_hits} and {ahead_hits}"
            );
        }
    }

    /// A node that keeps a reserve: room is made ahead of the puts, down to the wide reserve whenever the narrow one is touched.
    #[test]
    fn evicting_ahead_hits_as_often_as_a_cache_without_the_reserve() {
        let trace = chat();
        let references = trace.references() as f64;
        let (capacity, narrow, wide) = (1100, 50, 150);
        for name in policy::NAMES {
            let (mut plain, mut ahead) = (cache(name, 1000, &trace), cache(name, capacity, &trace));
            let (mut plain_hits, mut ahead_hits) = (0, 0);
            for chain in &trace.requests {
                plain_hits += plain.serve(chain);
                if ahead.policy.len() > capacity - narrow {
                    ahead.evict_to(capacity - wide);
                }
                ahead_hits += ahead.serve(chain);
            }
            let difference = (plain_hits as f64 - ahead_hits as f64).abs() / references;
            assert!(difference < 0.01, "{name}: {plain_hits} and {ahead_hits} of {references}");
        }
    }
}
