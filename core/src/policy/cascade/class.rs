//! Classes: what is known of a segment that says how likely it is to be asked for again.
//!
//! - *Shared*: touched more often than the turns of one session explain, by how often. System prompts, tools, documents.
//! - *Left over*: the lesser part of a segment whose upper part went on elsewhere, such as an unfinished last block.
//! - *First turn*, by its size: one-shot requests and conversations begin alike, but not at the same length.
//! - *Later turn*, by its number and by the gap before it: who came back once, and soon, is likely to do so again.
//!
//! Classes of one *family* (the shared; the first turns; each later turn over all gaps) lend each other their experience.

/// A class, as a dense number below [`CLASSES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Class(u8);

const SHARED: u8 = 6;
const LEFT_OVER: u8 = SHARED;
const FIRST_TURN: u8 = LEFT_OVER + 1;
const SIZES: u8 = 4;
const LATER_TURN: u8 = FIRST_TURN + SIZES;
const TURNS: u8 = 5;
const GAPS: u8 = 6;

/// How many classes there are, and families.
pub(super) const CLASSES: usize = (LATER_TURN + TURNS * GAPS) as usize;
pub(super) const FAMILIES: usize = 2 + TURNS as usize;

impl Class {
    /// What is left of a segment that was abandoned for the most part.
    pub(super) const LEFT_OVER: Self = Self(LEFT_OVER);

    /// Shared blocks that were touched so often: a class an octave.
    pub(super) fn shared(touches: u8) -> Self {
        Self((touches.max(2).ilog2() as u8 - 1).min(SHARED - 1))
    }

    /// The part of a session that its turn number `turn` touched or made, `gap` ticks after the turn before.
    pub(super) fn session(turn: u8, gap_ticks: u32, blocks: u32) -> Self {
        let turns = match turn {
            0 | 1 => {
                return Self(FIRST_TURN + [2, 4, 65].iter().filter(|&&size| blocks >= size).count() as u8);
            }
            2 | 3 => turn - 2,
            4 | 5 => 2,
            6..=8 => 3,
            _ => 4,
        };
        // From 32 ticks on, a class every two octaves.
        let gaps = ((gap_ticks.max(8).ilog2() as u8 - 3) / 2).min(GAPS - 1);
        Self(LATER_TURN + turns * GAPS + gaps)
    }

    pub(super) const fn index(self) -> usize {
        self.0 as usize
    }

    /// Every class.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        (0..CLASSES as u8).map(Self)
    }

    pub(super) const fn is_shared(self) -> bool {
        self.0 < SHARED
    }

    /// Whether it is a turn of a session, which new blocks join.
    pub(super) const fn is_session(self) -> bool {
        self.0 >= FIRST_TURN
    }

    /// The family, if it has one.
    pub(super) fn family(self) -> Option<usize> {
        match self.0 {
            0..SHARED => Some(0),
            LEFT_OVER => None,
            FIRST_TURN..LATER_TURN => Some(1),
            later => Some(2 + usize::from((later - LATER_TURN) / GAPS)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_told_apart_and_stay_in_range() {
        let sizes = [1, 2, 3, 4, 64, 65, 9000].map(|blocks| Class::session(1, 0, blocks).0 - FIRST_TURN);
        assert_eq!(sizes, [0, 1, 1, 2, 2, 3, 3]);
        let gaps = [0, 31, 32, 127, 128, 511, 512, 2048, 8192, u32::MAX]
            .map(|gap| (Class::session(2, gap, 1).0 - LATER_TURN) % GAPS);
        assert_eq!(gaps, [0, 0, 1, 1, 2, 2, 3, 4, 5, 5]);
        assert_eq!([0, 2, 3, 4, 8, 64, 255].map(|touches| Class::shared(touches).0), [0, 0, 0, 1, 2, 5, 5]);
        assert!(Class::session(255, u32::MAX, 1).index() < CLASSES);
        assert!(Class::all().filter_map(Class::family).all(|family| family < FAMILIES));
    }
}
