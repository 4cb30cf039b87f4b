//! Ratios of interleaved runs: what holds on a machine that others use too.
//!
//! Each round runs every method once, in an order that rotates, so what disturbs one round disturbs all methods in it. The
//! reference is the one with the best median; a ratio is the reference's time over the method's in the same round, so
//! above 1 is faster than the reference. Reported: the median over the rounds, and the quartiles as its spread.

use serde_json::{Map, Value, json};
use std::error::Error;

/// Fewest rounds that a ratio may rest on.
pub(crate) const ROUNDS_MIN: usize = 7;

/// One way to do the work: does it, and tells the seconds that count.
pub(crate) type Method<'a> = Box<dyn FnMut() -> Result<f64, Box<dyn Error>> + 'a>;

/// A ratio and how sure it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ratio {
    pub(crate) median: f64,
    pub(crate) spread: [f64; 2],
    /// Median seconds of the subject, and of the reference.
    pub(crate) subject_s: f64,
    pub(crate) reference_s: f64,
}

/// Runs `subject` beside `references` for so many rounds, after one that does not count.
///
/// # Errors
/// The first of any method.
pub(crate) fn compare<'a>(
    rounds: usize,
    mut references: Vec<Method<'a>>,
    subject: Method<'a>,
) -> Result<Ratio, Box<dyn Error>> {
    let rounds = rounds.max(ROUNDS_MIN);
    references.push(subject);
    let mut methods = references;
    let mut seconds = vec![Vec::with_capacity(rounds); methods.len()];
    for round in 0..=rounds {
        for turn in 0..methods.len() {
            let which = (turn + round) % methods.len();
            let elapsed_s = methods[which]()?;
            // The first round warms page tables and branch predictors.
            if round > 0 {
                seconds[which].push(elapsed_s);
            }
        }
    }
    let subject = seconds.pop().expect("the subject was added");
    Ok(ratio(&seconds, &subject))
}

fn ratio(references: &[Vec<f64>], subject: &[f64]) -> Ratio {
    let best = references.iter().min_by(|a, b| quantile(a, 0.5).total_cmp(&quantile(b, 0.5)));
    let best = best.expect("there is a reference");
    let ratios: Vec<f64> = best.iter().zip(subject).map(|(reference, subject)| reference / subject).collect();
    Ratio {
        median: quantile(&ratios, 0.5),
        spread: [quantile(&ratios, 0.25), quantile(&ratios, 0.75)],
        subject_s: quantile(subject, 0.5),
        reference_s: quantile(best, 0.5),
    }
}

/// The value that this share of the others is not above.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}

impl Ratio {
    /// Enters the ratio with its spread, and both rates, under `name`.
    pub(crate) fn enter(&self, figures: &mut Map<String, Value>, name: &str, bytes: usize) {
        figures.insert(format!("{name}_ratio"), json!(self.median));
        figures.insert(format!("{name}_ratio_spread"), json!(self.spread));
        figures.insert(format!("{name}_gbps"), json!(bytes as f64 / self.subject_s / 1e9));
        figures.insert(format!("{name}_copy_gbps"), json!(bytes as f64 / self.reference_s / 1e9));
    }

    /// The worse one of two.
    pub(crate) fn worse(self, other: Self) -> Self {
        if self.median <= other.median { self } else { other }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_is_the_faster_one_and_rounds_are_compared_with_themselves() {
        let slow = vec![9.0, 9.0, 9.0];
        // The second round was disturbed for everybody.
        let ratio = ratio(&[slow, vec![1.0, 8.0, 1.0]], &[2.0, 16.0, 4.0]);
        assert_eq!((ratio.median, ratio.spread), (0.5, [0.5, 0.5]));
        assert_eq!((ratio.subject_s, ratio.reference_s), (4.0, 1.0));
    }

    #[test]
    fn every_method_runs_once_a_round_and_the_first_round_does_not_count() {
        let mut calls = [0; 2];
        let [reference, subject] = &mut calls;
        let method = |calls: &'_ mut i32| -> f64 {
            *calls += 1;
            if *calls == 1 { 1000.0 } else { 1.0 }
        };
        let ratio = compare(9, vec![Box::new(|| Ok(method(reference)))], Box::new(|| Ok(method(subject))));
        assert_eq!(ratio.expect("no error").spread, [1.0, 1.0]);
        assert_eq!(calls, [10, 10]);
    }
}
