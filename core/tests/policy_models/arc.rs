//! ARC against a plain model that follows the paper's lists by name.

use crate::game::{Model, ops, place, play, scan};
use cascade_core::policy::{Arc, Arrival, BlockId, Fingerprint, Removal};
use proptest::prelude::*;
use std::collections::BTreeMap;

struct PlainArc {
    t1: Vec<BlockId>,
    t2: Vec<BlockId>,
    b1: Vec<Fingerprint>,
    b2: Vec<Fingerprint>,
    p: f64,
    c: usize,
    fingerprints: BTreeMap<BlockId, Fingerprint>,
}

impl PlainArc {
    fn new(c: usize) -> Self {
        let (t1, t2, b1, b2) = Default::default();
        Self { t1, t2, b1, b2, p: 0.0, c, fingerprints: BTreeMap::new() }
    }

    fn trim(&mut self) {
        while !self.b1.is_empty() && self.t1.len() + self.b1.len() > self.c {
            self.b1.remove(0);
        }
        while !self.b2.is_empty() && self.len() + self.b1.len() + self.b2.len() > 2 * self.c {
            self.b2.remove(0);
        }
    }
}

impl Model for PlainArc {
    fn contains(&self, block: BlockId) -> bool {
        self.t1.contains(&block) || self.t2.contains(&block)
    }

    fn len(&self) -> usize {
        self.t1.len() + self.t2.len()
    }

    fn set_capacity(&mut self, blocks: usize) {
        self.c = blocks;
        self.p = self.p.min(blocks as f64);
        self.trim();
    }

    fn touch(&mut self, matched: &[BlockId]) {
        for &block in matched.iter().rev() {
            if self.contains(block) {
                self.t1.retain(|&other| other != block);
                self.t2.retain(|&other| other != block);
                self.t2.push(block);
            }
        }
    }

    fn insert(&mut self, arrival: Arrival) {
        let (b1, b2) = (self.b1.len() as f64, self.b2.len() as f64);
        if self.b1.contains(&arrival.fingerprint) {
            self.p = (self.p + (b2 / b1).max(1.0)).min(self.c as f64);
            self.b1.retain(|&ghost| ghost != arrival.fingerprint);
            place(&mut self.t2, &arrival);
        } else if self.b2.contains(&arrival.fingerprint) {
            self.p = (self.p - (b1 / b2).max(1.0)).max(0.0);
            self.b2.retain(|&ghost| ghost != arrival.fingerprint);
            place(&mut self.t2, &arrival);
        } else {
            place(&mut self.t1, &arrival);
        }
        self.fingerprints.insert(arrival.block, arrival.fingerprint);
        self.trim();
    }

    fn victim(&mut self, evictable: &dyn Fn(BlockId) -> bool) -> Option<BlockId> {
        if self.t1.len() as f64 > self.p {
            scan(&mut self.t1, evictable).or_else(|| scan(&mut self.t2, evictable))
        } else {
            scan(&mut self.t2, evictable).or_else(|| scan(&mut self.t1, evictable))
        }
    }

    fn remove(&mut self, block: BlockId, removal: Removal) {
        if !self.contains(block) {
            return;
        }
        if removal == Removal::Evicted {
            let ghosts = if self.t1.contains(&block) { &mut self.b1 } else { &mut self.b2 };
            let fingerprint = self.fingerprints[&block];
            ghosts.retain(|&ghost| ghost != fingerprint);
            ghosts.push(fingerprint);
        }
        self.t1.retain(|&other| other != block);
        self.t2.retain(|&other| other != block);
        self.trim();
    }
}

proptest! {
    #[test]
    fn arc_is_its_plain_model(ops in ops()) {
        play(&mut Arc::new(8), &mut PlainArc::new(8), &ops)?;
    }
}
