//! Numbers that look random and come again: a failed run is repeated with the seed that it printed.

/// A generator of numbers (SplitMix64: Steele, Lea and Flood, 2014).
#[derive(Clone, Debug)]
pub struct Seed(u64);

impl Seed {
    /// Starts from a number.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Starts from `CASCTEST_SEED`, or from `otherwise`, and says so where a failed test shows it.
    ///
    /// # Panics
    /// If the variable holds no number.
    pub fn of_environment(otherwise: u64) -> Self {
        let seed = number("CASCTEST_SEED", otherwise);
        println!("repeat this run with CASCTEST_SEED={seed}");
        Self(seed)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        assert!(end > 0);
        self.next_u64() % end
    }
}

/// A number from the environment, for longer runs of a test.
///
/// # Panics
/// If the variable is set to something else.
pub fn number(variable: &str, otherwise: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, not {text:?}")),
        Err(_) => otherwise,
    }
}
