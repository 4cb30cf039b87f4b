//! The governor: how much of a shared file system one node takes, in bytes and in operations per second.
//!
//! Two token buckets (Turner, 1986). What is asked for passes while a bucket is above a mark, and may then take it below zero:
//! so a piece larger than a bucket passes, and is paid for afterwards. Who waits has the lowest mark, what is done ahead of
//! need the highest, so each gives way to the ones before. Invariant: in any span of time no more passes than a burst, the rate
//! times the span, and the last thing that passed. Pinned by `core/tests/governor.rs`.

use crate::flow::NowNs;

/// Nanoseconds in a second.
const SECOND_NS: u128 = 1_000_000_000;

/// Why something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Somebody waits for it.
    Waited,
    /// It makes room, or keeps a promise.
    Background,
    /// It may be of use later.
    Ahead,
}

impl Urgency {
    /// What must be left in a bucket, in quarters of it.
    const fn mark_quarters(self) -> i64 {
        match self {
            Urgency::Waited => 0,
            Urgency::Background => 1,
            Urgency::Ahead => 2,
        }
    }
}

/// So much a second, and so much at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// In the long run; 0 for no bound.
    pub per_s: u64,
    /// After a rest; at least 1.
    pub burst: u64,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    rate: Rate,
    level: i64,
    filled_ns: NowNs,
}

impl Bucket {
    fn new(rate: Rate) -> Self {
        assert!(rate.burst > 0, "a bucket without room lets nothing pass");
        Self { rate, level: capacity(rate), filled_ns: 0 }
    }

    /// Puts in what time has brought. Time that did not make a whole token counts the next time.
    fn fill(&mut self, now: NowNs) {
        let (per_s, passed_ns) =
            (u128::from(self.rate.per_s), u128::from(now.saturating_sub(self.filled_ns)));
        if per_s == 0 {
            return;
        }
        let brought = passed_ns * per_s / SECOND_NS;
        let full = capacity(self.rate);
        if brought >= (full - self.level) as u128 {
            (self.level, self.filled_ns) = (full, self.filled_ns.max(now));
        } else {
            self.level += brought as i64;
            self.filled_ns += (brought * SECOND_NS / per_s) as u64;
        }
    }

    fn is_above(&self, urgency: Urgency) -> bool {
        self.rate.per_s == 0 || self.level > self.mark(urgency)
    }

    fn mark(&self, urgency: Urgency) -> i64 {
        capacity(self.rate) / 4 * urgency.mark_quarters()
    }

    fn take(&mut self, tokens: u64) {
        if self.rate.per_s != 0 {
            self.level = self.level.saturating_sub_unsigned(tokens);
        }
    }

    /// How long until it is above the mark.
    fn wait_ns(&self, urgency: Urgency) -> u64 {
        if self.is_above(urgency) {
            return 0;
        }
        let missing = (self.mark(urgency) + 1).abs_diff(self.level);
        u64::try_from((u128::from(missing) * SECOND_NS).div_ceil(u128::from(self.rate.per_s)))
            .unwrap_or(u64::MAX)
    }
}

fn capacity(rate: Rate) -> i64 {
    i64::try_from(rate.burst).unwrap_or(i64::MAX)
}

/// Lets transfers pass, or has them wait.
#[derive(Clone, Debug)]
#[doc(alias = "rate limiter")]
pub struct Governor {
    bytes: Bucket,
    operations: Bucket,
}

impl Governor {
    /// A rested one.
    ///
    /// # Panics
    /// If a burst is 0: nothing would ever pass.
    pub fn new(bytes: Rate, operations: Rate) -> Self {
        Self { bytes: Bucket::new(bytes), operations: Bucket::new(operations) }
    }

    /// Whether one operation on so many bytes may go out now; if so, it is paid for.
    #[must_use]
    pub fn admit(&mut self, now: NowNs, urgency: Urgency, bytes: u64) -> bool {
        self.bytes.fill(now);
        self.operations.fill(now);
        let passes = self.bytes.is_above(urgency) && self.operations.is_above(urgency);
        if passes {
            self.bytes.take(bytes);
            self.operations.take(1);
        }
        passes
    }

    /// How long until something of this urgency passes, as far as can be told now: 0 if it would.
    pub fn wait_ns(&mut self, now: NowNs, urgency: Urgency) -> u64 {
        self.bytes.fill(now);
        self.operations.fill(now);
        self.bytes.wait_ns(urgency).max(self.operations.wait_ns(urgency))
    }
}
