//! Seeded randomness: the same on every run, so that traffic can be made again from its seed.

/// One step of SplitMix64 past `x`: a bijection whose values look independent (Steele, Lea and Flood 2014).
pub(crate) fn mix(x: u64) -> u64 {
    let mut x = x.wrapping_add(STEP);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A generator and the few distributions that traffic needs.
pub(crate) struct Random(u64);

impl Random {
    /// Starts the sequence that `seed` names.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        let value = mix(self.0);
        self.0 = self.0.wrapping_add(STEP);
        value
    }

    /// Uniform in (0, 1): never zero, so that its logarithm is finite.
    pub(crate) fn unit(&mut self) -> f64 {
        ((self.next() >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
    }

    /// Exponential around `mean`.
    pub(crate) fn exponential(&mut self, mean: f64) -> f64 {
        -self.unit().ln() * mean
    }

    /// Log-normal: `sigma` is that of the logarithm.
    pub(crate) fn log_normal(&mut self, median: f64, sigma: f64) -> f64 {
        let (radius, angle) = ((-2.0 * self.unit().ln()).sqrt(), std::f64::consts::TAU * self.unit());
        median * (sigma * radius * angle.cos()).exp()
    }

    /// A rank below `ranks`: the n-th in proportion to 1 / n (Zipf's law).
    pub(crate) fn zipf(&mut self, ranks: usize) -> usize {
        let weights = (1..=ranks).map(|n| 1.0 / n as f64);
        let mut left = self.unit() * weights.clone().sum::<f64>();
        let passed = weights.take_while(|weight| {
            left -= weight;
            left > 0.0
        });
        passed.count().min(ranks - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: usize = 20_000;

    fn mean(draw: impl FnMut() -> f64) -> f64 {
        std::iter::repeat_with(draw).take(DRAWS).sum::<f64>() / DRAWS as f64
    }

    #[test]
    fn means_are_what_the_parameters_say() {
        let mut random = Random::new(1);
        assert!((mean(|| random.unit()) - 0.5).abs() < 0.01);
        assert!((mean(|| random.exponential(80.0)) - 80.0).abs() < 2.0);
        // A log-normal's mean is its median times e^(sigma² / 2).
        assert!((mean(|| random.log_normal(100.0, 0.5)) - 113.3).abs() < 2.0);
    }

    #[test]
    fn zipf_draws_each_rank_in_proportion() {
        let mut random = Random::new(2);
        let mut counts = [0; 4];
        (0..DRAWS).for_each(|_| counts[random.zipf(4)] += 1);
        let shares = counts.map(|count| f64::from(count) / DRAWS as f64);
        for (share, wanted) in shares.into_iter().zip([0.48, 0.24, 0.16, 0.12]) {
            assert!((share - wanted).abs() < 0.02, "{shares:?}");
        }
    }
}
