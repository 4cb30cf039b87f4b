//! What moves where: the machine that decides, from how full the arenas are, what to evict and when to grow. What is written
//! below ahead of that, the [`margin`](crate::margin) decides; what is worth waiting for, the [`pace`](crate::pace).
//!
//! Events in, actions out; the node carries the actions out. Invariants: growth comes before eviction; eviction keeps
//! a margin of free slots ahead of need, so a put never waits for one in steady state; after a refused growth the
//! machine evicts, and tries to grow again only after a pause.

/// Time in nanoseconds of a monotonic clock, as an event carries it.
pub type NowNs = u64;

/// Slots that one eviction frees beyond those that are used up meanwhile: clients wait as long as it takes, so the way
/// from the low to the high watermark is gone in steps.
const STEP_SLOTS: u64 = 16;

/// How full memory is, for pieces of one slot size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occupancy {
    /// Slots of this size that can be taken at once.
    pub free_slots: u64,
    /// Slots of this size that all backed memory would make.
    pub slots: u64,
    /// Chunks that have no memory behind them yet.
    pub unbacked_chunks: u64,
    /// Slots of this size that one chunk makes.
    pub slots_per_chunk: u64,
}

/// What the node does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Action {
    /// Enough is free.
    Nothing,
    /// Put memory behind so many more chunks.
    Grow {
        /// Chunks.
        chunks: u64,
    },
    /// Make so many slots of this size free by eviction.
    #[doc(alias = "demote")]
    Evict {
        /// Slots.
        slots: u64,
    },
}

/// The margins, from the configuration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Watermarks {
    /// Share of the slots that may run out before eviction starts.
    pub low_free_ratio: f64,
    /// Share of the slots that are free when eviction ends.
    pub high_free_ratio: f64,
    /// Chunks that are backed in one step.
    pub grow_chunks: u64,
    /// How long a refused growth is not tried again, in nanoseconds.
    pub growth_pause_ns: u64,
}

/// The state of the machine.
#[derive(Clone, Debug)]
pub struct Flow {
    watermarks: Watermarks,
    growing_chunks: u64,
    paused_until_ns: NowNs,
    /// From the low watermark until the high one.
    is_evicting: bool,
}

impl Flow {
    /// A machine with these margins.
    pub fn new(watermarks: Watermarks) -> Self {
        Self { watermarks, growing_chunks: 0, paused_until_ns: 0, is_evicting: false }
    }

    /// Somebody wants `wanted` slots of one size now: what to do so that they, and the margin, are free.
    pub fn demand(&mut self, now: NowNs, wanted: u64, occupancy: Occupancy) -> Action {
        let margin = |ratio: f64| (occupancy.slots as f64 * ratio) as u64;
        let low = wanted.max(margin(self.watermarks.low_free_ratio));
        let can_grow = occupancy.unbacked_chunks > self.growing_chunks && self.may_grow(now);
        // One step ahead of need: memory takes time to come, and no put is to wait for it.
        let ahead = low + self.watermarks.grow_chunks * occupancy.slots_per_chunk;
        let coming = occupancy.free_slots + self.growing_chunks * occupancy.slots_per_chunk;
        if can_grow && coming < ahead {
            let missing = (ahead - coming).div_ceil(occupancy.slots_per_chunk.max(1));
            let chunks =
                self.watermarks.grow_chunks.max(missing).min(occupancy.unbacked_chunks - self.growing_chunks);
            self.growing_chunks += chunks;
            return Action::Grow { chunks };
        }
        let high = low.max(wanted + margin(self.watermarks.high_free_ratio));
        // What is being grown comes soon; only what is wanted beyond it is worth an eviction.
        self.is_evicting = (self.is_evicting || coming < low) && occupancy.free_slots < high;
        if !self.is_evicting {
            return Action::Nothing;
        }
        let step = wanted.saturating_sub(occupancy.free_slots) + wanted + STEP_SLOTS;
        Action::Evict { slots: step.min(high - occupancy.free_slots) }
    }

