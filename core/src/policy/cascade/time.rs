//! What the passing of traffic brings: segments grow old, and what that taught turns into scores.
//!
//! Invariant: after [`Cascade::pass`] each segment that is not parked is in the bucket of its age, to a quarter of the width.

use super::Cascade;
use super::age::{BUCKETS, TICK_BLOCKS};
use super::cells::ranked;
use super::class::{CLASSES, Class};
use super::forest::Segment;
use super::gittins;

/// Ticks between two classes that are learned anew: at first, and in the long run.
const LEARN_TICKS_LOG2: u32 = 9;
const LEARN_TICKS_MAX: u32 = 16;

/// Parked segments that are given another chance in a tick.
const UNPARKED_PER_TICK: usize = 2;

/// Observations beyond which those of tails are halved.
const TAILS_MAX: f64 = 1024.0;

/// How often a session that goes on asks for the deepest block of its last request: seldom where that is a partial one.
#[derive(Clone, Copy, Default)]
pub(super) struct Tails {
    seen: f64,
    returned: f64,
}

impl Tails {
    pub(super) fn add(&mut self, has_returned: bool) {
        self.seen += 1.0;
        self.returned += f64::from(u8::from(has_returned));
        if self.seen > TAILS_MAX {
            self.seen /= 2.0;
            self.returned /= 2.0;
        }
    }

    fn ratio(self) -> f64 {
        // Without experience a tail is like any other block.
        (self.returned + 1.0) / (self.seen + 1.0)
    }
}

impl Cascade {
    /// Learns that so many blocks of a segment were exposed in its present bucket and so many of them returned.
    pub(super) fn observe(&mut self, segment: u32, returned_blocks: f64, exposed_blocks: f64) {
        let segment = self.forest.segment(segment);
        // By the octave: segments weigh about alike, however long they are.
        let block = 1.0 / (1_u64 << segment.octave) as f64;
        let bucket = usize::from(segment.bucket);
        self.hazards.add(segment.class, bucket, returned_blocks * block, exposed_blocks * block);
    }

    /// Turns what is known of a class into scores.
    pub(super) fn learn(&mut self, class: Class) {
        let tail_ratio = self.tails.ratio();
        for (bucket, index) in gittins::indices(&self.hazards.of(class)).into_iter().enumerate() {
            self.ranking.set_score(ranked(class.index(), bucket, false), index);
            self.ranking.set_score(ranked(class.index(), bucket, true), index * tail_ratio);
        }
    }

    /// So many blocks more of traffic: what follows when that makes a tick.
    pub(super) fn pass(&mut self, blocks: usize) {
        self.traffic += blocks as u64;
        let now = (self.traffic / TICK_BLOCKS) as u32;
        if now == self.now {
            return;
        }
        self.now = now;
        for bucket in 0..BUCKETS - 1 {
            if self.cells.is_time(now, bucket) {
                self.grow_old(bucket);
            }
        }
        if now.wrapping_sub(self.learn_at) < u32::MAX / 2 {
            let pause = (u64::from(now) >> LEARN_TICKS_LOG2).clamp(1, LEARN_TICKS_MAX.into());
            self.learn_at = now.wrapping_add(pause as u32);
            let class = Class::all().nth(self.learn_next).expect("below CLASSES");
            self.learn_next = (self.learn_next + 1) % CLASSES;
            self.learn(class);
        }
        for _ in 0..UNPARKED_PER_TICK {
            if let Some(parked) = self.cells.oldest_parked() {
                self.place(parked);
            }
        }
    }

    /// Moves on what is too old for its bucket: it was exposed there, all of it.
    fn grow_old(&mut self, bucket: usize) {
        while let Some(segment) = self.cells.due(self.forest.segments(), self.now, bucket) {
            let &Segment { len, ghosts, state, .. } = self.forest.segment(segment);
            self.observe(segment, 0.0, f64::from(len) + f64::from(ghosts));
            self.lift(segment);
            self.forest.segment_mut(segment).bucket += 1;
            self.enter(segment, state);
        }
    }
}
