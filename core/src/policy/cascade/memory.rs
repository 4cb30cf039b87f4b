//! What is remembered of evicted blocks, and how much memory that may take.
//!
//! Invariants: a segment without blocks remembers some ghosts, or it is closed; ghosts are forgotten, the oldest first, once
//! they and the segments take more than their part.

use super::Cascade;
use super::forest::Segment;

/// Memory for segments and ghosts, in shares of 12 bytes: a segment takes three, its key in the table of ghosts one. 3.4 a
/// block: with chains of one block each there is room for some ghosts, with long chains for one a block nearly; with more, 64
/// bytes a block are passed where the table of ghosts doubles early (groups of eight control bytes, as on aarch64).
const SHARES_PER_TEN_BLOCKS: usize = 34;
const SEGMENT_SHARES: usize = 3;

impl Cascade {
    /// Whether segments and ghosts are within their part of the memory.
    fn is_within_budget(&self) -> bool {
        let shares = SEGMENT_SHARES * self.forest.segments_used() + self.ghosts.len();
        10 * shares <= SHARES_PER_TEN_BLOCKS * self.capacity
    }

    /// Forgets the oldest ghosts until the rest fits.
    pub(super) fn trim(&mut self) {
        while !self.is_within_budget() {
            let Some(segment) = self.cells.oldest_gone() else { return };
            // Had it returned, half of its time here would have passed.
            self.observe(segment, 0.0, f64::from(self.forest.segment(segment).ghosts) / 2.0);
            self.drop_ghosts(segment);
            self.close(segment);
        }
    }

    fn drop_ghosts(&mut self, segment: u32) {
        if self.forest.segment(segment).ghosts > 0 {
            self.ghosts.remove(self.forest.segments(), segment);
            self.forest.segment_mut(segment).ghosts = 0;
        }
    }

    /// A segment remembers one more ghost, the topmost, by which all are found from now on.
    pub(super) fn remember(&mut self, segment: u32, print: u32, touches: u8) {
        let ghosts = self.forest.segment(segment).ghosts;
        self.drop_ghosts(segment);
        if let Some(other) = self.ghosts.find(self.forest.segments(), print) {
            self.drop_ghosts(other);
            if self.forest.segment(other).len == 0 && other != segment {
                self.close(other);
            }
        }
        let remembering = self.forest.segment_mut(segment);
        remembering.ghosts = ghosts + 1;
        remembering.ghost_touches = touches;
        self.ghosts.insert(self.forest.segments(), print, segment);
    }

    /// Gives up a segment that holds and remembers nothing.
    pub(super) fn close(&mut self, segment: u32) {
        self.lift(segment);
        self.forest.close(segment);
    }

    /// The ghosts that begin with this print return: their segment as it was, which forgets them.
    pub(super) fn recall(&mut self, print: u32) -> Option<Segment> {
        let segment = self.ghosts.find(self.forest.segments(), print)?;
        let was = *self.forest.segment(segment);
        self.observe(segment, was.ghosts.into(), was.ghosts.into());
        self.drop_ghosts(segment);
        if was.len == 0 {
            self.close(segment);
        }
        Some(was)
    }
}
