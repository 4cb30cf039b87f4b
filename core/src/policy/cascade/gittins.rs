//! The worth of a segment: expected returns per tick of residence, over the best horizon.
//!
//! J. C. Gittins, "Bandit processes and dynamic allocation indices", 1979: of several processes that pay while they are
//! kept, keep the ones whose best ratio of pay to time is highest, where each may be stopped at its best moment. The
//! present hazard alone would throw away what is about to return.

use super::age::{BUCKETS, width};

/// What a run of buckets is expected to bring to a segment that enters it.
#[derive(Clone, Copy)]
struct Run {
    returns: f64,
    ticks: f64,
    survival: f64,
}

impl Run {
    /// A run, and after it another.
    fn then(self, next: Self) -> Self {
        Self {
            returns: self.returns + self.survival * next.returns,
            ticks: self.ticks + self.survival * next.ticks,
            survival: self.survival * next.survival,
        }
    }
}

/// The index at the start of each bucket. Linear: going on into an older run pays only while its ratio is the higher one, so
/// runs merge from the right and each is merged once.
pub(super) fn indices(hazards: &[f64; BUCKETS]) -> [f64; BUCKETS] {
    let mut indices = [0.0; BUCKETS];
    let mut older = [Run { returns: 0.0, ticks: 1.0, survival: 0.0 }; BUCKETS];
    let mut runs = 0;
    for bucket in (0..BUCKETS).rev() {
        let hazard = hazards[bucket];
        // Who returns does so half way, on average.
        let ticks = width(bucket) as f64 * (1.0 - hazard / 2.0);
        let mut run = Run { returns: hazard, ticks, survival: 1.0 - hazard };
        while runs > 0 && older[runs - 1].returns * run.ticks > run.returns * older[runs - 1].ticks {
            runs -= 1;
            run = run.then(older[runs]);
        }
        older[runs] = run;
        runs += 1;
        indices[bucket] = run.returns / run.ticks;
    }
    indices
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition: every horizon tried.
    fn by_definition(hazards: &[f64; BUCKETS], from: usize) -> f64 {
        let (mut returns, mut ticks, mut survival, mut best) = (0.0, 0.0, 1.0, 0.0_f64);
        for (bucket, hazard) in hazards.iter().enumerate().skip(from) {
            returns += survival * hazard;
            ticks += survival * width(bucket) as f64 * (1.0 - hazard / 2.0);
            survival *= 1.0 - hazard;
            best = best.max(returns / ticks);
        }
        best
    }

    #[test]
    fn no_horizon_is_better() {
        let mut seed = 7_u64;
        for _ in 0..50 {
            let hazards = core::array::from_fn(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (seed >> 40) as f64 / (1_u64 << 25) as f64
            });
            for (bucket, index) in indices(&hazards).into_iter().enumerate() {
                let wanted = by_definition(&hazards, bucket);
                assert!((index - wanted).abs() <= 1e-9 * wanted, "bucket {bucket}: {index} and {wanted}");
            }
        }
    }

    #[test]
    fn what_is_about_to_return_is_worth_keeping() {
        let mut hazards = [0.0; BUCKETS];
        hazards[30] = 0.9;
        let indices = indices(&hazards);
        assert!(indices[..=30].is_sorted_by(|far, near| far < near));
        assert_eq!(indices[31], 0.0);
    }
}
