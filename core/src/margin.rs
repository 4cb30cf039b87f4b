//! The clean margin: how much of what only memory has is to be written below now.
//!
//! Free memory serves a put at once; so does clean memory, whose pieces a lower tier has as well and which can leave without
//! a transfer. Write-back keeps the two together between two marks, so that a put never waits for a store; write-through
//! writes all that there is. Invariants: what is under way counts as done, so nothing is asked for twice; no more is asked for than
//! is dirty; from the low mark it goes on to the high one.

/// When pieces are written below.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    /// Ahead of need: from the low mark to the high one.
    WriteBack {
        /// Share of memory, free or clean, below which writing starts.
        low_ratio: f64,
        /// Share at which it ends.
        high_ratio: f64,
    },
    /// At once.
    WriteThrough,
}

/// What memory holds, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stock {
    /// Memory that there is, or that comes without an eviction.
    pub capacity_bytes: u64,
    /// Of it, free for pieces of any size. What is free among pieces of one size serves no other.
    pub free_bytes: u64,
    /// Of it, pieces that are below as well.
    pub clean_bytes: u64,
    /// Of it, pieces that are on their way down.
    pub leaving_bytes: u64,
    /// Of it, pieces that only memory has.
    pub dirty_bytes: u64,
}

/// The state of the machine.
#[derive(Clone, Debug)]
pub struct Margin {
    mode: Mode,
    /// From the low mark until the high one.
    is_writing: bool,
}

impl Margin {
    /// A machine of this mode.
    pub fn new(mode: Mode) -> Self {
        Self { mode, is_writing: false }
    }

    /// How many bytes are to be written below beyond those that are on their way.
    pub fn wanting_bytes(&mut self, stock: Stock) -> u64 {
        let Mode::WriteBack { low_ratio, high_ratio } = self.mode else { return stock.dirty_bytes };
        let mark = |ratio: f64| (stock.capacity_bytes as f64 * ratio) as u64;
        let at_hand = stock.free_bytes + stock.clean_bytes + stock.leaving_bytes;
        let high = mark(high_ratio);
        self.is_writing = (self.is_writing || at_hand < mark(low_ratio)) && at_hand < high;
        if self.is_writing { (high - at_hand).min(stock.dirty_bytes) } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stock(free_bytes: u64, clean_bytes: u64, leaving_bytes: u64) -> Stock {
        let dirty_bytes = 100 - free_bytes - clean_bytes - leaving_bytes;
        Stock { capacity_bytes: 100, free_bytes, clean_bytes, leaving_bytes, dirty_bytes }
    }

    fn write_back() -> Margin {
        Margin::new(Mode::WriteBack { low_ratio: 0.2, high_ratio: 0.5 })
    }

    #[test]
    fn writing_goes_from_the_low_mark_to_the_high_one() {
        let mut margin = write_back();
        assert_eq!(margin.wanting_bytes(stock(10, 15, 0)), 0);
        assert_eq!(margin.wanting_bytes(stock(5, 14, 0)), 31);
        assert_eq!(margin.wanting_bytes(stock(5, 14, 31)), 0, "it is on its way");
        assert_eq!(margin.wanting_bytes(stock(5, 40, 0)), 0);
        assert_eq!(margin.wanting_bytes(stock(0, 30, 0)), 0, "not before the low mark");
        assert_eq!(margin.wanting_bytes(stock(0, 19, 0)), 31);
        assert_eq!(margin.wanting_bytes(stock(0, 30, 0)), 20, "and on to the high one");
    }

    #[test]
    fn memory_that_is_mostly_free_has_nothing_to_write() {
        assert_eq!(write_back().wanting_bytes(stock(60, 0, 0)), 0);
    }

    #[test]
    fn write_through_writes_all_that_is_dirty() {
        let mut margin = Margin::new(Mode::WriteThrough);
        assert_eq!(margin.wanting_bytes(stock(60, 10, 20)), 10);
    }

    proptest! {
        #[test]
        fn whoever_does_what_it_wants_stays_above_the_low_mark(puts in prop::collection::vec(0u64..10, 1..100)) {
            let mut margin = write_back();
            let (mut clean, mut dirty) = (0u64, 0u64);
            for put in puts {
                // Clean pieces make room for what is put.
                let free = 100 - clean - dirty;
                let room = put.saturating_sub(free).min(clean);
                clean -= room;
                dirty = (dirty + put).min(100 - clean);
                let stock = Stock { capacity_bytes: 100, free_bytes: 100 - clean - dirty, clean_bytes: clean, leaving_bytes: 0, dirty_bytes: dirty };
                let wanted = margin.wanting_bytes(stock);
                prop_assert!(wanted <= dirty);
                (clean, dirty) = (clean + wanted, dirty - wanted);
                prop_assert!(100 - dirty >= 20, "{dirty} of 100 are dirty");
            }
        }
    }
}