    /// Growth began that nobody demanded: the first step of a node.
    pub fn started(&mut self, chunks: u64) {
        self.growing_chunks += chunks;
    }

    /// A chunk got its memory.
    pub fn grown(&mut self) {
        self.growing_chunks = self.growing_chunks.saturating_sub(1);
    }

    /// A chunk did not get its memory: the machine, the job's memory limit or the quota says no.
    pub fn growth_refused(&mut self, now: NowNs) {
        self.growing_chunks = self.growing_chunks.saturating_sub(1);
        self.hold_growth(now);
    }

    /// Memory is short on this machine: no growth for a while.
    pub fn hold_growth(&mut self, now: NowNs) {
        self.paused_until_ns = now + self.watermarks.growth_pause_ns;
    }

    /// Whether no refusal stands in the way of growth.
    pub fn may_grow(&self, now: NowNs) -> bool {
        now >= self.paused_until_ns
    }

    /// Chunks whose memory is on its way.
    pub fn growing_chunks(&self) -> u64 {
        self.growing_chunks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow() -> Flow {
        Flow::new(Watermarks {
            low_free_ratio: 0.0,
            high_free_ratio: 0.1,
            grow_chunks: 2,
            growth_pause_ns: 100,
        })
    }

    fn occupancy(free_slots: u64, unbacked_chunks: u64) -> Occupancy {
        Occupancy { free_slots, slots: 100, unbacked_chunks, slots_per_chunk: 10 }
    }

    #[test]
    fn growth_comes_before_eviction() {
        let mut flow = flow();
        assert_eq!(flow.demand(0, 4, occupancy(0, 5)), Action::Grow { chunks: 3 });
        assert_eq!(flow.growing_chunks(), 3);
        (0..3).for_each(|_| flow.grown());
        assert_eq!(flow.demand(0, 4, occupancy(0, 0)), Action::Evict { slots: 14 });
        assert_eq!(flow.demand(0, 4, occupancy(14, 0)), Action::Nothing);
        assert_eq!(
            flow.demand(0, 4, occupancy(4, 0)),
            Action::Nothing,
            "from the high watermark to the low one"
        );
    }

    #[test]
    fn memory_grows_one_step_ahead_of_need() {
        let mut flow = flow();
        assert_eq!(flow.demand(0, 1, occupancy(21, 9)), Action::Nothing);
        assert_eq!(flow.demand(0, 1, occupancy(20, 9)), Action::Grow { chunks: 2 });
        assert_eq!(flow.demand(0, 1, occupancy(20, 9)), Action::Nothing, "it is on its way");
    }

    #[test]
    fn a_wide_margin_is_made_in_steps_each_of_which_leaves_more_than_was_wanted() {
        let mut flow = flow();
        let large = |free_slots| Occupancy { slots: 10_000, ..occupancy(free_slots, 0) };
        let mut free = 0;
        for _ in 0..62 {
            let Action::Evict { slots } = flow.demand(0, 4, large(free)) else { panic!("{free} are free") };
            assert!((17..=24).contains(&slots), "{slots}");
            free += slots - 4;
        }
        assert!((990..=1004).contains(&free), "{free}");
    }

    #[test]
    fn a_refused_growth_pauses() {
        let mut flow = flow();
        let _ = flow.demand(0, 1, occupancy(0, 1));
        flow.growth_refused(0);
        assert_eq!(flow.demand(50, 1, occupancy(0, 1)), Action::Evict { slots: 11 });
        assert_eq!(flow.demand(100, 1, occupancy(0, 1)), Action::Grow { chunks: 1 });
    }

    #[test]
    fn what_is_being_grown_is_not_evicted_for() {
        let mut flow = flow();
        assert_eq!(flow.demand(0, 30, occupancy(0, 3)), Action::Grow { chunks: 3 });
        assert_eq!(flow.demand(0, 30, occupancy(0, 3)), Action::Nothing);
        assert_eq!(flow.demand(0, 31, occupancy(0, 3)), Action::Evict { slots: 41 });
    }
}
