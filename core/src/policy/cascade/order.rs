//! The order told ahead: what eviction would do if no traffic came, and what it would keep longest.
//!
//! Without traffic nothing ages and nothing is learned, so eviction is a walk over the cells by their scores. It is followed
//! in thought here: which tails are gone ([`Foresight`]), hence which segments and parents come free. What is taken
//! otherwise than eviction would: a segment that comes free goes behind those of its cell, and parked ones come last.
//! Reads only, and O(limit log limit) beside a look at which cells are occupied.

use super::super::{BlockId, Policy};
use super::Cascade;
use super::cells::{Ends, ranked};
use super::forest::{Block, NONE, Segment, State};
use alloc::collections::BinaryHeap;
use alloc::vec::Vec;
use core::cmp::Reverse;
use hashbrown::{HashMap, HashSet};

/// The score of what eviction comes to last.
const LAST: u64 = u64::MAX;

/// A segment whose turn is to come, with what decides when.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    /// The bits of its score, which is not negative: they compare as the score does.
    score: u64,
    cell: usize,
    /// Its place among those of the cell.
    place: u32,
    segment: u32,
    /// Its lowest block that is not listed.
    tail: u32,
    is_whole: bool,
    /// Whether the next of its list follows.
    is_of_list: bool,
}

impl Cascade {
    /// See [`Policy::coldest`](super::Policy::coldest).
    pub(super) fn list_coldest(&self, limit: usize, out: &mut Vec<BlockId>) {
        out.clear();
        let (due, tails, children) = Default::default();
        let mut foresight = Foresight { policy: self, out, limit, due, tails, children, entered: 0 };
        for state in [State::Open, State::Whole] {
            for Ends { oldest, .. } in self.cells.occupied(state) {
                foresight.follow(oldest, 0);
            }
        }
        if let Some(parked) = self.cells.oldest_parked() {
            foresight.follow(parked, 0);
        }
        foresight.run();
    }

    /// See [`Policy::hottest`](super::Policy::hottest).
    ///
    /// By score, parents before their children: a block comes as early as any that hangs below it.
    pub(super) fn list_hottest(&self, limit: usize, out: &mut Vec<BlockId>) {
        out.clear();
        // Scores, places in their lists, segments, and whether it is for the tail alone.
        let mut due: BinaryHeap<(u64, Reverse<u32>, u32, bool)> = BinaryHeap::new();
        let score_of = |segment: &Segment, is_tail: bool| {
            self.ranking.score(ranked(segment.class.index(), segment.bucket.into(), is_tail)).to_bits()
        };
        let newest = [State::Open, State::Whole, State::Blocked]
            .into_iter()
            .flat_map(|state| self.cells.occupied(state).map(|ends| ends.newest));
        for segment in newest.chain(self.cells.newest_parked()) {
            due.push((score_of(self.forest.segment(segment), false), Reverse(0), segment, false));
        }
        let mut listed = HashSet::new();
        let mut path = Vec::new();
        while out.len() < limit
            && let Some((_, Reverse(place), id, is_tail)) = due.pop()
        {
            let segment = self.forest.segment(id);
            if !is_tail && segment.older != NONE {
                let older = self.forest.segment(segment.older);
                due.push((score_of(older, false), Reverse(place + 1), segment.older, false));
            }
            let mut at = segment.tail;
            // The last block of a request is another matter than what is above it.
            if !is_tail && segment.state == State::Whole {
                due.push((score_of(segment, true), Reverse(place), id, true));
                match self.forest.block(at) {
                    Some(&Block { up, is_top: false, .. }) => at = up,
                    _ => continue,
                }
            }
            while let Some(block) = self.forest.block(at)
                && listed.insert(at)
            {
                path.push(BlockId(at));
                at = block.up;
            }
            out.extend(path.drain(..).rev());
        }
        out.truncate(limit);
    }
}

