//! How traffic becomes segments: what a touched chain leaves behind, and where new blocks join.
//!
//! A chain that is matched deep into the last segment of a session continues it: the next turn. Blocks that were touched more
//! often than that explains are shared with others. What a chain passes by is a branch: it stays with its age, and counts as
//! left over if it is the lesser part of its segment.

use super::super::{Arrival, BlockId};
use super::class::Class;
use super::forest::{Block, NONE, Segment, State, folded};
use super::{Cascade, Returning};
use alloc::vec::Vec;

/// A turn number beyond which no turn is told from the next.
const TURN_MAX: u8 = 100;

/// Ticks within which an insertion below a segment is taken for part of the request that touched or made it.
pub(super) const REQUEST_TICKS: u32 = 64;

impl Cascade {
    /// A request found this prefix resident.
    pub(super) fn touch_chain(&mut self, matched: &[BlockId]) {
        let mut chain = core::mem::take(&mut self.chain);
        self.read_chain(matched, &mut chain);
        if let Some(&deepest) = chain.last() {
            self.pass(chain.len());
            self.renew(&chain, deepest);
        }
        chain.clear();
        self.chain = chain;
    }

    /// The resident blocks of a match, from a top on: a touch of a block is a touch of all above it, named or not.
    fn read_chain(&self, matched: &[BlockId], chain: &mut Vec<u32>) {
        let mut resident =
            matched.iter().map(|block| block.0).filter(|&block| self.forest.block(block).is_some());
        let Some(first) = resident.next() else { return };
        chain.push(first);
        while let Some(block) = chain.last().and_then(|&block| self.forest.block(block))
            && !block.is_top
        {
            chain.push(block.up);
        }
        chain.reverse();
        chain.extend(resident);
    }

    fn renew(&mut self, chain: &[u32], deepest: u32) {
        let Some(last) = self.forest.block(deepest).map(|block| block.segment) else { return };
        let was = *self.forest.segment(last);
        let in_last = |block: &u32| self.forest.block(*block).is_some_and(|block| block.segment == last);
        let rest = was.len.saturating_sub(chain.iter().filter(|&block| in_last(block)).count() as u32);
        let turn = next_turn(&was, chain.len() as u32, rest);
        if turn > 1 && was.is_whole && rest <= 1 {
            self.tails.add(rest == 0);
        }
        let gap_ticks = self.now.wrapping_sub(was.last);
        for &block in chain {
            let touches = self.forest.touches_mut(block);
            *touches = touches.saturating_add(1);
        }
        let mut is_shared = true;
        let mut run = Run { segment: NONE, class: None, tail: NONE };
        let mut from = NONE;
        for &block in chain {
            // Not linked to the one before, and no top either: the caller's chain is not one. Its place stays as it is.
            let Some(&Block { up, segment, touches, is_top: true, .. }) = self.forest.block(block) else {
                continue;
            };
            is_shared &= touches > turn;
            let class = is_shared.then(|| Class::shared(touches));
            self.observe(segment, 1.0, 1.0);
            self.forest.detach_top(block);
            if from != segment {
                self.leave_rest(from);
                from = segment;
            }
            if run.segment == NONE || run.class != class || run.tail != up {
                self.close_run(run, turn, gap_ticks);
                let segment = self.forest.open(class.unwrap_or(Class::session(1, 0, 1)), turn, self.now);
                run = Run { segment, class, tail: NONE };
            }
            self.forest.append(run.segment, block);
            run.tail = block;
        }
        self.leave_rest(from);
        if run.segment != NONE {
            self.forest.segment_mut(run.segment).is_whole = was.is_whole && rest == 0;
        }
        self.close_run(run, turn, gap_ticks);
    }

    /// Enters a run of touched blocks, whose class is known by now.
    fn close_run(&mut self, run: Run, turn: u8, gap_ticks: u32) {
        if run.segment == NONE {
            return;
        }
        if run.class.is_none() {
            let segment = self.forest.segment_mut(run.segment);
            segment.class = Class::session(turn, gap_ticks, segment.len);
        }
        self.place(run.segment);
    }

