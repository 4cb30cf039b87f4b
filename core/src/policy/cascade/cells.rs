//! Lists of segments by class, age bucket and state, and the ageing from bucket to bucket.
//!
//! Invariants: a segment is in the list that its class, bucket and state name, or in none (`Nowhere`); a list runs from
//! the one touched longest ago; a bit in `occupied` stands for a list that is not empty. Parked segments do not age.

use super::age::{BUCKETS, start, width};
use super::class::CLASSES;
use super::forest::{NONE, Segment, State};
use alloc::boxed::Box;
use alloc::vec;

/// States whose segments age.
const AGEING: [State; 4] = [State::Open, State::Whole, State::Blocked, State::Gone];

/// Both ends of a list.
#[derive(Clone, Copy)]
pub(super) struct Ends {
    pub(super) oldest: u32,
    pub(super) newest: u32,
}

/// All lists.
pub(super) struct Cells {
    ends: Box<[Ends]>,
    /// By state and bucket, a bit for each class.
    occupied: [[u64; BUCKETS]; AGEING.len()],
    parked: Ends,
    /// The tick at which each bucket was last looked through.
    looked: [u32; BUCKETS],
}

const _: () = assert!(CLASSES <= u64::BITS as usize);

/// What follows for the ranking: this cell of evictable segments became occupied, or empty.
#[must_use]
pub(super) struct Change {
    pub(super) cell: usize,
    pub(super) is_occupied: bool,
}

/// Number of the cell of evictable segments for the ranking.
pub(super) const fn ranked(class: usize, bucket: usize, is_whole: bool) -> usize {
    (class * BUCKETS + bucket) * 2 + is_whole as usize
}

/// How many of them there are.
pub(super) const RANKED: usize = CLASSES * BUCKETS * 2;

impl Cells {
    pub(super) fn new() -> Self {
        const EMPTY: Ends = Ends { oldest: NONE, newest: NONE };
        Self {
            ends: vec![EMPTY; CLASSES * BUCKETS * AGEING.len()].into(),
            occupied: [[0; BUCKETS]; AGEING.len()],
            parked: EMPTY,
            looked: [0; BUCKETS],
        }
    }

    /// The segment of a ranked cell that was touched longest ago.
    pub(super) fn oldest_ranked(&self, cell: usize) -> u32 {
        self.ends[cell / 2 * AGEING.len() + cell % 2].oldest
    }

    /// The segment that was parked longest ago.
    pub(super) fn oldest_parked(&self) -> Option<u32> {
        (self.parked.oldest != NONE).then_some(self.parked.oldest)
    }

    /// The segment that was parked last.
    pub(super) fn newest_parked(&self) -> Option<u32> {
        (self.parked.newest != NONE).then_some(self.parked.newest)
    }

    /// The lists of a state that ages that are not empty.
    pub(super) fn occupied(&self, state: State) -> impl Iterator<Item = Ends> {
        let bits = |classes: u64| (0..CLASSES).filter(move |class| classes >> class & 1 == 1);
        let cells = self.occupied[state as usize].iter().enumerate();
        cells.flat_map(move |(bucket, &classes)| {
            bits(classes).map(move |class| self.ends[index(class, bucket, state)])
        })
    }

    /// A segment without blocks of the greatest age.
    pub(super) fn oldest_gone(&self) -> Option<u32> {
        let gone = &self.occupied[State::Gone as usize];
        let bucket = (0..BUCKETS).rev().find(|&bucket| gone[bucket] != 0)?;
        let class = gone[bucket].trailing_zeros() as usize;
        Some(self.ends[index(class, bucket, State::Gone)].oldest)
    }

    /// Enters a segment, which is in no list, as of this state.
    pub(super) fn enter(
        &mut self,
        segments: &mut [Segment],
        id: u32,
        state: State,
        now: u32,
    ) -> Option<Change> {
        let Segment { last, .. } = segments[id as usize];
        let Ends { oldest, newest } = *self.ends_of(&segments[id as usize], state);
        let is_first = oldest == NONE;
        let is_oldest = !is_first
            && state != State::Parked
            && now.wrapping_sub(last) > now.wrapping_sub(segments[oldest as usize].last);
        let (older, newer) = if is_oldest { (NONE, oldest) } else { (newest, NONE) };
        let segment = &mut segments[id as usize];
        (segment.state, segment.older, segment.newer) = (state, older, newer);
        let ends = self.ends_of(segment, state);
        if newer == NONE {
            ends.newest = id;
        }
        if older == NONE {
            ends.oldest = id;
        }
        for (neighbour, is_older) in [(older, true), (newer, false)] {
            if neighbour != NONE {
                let neighbour = &mut segments[neighbour as usize];
                *(if is_older { &mut neighbour.newer } else { &mut neighbour.older }) = id;
            }
        }
        if is_first { self.occupy(&segments[id as usize], state, true) } else { None }
    }

    /// Takes a segment out of its list.
    pub(super) fn leave(&mut self, segments: &mut [Segment], id: u32) -> Option<Change> {
        let Segment { older, newer, state, .. } = segments[id as usize];
        if state == State::Nowhere {
            return None;
        }
        let ends = self.ends_of(&segments[id as usize], state);
        if older == NONE {
            ends.oldest = newer;
        }
        if newer == NONE {
            ends.newest = older;
        }
        if older != NONE {
            segments[older as usize].newer = newer;
        }
        if newer != NONE {
            segments[newer as usize].older = older;
        }
        segments[id as usize].state = State::Nowhere;
        if older == NONE && newer == NONE { self.occupy(&segments[id as usize], state, false) } else { None }
    }

    /// A segment that is older than its bucket.
    pub(super) fn due(&self, segments: &[Segment], now: u32, bucket: usize) -> Option<u32> {
        for state in AGEING {
            let mut classes = self.occupied[state as usize][bucket];
            while classes != 0 {
                let class = classes.trailing_zeros() as usize;
                let oldest = self.ends[index(class, bucket, state)].oldest;
                if u64::from(now.wrapping_sub(segments[oldest as usize].last)) >= start(bucket + 1) {
                    return Some(oldest);
                }
                classes &= classes - 1;
            }
        }
        None
    }

    /// Whether it is time to look through a bucket: when a quarter of its width has passed, so ages are known to that much.
    pub(super) fn is_time(&mut self, now: u32, bucket: usize) -> bool {
        let is_time = u64::from(now.wrapping_sub(self.looked[bucket])) >= (width(bucket) / 4).max(1);
        if is_time {
            self.looked[bucket] = now;
        }
        is_time
    }

    fn ends_of(&mut self, segment: &Segment, state: State) -> &mut Ends {
        match state {
            State::Parked => &mut self.parked,
            _ => &mut self.ends[index(segment.class.index(), usize::from(segment.bucket), state)],
        }
    }

    fn occupy(&mut self, segment: &Segment, state: State, is_occupied: bool) -> Option<Change> {
        let (class, bucket) = (segment.class.index(), usize::from(segment.bucket));
        let classes = self.occupied.get_mut(state as usize)?;
        classes[bucket] = classes[bucket] & !(1 << class) | u64::from(is_occupied) << class;
        let is_ranked = matches!(state, State::Open | State::Whole);
        is_ranked.then(|| Change { cell: ranked(class, bucket, state == State::Whole), is_occupied })
    }
}

fn index(class: usize, bucket: usize, state: State) -> usize {
    (class * BUCKETS + bucket) * AGEING.len() + state as usize
}
