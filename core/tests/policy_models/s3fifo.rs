//! S3-FIFO against a plain model.

use crate::game::{Model, ops, place, play};
use cascade_core::policy::{Arrival, BlockId, Fingerprint, Removal, S3Fifo};
use proptest::prelude::*;
use std::collections::BTreeMap;

struct PlainS3Fifo {
    small: Vec<BlockId>,
    main: Vec<BlockId>,
    ghosts: Vec<Fingerprint>,
    hits: BTreeMap<BlockId, u8>,
    fingerprints: BTreeMap<BlockId, Fingerprint>,
    capacity: usize,
}

impl PlainS3Fifo {
    fn new(capacity: usize) -> Self {
        let (small, main, ghosts) = Default::default();
        Self { small, main, ghosts, hits: BTreeMap::new(), fingerprints: BTreeMap::new(), capacity }
    }

    fn trim(&mut self) {
        while self.ghosts.len() > self.capacity - self.capacity / 10 {
            self.ghosts.remove(0);
        }
    }

    fn small_victim(&mut self, target: usize, evictable: &dyn Fn(BlockId) -> bool) -> Option<BlockId> {
        while self.small.len() > target {
            let block = self.small[0];
            if self.hits[&block] == 0 && evictable(block) {
                return Some(block);
            }
            self.small.remove(0);
            self.hits.insert(block, 0);
            self.main.push(block);
        }
        None
    }

    fn main_victim(&mut self, evictable: &dyn Fn(BlockId) -> bool) -> Option<BlockId> {
        let mut refused = 0;
        while refused < self.main.len() {
            let block = self.main[0];
            match self.hits[&block] {
                0 if evictable(block) => return Some(block),
                0 => refused += 1,
                hits => _ = self.hits.insert(block, hits - 1),
            }
            self.main.rotate_left(1);
        }
        None
    }
}

impl Model for PlainS3Fifo {
    fn contains(&self, block: BlockId) -> bool {
        self.small.contains(&block) || self.main.contains(&block)
    }

    fn len(&self) -> usize {
        self.small.len() + self.main.len()
    }

    fn set_capacity(&mut self, blocks: usize) {
        self.capacity = blocks;
        self.trim();
    }

    fn touch(&mut self, matched: &[BlockId]) {
        for block in matched {
            if self.contains(*block) {
                let hits = self.hits[block];
                self.hits.insert(*block, if hits == 3 { 3 } else { hits + 1 });
            }
        }
    }

    fn insert(&mut self, mut arrival: Arrival) {
        arrival.parent = arrival.parent.filter(|parent| self.hits.get(parent) == Some(&0));
        if self.ghosts.contains(&arrival.fingerprint) {
            self.ghosts.retain(|&ghost| ghost != arrival.fingerprint);
            place(&mut self.main, &arrival);
        } else {
            place(&mut self.small, &arrival);
        }
        self.hits.insert(arrival.block, 0);
        self.fingerprints.insert(arrival.block, arrival.fingerprint);
    }

    fn victim(&mut self, evictable: &dyn Fn(BlockId) -> bool) -> Option<BlockId> {
        let target = (self.capacity / 10).max(1);
        self.small_victim(target, evictable)
            .or_else(|| self.main_victim(evictable))
            .or_else(|| self.small_victim(0, evictable))
    }

    fn remove(&mut self, block: BlockId, removal: Removal) {
        if removal == Removal::Evicted && self.small.contains(&block) {
            let fingerprint = self.fingerprints[&block];
            self.ghosts.retain(|&ghost| ghost != fingerprint);
            self.ghosts.push(fingerprint);
            self.trim();
        }
        self.small.retain(|&other| other != block);
        self.main.retain(|&other| other != block);
    }
}

proptest! {
    #[test]
    fn s3fifo_is_its_plain_model(ops in ops()) {
        play(&mut S3Fifo::new(8), &mut PlainS3Fifo::new(8), &ops)?;
    }
}
