//! Blocks in segments: vertical runs of the prefix tree, each of which one request touched or made last.
//!
//! Invariants: a resident block is in one segment; from a segment's tail upwards `len` blocks are linked, each below its
//! parent, and the last of them is its top; a segment that is neither open nor free has no block and is some ghost's memory.
//! Handles may be reused: only links within a segment are followed, a top's `up` is a hint. Every verb is O(1).

use super::super::{BlockId, Fingerprint};
use super::class::Class;
use alloc::vec::Vec;
use core::mem::size_of;

/// No block, no segment.
pub(super) const NONE: u32 = u32::MAX;

/// Children that are counted; a block with more is taken for childless for ever, and left to the caller to refuse.
const CHILDREN_MAX: u16 = u16::MAX;

/// A resident block, or a handle without one.
#[derive(Clone, Copy)]
pub(super) struct Block {
    /// The parent; below a top it may have left, and its handle been reused.
    pub(super) up: u32,
    /// The next block of the same segment.
    down: u32,
    /// The segment; `NONE` when not resident.
    pub(super) segment: u32,
    /// The fingerprint, folded: two that agree only blur the memory of ghosts.
    pub(super) print: u32,
    /// Resident children.
    pub(super) children: u16,
    /// Requests that touched it while it was resident, or before as far as its ghost tells.
    pub(super) touches: u8,
    pub(super) is_top: bool,
}

const _: () = assert!(size_of::<Block>() == 20);

/// A run of blocks, and the memory of those that were evicted from its lower end.
#[derive(Clone, Copy)]
pub(super) struct Segment {
    /// Neighbours in its cell; `newer` links the free ones.
    pub(super) older: u32,
    pub(super) newer: u32,
    pub(super) tail: u32,
    pub(super) len: u32,
    /// Blocks evicted from its lower end, and the print of the topmost of them, by which they are known again.
    pub(super) ghosts: u32,
    pub(super) ghost_print: u32,
    /// The tick of its last touch.
    pub(super) last: u32,
    pub(super) class: Class,
    pub(super) bucket: u8,
    pub(super) state: State,
    /// The turn of the session, from 1.
    pub(super) turn: u8,
    /// Octave of its blocks when it was made: what one of them weighs.
    pub(super) octave: u8,
    /// Whether the deepest block of its last request is still its tail.
    pub(super) is_whole: bool,
    /// Touches of the block that `ghost_print` names.
    pub(super) ghost_touches: u8,
}

const _: () = assert!(size_of::<Segment>() == 36);

/// Where a segment waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum State {
    /// Its tail may leave.
    Open,
    /// So may it, and it is the deepest block of a request.
    Whole,
    /// Resident children hang below its tail.
    Blocked,
    /// All its blocks were evicted.
    Gone,
    /// Its tail was refused.
    Parked,
    /// In no list.
    Nowhere,
}

/// All blocks and segments.
pub(super) struct Forest {
    blocks: Vec<Block>,
    segments: Vec<Segment>,
    free: u32,
    segments_used: usize,
    resident: usize,
}

impl Forest {
    pub(super) const fn new() -> Self {
        Self { blocks: Vec::new(), segments: Vec::new(), free: NONE, segments_used: 0, resident: 0 }
    }

    /// Resident blocks.
    pub(super) fn len(&self) -> usize {
        self.resident
    }

    /// Segments in use, those of ghosts among them.
    pub(super) fn segments_used(&self) -> usize {
        self.segments_used
    }

    pub(super) fn segments(&mut self) -> &mut [Segment] {
        &mut self.segments
    }

    pub(super) fn segment(&self, segment: u32) -> &Segment {
        &self.segments[segment as usize]
    }

    pub(super) fn segment_mut(&mut self, segment: u32) -> &mut Segment {
        &mut self.segments[segment as usize]
    }

    /// A resident block.
    pub(super) fn block(&self, block: u32) -> Option<&Block> {
        self.blocks.get(block as usize).filter(|block| block.segment != NONE)
    }

    pub(super) fn touches_mut(&mut self, block: u32) -> &mut u8 {
        &mut self.blocks[block as usize].touches
    }

    /// Where a segment belongs, by what it holds.
    pub(super) fn state_of(&self, segment: u32) -> State {
        let segment = self.segment(segment);
        match self.block(segment.tail) {
            None => State::Gone,
            Some(_) if self.counted_children(segment.tail) > 0 => State::Blocked,
            Some(_) if segment.is_whole => State::Whole,
            Some(_) => State::Open,
        }
    }

