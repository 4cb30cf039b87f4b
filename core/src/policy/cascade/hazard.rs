//! What was learned of reuse: for each class, how likely a segment of some age is to be asked for within its bucket.
//!
//! The estimator is that of Kaplan and Meier ("Nonparametric estimation from incomplete observations", 1958): a segment
//! counts as exposed in each bucket that it passed, evicted or not, and a return counts where it happened; a ghost that is
//! forgotten leaves as half exposed. So eviction, which ends what we see, does not pass for disuse.
//!
//! Estimates shrink towards those of the family, and a family of turns towards all sessions, whose prior falls with age: with
//! no experience all turns are alike, and the order is that of LRU. Evidence is halved when there is enough of it, so the
//! past is forgotten. Additions, multiplications and divisions in a fixed order: the same on every machine.

use super::age::BUCKETS;
use super::class::{CLASSES, Class, FAMILIES};
use alloc::boxed::Box;
use alloc::vec;

/// Evidence that the estimate of the level above is worth, in segments.
const CLASS_SHRINKAGE: f64 = 50.0;
const FAMILY_SHRINKAGE: f64 = 20.0;
const PRIOR_SHRINKAGE: f64 = 200.0;
/// The first bucket's hazard before anything is known, and what is left of a hazard one bucket later.
const PRIOR: f64 = 0.025;
const PRIOR_DECAY: f64 = 0.95;
/// Evidence in a bucket beyond which it is halved.
const CLASS_EVIDENCE_MAX: f64 = 4096.0;
const SUM_EVIDENCE_MAX: f64 = 16384.0;
/// Buckets on either side that an estimate is averaged over, nearer ones weighing more.
const SMOOTHING: usize = 5;

/// Returns among the exposed, by bucket.
#[derive(Clone, Copy)]
struct Evidence {
    returned: [f64; BUCKETS],
    exposed: [f64; BUCKETS],
}

impl Evidence {
    const NONE: Self = Self { returned: [0.0; BUCKETS], exposed: [0.0; BUCKETS] };

    fn add(&mut self, bucket: usize, returned: f64, exposed: f64, exposed_max: f64) {
        self.returned[bucket] += returned;
        self.exposed[bucket] += exposed;
        if self.exposed[bucket] > exposed_max {
            self.returned[bucket] /= 2.0;
            self.exposed[bucket] /= 2.0;
        }
    }

    fn hazard(&self, bucket: usize, prior: f64, shrinkage: f64) -> f64 {
        (self.returned[bucket] + shrinkage * prior) / (self.exposed[bucket] + shrinkage)
    }
}

/// The evidence of all classes.
pub(super) struct Hazards {
    classes: Box<[Evidence]>,
    families: Box<[Evidence]>,
    sessions: Box<Evidence>,
}

impl Hazards {
    pub(super) fn new() -> Self {
        Self {
            classes: vec![Evidence::NONE; CLASSES].into(),
            families: vec![Evidence::NONE; FAMILIES].into(),
            sessions: Box::new(Evidence::NONE),
        }
    }

    /// So much of a segment was exposed in a bucket, and so much of that returned. A whole segment is 1.
    pub(super) fn add(&mut self, class: Class, bucket: usize, returned: f64, exposed: f64) {
        self.classes[class.index()].add(bucket, returned, exposed, CLASS_EVIDENCE_MAX);
        if let Some(family) = class.family() {
            self.families[family].add(bucket, returned, exposed, SUM_EVIDENCE_MAX);
        }
        if class.is_session() {
            self.sessions.add(bucket, returned, exposed, SUM_EVIDENCE_MAX);
        }
    }

    /// The chance of a return within each bucket, of what reached it.
    pub(super) fn of(&self, class: Class) -> [f64; BUCKETS] {
        let own = &self.classes[class.index()];
        let mut hazards = [0.0; BUCKETS];
        let mut prior = PRIOR;
        for (bucket, hazard) in hazards.iter_mut().enumerate() {
            let expected = match class.family() {
                // How sessions return says nothing of blocks that are shared or abandoned.
                Some(family) if !class.is_session() => {
                    self.families[family].hazard(bucket, PRIOR, FAMILY_SHRINKAGE)
                }
                Some(family) => {
                    let sessions = self.sessions.hazard(bucket, prior, PRIOR_SHRINKAGE);
                    prior = PRIOR_DECAY * sessions;
                    self.families[family].hazard(bucket, sessions, FAMILY_SHRINKAGE)
                }
                None => PRIOR,
            };
            *hazard = own.hazard(bucket, expected, CLASS_SHRINKAGE);
        }
        smoothed(&hazards)
    }
}

/// A triangular moving average.
fn smoothed(values: &[f64; BUCKETS]) -> [f64; BUCKETS] {
    core::array::from_fn(|bucket| {
        let near = bucket.saturating_sub(SMOOTHING)..=(bucket + SMOOTHING).min(BUCKETS - 1);
        let (mut sum, mut weights) = (0.0, 0.0);
        for other in near {
            let weight = (SMOOTHING + 1 - bucket.abs_diff(other)) as f64;
            sum += weight * values[other];
            weights += weight;
        }
        sum / weights
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_experience_sessions_are_alike_and_the_young_return_more() {
        let hazards = Hazards::new();
        let (first, later) = (hazards.of(Class::session(1, 0, 1)), hazards.of(Class::session(9, 70, 1)));
        assert_eq!(first, later);
        assert!(first.is_sorted_by(|young, old| young > old));
    }

    #[test]
    fn estimates_go_to_the_observed_ratio_and_families_learn_from_each_other() {
        let mut hazards = Hazards::new();
        let (class, sibling, stranger) =
            (Class::session(2, 0, 1), Class::session(2, 9000, 1), Class::session(3, 0, 1));
        for bucket in 0..BUCKETS {
            (0..1000).for_each(|_| hazards.add(class, bucket, 0.3, 1.0));
        }
        let at_20 = |class| hazards.of(class)[20];
        assert!((at_20(class) - 0.3).abs() < 0.01);
        assert!(at_20(sibling) > 0.28);
        assert!(at_20(stranger) > 0.2 && at_20(stranger) < at_20(sibling));
    }

    #[test]
    fn a_change_of_habits_is_learned_after_any_past() {
        let mut hazards = Hazards::new();
        let class = Class::session(1, 0, 1);
        (0..1_000_000).for_each(|_| hazards.add(class, 0, 1.0, 1.0));
        (0..20_000).for_each(|_| hazards.add(class, 0, 0.0, 1.0));
        assert!(hazards.classes[class.index()].hazard(0, 0.0, 1.0) < 0.02);
    }
}
