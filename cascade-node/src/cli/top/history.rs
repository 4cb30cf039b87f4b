//! What was seen of a node lately, and how fast it changed.

use std::collections::VecDeque;
use std::time::Instant;

use serde_json::Value;

/// So many looks are kept: what fits into a line of any terminal.
const LOOKS: usize = 240;

/// One look at a node.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) at: Instant,
    /// What the node answered.
    pub(super) status: Value,
}

/// The latest looks, never empty.
#[derive(Debug)]
pub(super) struct History(VecDeque<Sample>);

impl Sample {
    /// The number at a JSON pointer, if the node tells it.
    pub(super) fn number(&self, pointer: &str) -> Option<u64> {
        self.status.pointer(pointer).and_then(Value::as_u64)
    }

    /// The text at a JSON pointer; empty if the node does not tell it.
    pub(super) fn text(&self, pointer: &str) -> &str {
        self.status.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }
}

impl History {
    /// Begins with one look.
    pub(super) fn of(sample: Sample) -> Self {
        Self(VecDeque::from([sample]))
    }

    /// Another look.
    pub(super) fn push(&mut self, sample: Sample) {
        if self.0.len() == LOOKS {
            self.0.pop_front();
        }
        self.0.push_back(sample);
    }

    /// The latest look.
    pub(super) fn latest(&self) -> &Sample {
        self.0.back().expect("a history is never empty")
    }

    /// By how much a counter grew between the last two looks.
    pub(super) fn growth(&self, pointer: &str) -> Option<u64> {
        let before = &self.0[self.0.len().checked_sub(2)?];
        grown(before, self.latest(), pointer)
    }

    /// How fast a counter grows, each second.
    pub(super) fn rate(&self, pointer: &str) -> Option<f64> {
        self.rates(pointer).next_back()
    }

    /// The same between all looks, the latest last.
    pub(super) fn rates<'h>(&'h self, pointer: &'h str) -> impl DoubleEndedIterator<Item = f64> + 'h {
        let pairs = self.0.iter().zip(self.0.iter().skip(1));
        pairs.filter_map(move |(before, after)| {
            let seconds = after.at.duration_since(before.at).as_secs_f64();
            Some(grown(before, after, pointer)? as f64 / seconds.max(1e-3))
        })
    }
}

/// A counter that fell is of another node, and has not grown.
fn grown(before: &Sample, after: &Sample, pointer: &str) -> Option<u64> {
    Some(after.number(pointer)?.saturating_sub(before.number(pointer)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_rate_is_growth_by_time_and_never_negative() {
        let at = Instant::now();
        let sample = |second, hits: u64| Sample {
            at: at + Duration::from_secs(second),
            status: serde_json::json!({ "hits": hits }),
        };
        let mut history = History::of(sample(0, 100));
        assert_eq!(history.rate("/hits"), None);
        history.push(sample(2, 300));
        assert_eq!((history.rate("/hits"), history.growth("/hits")), (Some(100.0), Some(200)));
        // Another node.
        history.push(sample(3, 5));
        assert_eq!(history.rate("/hits"), Some(0.0));
        assert_eq!(history.rate("/no such"), None);
        (0..1000).for_each(|second| history.push(sample(4 + second, 5)));
        assert_eq!(history.rates("/hits").count(), LOOKS - 1);
    }
}
