//! Which occupied cell is worth the least: a tournament over all cells.
//!
//! Invariant: each inner node names the least of its two below, the left one at a tie; an empty cell loses against any.
//! A change costs as many matches as the tree is high.

use alloc::boxed::Box;
use alloc::vec;

const NOBODY: u16 = u16::MAX;

/// Scores of cells, by number, and the winner among the occupied.
pub(super) struct Ranking {
    scores: Box<[f64]>,
    /// The root is at 1; cell `n` plays from `scores.len() + n`.
    winners: Box<[u16]>,
}

impl Ranking {
    /// All cells empty. `cells` below 2¹⁶.
    pub(super) fn new(cells: usize) -> Self {
        let leaves = cells.next_power_of_two();
        assert!(leaves < usize::from(NOBODY));
        Self { scores: vec![0.0; leaves].into(), winners: vec![NOBODY; 2 * leaves].into() }
    }

    /// The occupied cell with the least score.
    pub(super) fn least(&self) -> Option<usize> {
        (self.winners[1] != NOBODY).then_some(usize::from(self.winners[1]))
    }

    pub(super) fn score(&self, cell: usize) -> f64 {
        self.scores[cell]
    }

    /// A cell became occupied, or empty.
    pub(super) fn set_occupied(&mut self, cell: usize, is_occupied: bool) {
        self.winners[self.scores.len() + cell] = if is_occupied { cell as u16 } else { NOBODY };
        self.play(cell);
    }

    pub(super) fn set_score(&mut self, cell: usize, score: f64) {
        self.scores[cell] = score;
        if self.winners[self.scores.len() + cell] != NOBODY {
            self.play(cell);
        }
    }

    fn play(&mut self, cell: usize) {
        let mut node = (self.scores.len() + cell) / 2;
        while node > 0 {
            let (left, right) = (self.winners[2 * node], self.winners[2 * node + 1]);
            let right_wins = right != NOBODY
                && (left == NOBODY || self.scores[usize::from(right)] < self.scores[usize::from(left)]);
            self.winners[node] = if right_wins { right } else { left };
            node /= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_occupied_cell_wins_after_any_change() {
        let mut ranking = Ranking::new(100);
        let (mut occupied, mut scores) = ([false; 100], [0.0; 100]);
        let mut seed = 1_u64;
        for _ in 0..2000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let cell = (seed >> 33) as usize % 100;
            if seed >> 63 == 0 {
                occupied[cell] = !occupied[cell];
                ranking.set_occupied(cell, occupied[cell]);
            } else {
                scores[cell] = (seed >> 50 & 63) as f64;
                ranking.set_score(cell, scores[cell]);
            }
            let least =
                (0..100).filter(|&cell| occupied[cell]).min_by(|&a, &b| scores[a].total_cmp(&scores[b]));
            assert_eq!(ranking.least(), least);
        }
    }
}