/// Eviction in thought.
struct Foresight<'a> {
    policy: &'a Cascade,
    out: &'a mut Vec<BlockId>,
    limit: usize,
    due: BinaryHeap<Reverse<Turn>>,
    /// The lowest block that is not listed of segments that were listed in part, `NONE` where all was.
    tails: HashMap<u32, u32>,
    /// Listed children, of blocks with more than one.
    children: HashMap<u32, u16>,
    entered: u32,
}

impl Foresight<'_> {
    fn run(&mut self) {
        while self.out.len() < self.limit
            && let Some(Reverse(turn)) = self.due.pop()
        {
            let newer = self.policy.forest.segment(turn.segment).newer;
            if turn.is_of_list && newer != NONE {
                self.follow(newer, turn.place + 1);
            }
            // A segment may wait twice; and a parked one may have children.
            let is_blocked = turn.is_of_list && self.children_of(turn.tail) > 0;
            if is_blocked || turn.tail != self.tail_of(turn.segment) {
                continue;
            }
            let excess = self.policy.excess().saturating_sub(self.out.len());
            if turn.score < LAST && self.policy.is_growing(turn.segment, excess) {
                self.due.push(Reverse(Turn { score: LAST, is_of_list: false, ..turn }));
            } else {
                self.list(turn);
            }
        }
    }

    /// Lists a segment from its tail up, until another is worth less or something else hangs there.
    fn list(&mut self, turn: Turn) {
        let mut tail = turn.tail;
        while self.out.len() < self.limit {
            self.out.push(BlockId(tail));
            let Some(&Block { up, is_top, .. }) = self.policy.forest.block(tail) else { return };
            self.tails.insert(turn.segment, if is_top { NONE } else { up });
            if !self.unhang(up) {
                return;
            }
            if is_top {
                if let Some(&Block { segment, .. }) = self.policy.forest.block(up) {
                    self.wait(segment, up, self.policy.forest.segment(segment).is_whole);
                }
                return;
            }
            if turn.is_whole {
                return self.wait(turn.segment, up, false);
            }
            tail = up;
            let goes_on = Turn { tail, is_of_list: false, ..turn };
            if self.due.peek().is_some_and(|Reverse(next)| *next < goes_on) {
                return self.due.push(Reverse(goes_on));
            }
        }
    }

    /// Enters a segment of a list, at its place.
    fn follow(&mut self, segment: u32, place: u32) {
        let &Segment { tail, is_whole, state, .. } = self.policy.forest.segment(segment);
        let mut turn = Turn { place, is_of_list: true, ..self.turn(segment, tail, is_whole) };
        if state == State::Parked {
            turn.score = LAST;
        }
        self.due.push(Reverse(turn));
    }

    /// Enters a segment that came free, behind all others of its cell.
    fn wait(&mut self, segment: u32, tail: u32, is_whole: bool) {
        let place = u32::MAX / 2 + self.entered;
        self.entered += 1;
        self.due.push(Reverse(Turn { place, ..self.turn(segment, tail, is_whole) }));
    }

    fn turn(&self, segment: u32, tail: u32, is_whole: bool) -> Turn {
        let &Segment { class, bucket, .. } = self.policy.forest.segment(segment);
        let cell = ranked(class.index(), bucket.into(), is_whole);
        let score = self.policy.ranking.score(cell).to_bits();
        Turn { score, cell, place: 0, segment, tail, is_whole, is_of_list: false }
    }

    fn tail_of(&self, segment: u32) -> u32 {
        self.tails.get(&segment).copied().unwrap_or_else(|| self.policy.forest.segment(segment).tail)
    }

    /// Children that are not listed.
    fn children_of(&self, block: u32) -> u16 {
        let listed = self.children.get(&block).copied().unwrap_or(0);
        self.policy.forest.counted_children(block).saturating_sub(listed)
    }

    /// A child was listed; whether it was the last.
    fn unhang(&mut self, parent: u32) -> bool {
        if self.policy.forest.counted_children(parent) <= 1 {
            return true;
        }
        *self.children.entry(parent).or_default() += 1;
        self.children_of(parent) == 0
    }
}