    /// Resident children of a block, none where there are too many to count.
    pub(super) fn counted_children(&self, block: u32) -> u16 {
        self.block(block).map_or(0, |block| block.children % CHILDREN_MAX)
    }

    /// A new segment without blocks.
    pub(super) fn open(&mut self, class: Class, turn: u8, now: u32) -> u32 {
        let segment = Segment {
            older: NONE,
            newer: NONE,
            tail: NONE,
            len: 0,
            ghosts: 0,
            ghost_print: 0,
            last: now,
            class,
            bucket: 0,
            state: State::Nowhere,
            turn,
            octave: 0,
            is_whole: false,
            ghost_touches: 0,
        };
        self.segments_used += 1;
        if self.free == NONE {
            grow(&mut self.segments, segment, 1);
            return self.segments.len() as u32 - 1;
        }
        let free = self.free;
        self.free = self.segment(free).newer;
        self.segments[free as usize] = segment;
        free
    }

    /// Gives a segment back that has no blocks and is in no list.
    pub(super) fn close(&mut self, segment: u32) {
        assert!(self.segment(segment).len == 0 && self.segment(segment).state == State::Nowhere);
        self.segments_used -= 1;
        self.segments[segment as usize].newer = self.free;
        self.free = segment;
    }

    /// A block became resident; it is in no segment yet.
    pub(super) fn arrive(
        &mut self,
        block: BlockId,
        fingerprint: Fingerprint,
        parent: Option<u32>,
        touches: u8,
    ) {
        let index = block.0 as usize;
        let absent =
            Block { up: NONE, down: NONE, segment: NONE, print: 0, children: 0, touches: 0, is_top: true };
        let missing = (index + 1).saturating_sub(self.blocks.len());
        grow(&mut self.blocks, absent, missing);
        let up = parent.unwrap_or(NONE);
        self.blocks[index] = Block { up, print: folded(fingerprint), touches, ..absent };
        self.resident += 1;
    }

    /// Puts a block that is in no segment below the tail of one.
    pub(super) fn append(&mut self, segment: u32, block: u32) {
        let tail = self.segment(segment).tail;
        if tail != NONE {
            self.blocks[tail as usize].down = block;
        }
        let appended = &mut self.blocks[block as usize];
        (appended.segment, appended.down, appended.is_top) = (segment, NONE, tail == NONE);
        let segment = self.segment_mut(segment);
        segment.tail = block;
        segment.len += 1;
        segment.octave = segment.len.ilog2() as u8;
    }

    /// Takes the top of a segment off it, to be appended elsewhere. What is below stays its child.
    pub(super) fn detach_top(&mut self, top: u32) {
        let Block { segment, down, is_top, .. } = self.blocks[top as usize];
        assert!(is_top, "only a top can be detached");
        self.segment_mut(segment).len -= 1;
        if down == NONE {
            self.segment_mut(segment).tail = NONE;
        } else {
            self.blocks[down as usize].is_top = true;
        }
    }

    /// One more child hangs below a block.
    pub(super) fn hang(&mut self, parent: u32) {
        let children = &mut self.blocks[parent as usize].children;
        *children = children.saturating_add(1);
    }

    /// A child left.
    fn unhang(&mut self, parent: u32) {
        let children = &mut self.blocks[parent as usize].children;
        if *children < CHILDREN_MAX {
            *children = children.saturating_sub(1);
        }
    }

    /// A block leaves, wherever it is in its segment. The blocks below it in there close up.
    pub(super) fn leave(&mut self, block: u32) {
        let Block { segment, up, down, is_top, .. } = self.blocks[block as usize];
        if down == NONE {
            self.segment_mut(segment).tail = if is_top { NONE } else { up };
        } else {
            (self.blocks[down as usize].up, self.blocks[down as usize].is_top) = (up, is_top);
        }
        if !is_top {
            self.blocks[up as usize].down = down;
        }
        // What is below takes its place, so the parent keeps as many children.
        if down == NONE && self.block(up).is_some() {
            self.unhang(up);
        }
        self.blocks[block as usize].segment = NONE;
        self.segment_mut(segment).len -= 1;
        self.resident -= 1;
    }
}

/// 32 bits of a fingerprint.
pub(super) fn folded(fingerprint: Fingerprint) -> u32 {
    (fingerprint ^ fingerprint >> 32) as u32
}

/// Appends, with so little to spare that the bound on memory holds: a doubling would break it.
fn grow<T: Clone>(vector: &mut Vec<T>, value: T, count: usize) {
    let len = vector.len() + count;
    if len > vector.capacity() {
        vector.reserve_exact(count + len / 64 + 8);
    }
    vector.resize(len, value);
}