    /// What a chain took the top off: it was passed by, and is no turn of that session any more.
    fn leave_rest(&mut self, segment: u32) {
        if segment == NONE {
            return;
        }
        let &Segment { len, ghosts, octave, .. } = self.forest.segment(segment);
        let rest = len + ghosts;
        if rest == 0 {
            return self.close(segment);
        }
        self.lift(segment);
        self.forest.segment_mut(segment).turn = 1;
        if u64::from(rest) * 2 < 1 << octave {
            self.observe(segment, 0.0, f64::from(rest) / 2.0);
            let segment = self.forest.segment_mut(segment);
            (segment.class, segment.octave) = (Class::LEFT_OVER, rest.ilog2() as u8);
        }
        self.place(segment);
    }

    /// A block became resident.
    pub(super) fn insert_block(&mut self, arrival: Arrival) {
        let block = arrival.block.0;
        assert!(self.forest.block(block).is_none(), "block {block} is resident already");
        self.pass(1);
        let parent =
            arrival.parent.map(|parent| parent.0).filter(|&parent| self.forest.block(parent).is_some());
        let ghost = self.recall(folded(arrival.fingerprint));
        let (touches, is_shared) = self.returned(block, parent, ghost.as_ref());
        let shared = Class::shared(touches);
        let above = parent.and_then(|parent| {
            self.joinable(parent, |class| if is_shared { class == shared } else { class.is_session() })
        });
        self.forest.arrive(arrival.block, arrival.fingerprint, parent, touches);
        if let Some(parent) = parent {
            self.forest.hang(parent);
        }
        let session = ghost.filter(|ghost| !ghost.class.is_shared());
        let (turn, gap_ticks) = session.map_or((1, 0), |ghost| {
            (ghost.turn.saturating_add(1).min(TURN_MAX), self.now.wrapping_sub(ghost.last))
        });
        let segment = above.unwrap_or_else(|| self.forest.open(Class::session(1, 0, 1), turn, self.now));
        self.lift(segment);
        self.forest.append(segment, block);
        let joined = self.forest.segment_mut(segment);
        (joined.is_whole, joined.last, joined.bucket) = (true, self.now, 0);
        if is_shared {
            joined.class = shared;
        } else if turn > joined.turn || joined.turn == 1 || above.is_none() {
            joined.turn = turn.max(joined.turn);
            joined.class = Class::session(joined.turn, gap_ticks, joined.len);
        }
        self.place(segment);
        if let Some(above) = parent.and_then(|parent| self.forest.block(parent)).map(|above| above.segment)
            && above != segment
            && self.forest.segment(above).state != State::Parked
        {
            self.place(above);
        }
    }

    /// The segment that a new child of `parent` joins: that of the request which touched or made the parent just now.
    fn joinable(&self, parent: u32, wanted: impl Fn(Class) -> bool) -> Option<u32> {
        let above = self.forest.block(parent)?;
        let segment = self.forest.segment(above.segment);
        let is_of_now = self.now.wrapping_sub(segment.last) < REQUEST_TICKS;
        let is_end = segment.tail == parent && above.children == 0 && segment.ghosts == 0;
        (is_end && is_of_now && wanted(segment.class)).then_some(above.segment)
    }

    /// How often a block was touched before, and whether its ghost was shared: it, or one above it, has just returned.
    fn returned(&mut self, block: u32, parent: Option<u32>, ghost: Option<&Segment>) -> (u8, bool) {
        if let Some(ghost) = ghost {
            let touches = ghost.ghost_touches.saturating_add(1);
            let is_shared = ghost.class.is_shared() && touches >= 2;
            self.returning = Returning { above: block, blocks: ghost.ghosts - 1, touches, is_shared };
        } else if self.returning.blocks > 0 && parent == Some(self.returning.above) {
            self.returning.above = block;
            self.returning.blocks -= 1;
        } else {
            return (0, false);
        }
        (self.returning.touches, self.returning.is_shared)
    }
}

/// Touched blocks on their way into a segment of their own. `class`: that of shared blocks.
#[derive(Clone, Copy)]
struct Run {
    segment: u32,
    class: Option<Class>,
    tail: u32,
}

/// The turn that a match is: the next one of the session that made its deepest segment, if it is at least as deep as what it
/// left out (an unfinished last block is left out often), else the first of another.
fn next_turn(was: &Segment, matched: u32, rest: u32) -> u8 {
    let left_out = rest + was.ghosts;
    let continues = !was.class.is_shared() && matched + 1 >= left_out;
    if continues { was.turn.saturating_add(1).min(TURN_MAX) } else { 1 }
}
