//! Orders: what people and programs tell the node to do, by the socket: a line of words, answered by the number of a job.
//!
//! ```text
//! persist                          write all that only memory has, and sync
//! drain SECONDS                    admit nothing new, and write the most useful first
//! warm BYTES                       bring what was stored last into free memory
//! forget namespace ROOT            drop all chains under a root, 64 hexadecimal digits
//! forget tenant NAME               drop all namespaces whose description names the tenant
//! forget older_than SECONDS        drop what was stored so long ago, or before
//! job NUMBER                       how far it is
//! ```

use cascade_core::key::BlockKey;
use serde_json::{Value, json};

use super::jobs::{Task, What};
use super::now_ns;
use super::pump::Engine;

/// Nanoseconds in a second.
const SECOND_NS: u64 = 1_000_000_000;

/// What came of a question: nothing of ours, a refusal, or an answer.
pub(super) enum Heard {
    /// No order; somebody else may know the answer.
    Unknown,
    /// An order that makes no sense, or cannot be carried out; why.
    Refused(String),
    /// The answer.
    Answer(Value),
}

/// An order.
#[derive(Debug, PartialEq, Eq)]
enum Order {
    Persist,
    Drain { s: u64 },
    Warm { bytes: u64 },
    Forget(What),
    Job(u64),
}

impl Engine {
    /// Carries an order out, as far as it begins at once.
    pub(super) fn obey(&mut self, line: &str) -> Heard {
        let order = match parse(line) {
            None => return Heard::Unknown,
            Some(Err(reason)) => return Heard::Refused(reason),
            Some(Ok(order)) => order,
        };
        let needs_tier = matches!(order, Order::Persist | Order::Drain { .. } | Order::Warm { .. });
        if needs_tier && self.lower.is_none() {
            return Heard::Refused(
                "no lower tier is open: name a folder in CASCADE_DIR or lustre.directory".to_owned(),
            );
        }
        let task = match order {
            Order::Persist => Task::Persist,
            Order::Drain { s } => {
                Task::Drain { until_ns: now_ns().saturating_add(s.saturating_mul(SECOND_NS)) }
            }
            Order::Warm { bytes } => Task::Warm { bytes },
            Order::Forget(what) => Task::Forget(what),
            Order::Job(number) => {
                return match self.jobs.report(number) {
                    Some(report) => Heard::Answer(report),
                    None => Heard::Refused(format!("there is no job {number}, or it ended long ago")),
                };
            }
        };
        Heard::Answer(json!({ "job": self.jobs.begin(&mut self.store, task, now_ns()) }))
    }
}

/// Reads an order; `None` for what is none.
fn parse(line: &str) -> Option<Result<Order, String>> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let number = |word: &str| word.parse::<u64>().map_err(|_| format!("{word:?} is no number"));
    Some(match words[..] {
        ["persist"] => Ok(Order::Persist),
        ["drain", seconds] => number(seconds).map(|s| Order::Drain { s }),
        ["warm", bytes] => number(bytes).map(|bytes| Order::Warm { bytes }),
        ["job", which] => number(which).map(Order::Job),
        ["forget", "namespace", root] => BlockKey::from_hex(root)
            .filter(|root| *root != BlockKey::ROOT)
            .map(|root| Order::Forget(What::Namespace(root)))
            .ok_or_else(|| "a namespace is named by its root: 64 hexadecimal digits, not all 0".to_owned()),
        ["forget", "tenant", ..] => match line.trim().strip_prefix("forget tenant ").map(str::trim) {
            Some(tenant) if !tenant.is_empty() => Ok(Order::Forget(What::Tenant(tenant.to_owned()))),
            _ => Err("name a tenant".to_owned()),
        },
        ["forget", "older_than", seconds] => number(seconds).map(|s| {
            let age_s = u32::try_from(s).unwrap_or(u32::MAX);
            Order::Forget(What::OlderThan { age_s })
        }),
        ["persist" | "drain" | "warm" | "job" | "forget", ..] => Err(format!(
            "{line:?} is no order: persist, drain SECONDS, warm BYTES, job NUMBER, forget namespace ROOT, forget tenant NAME, \
             forget older_than SECONDS"
        )),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_and_nonsense_is_refused_with_what_there_is() {
        let root = BlockKey::from_bytes([7; 32]);
        let read = |line: &str| parse(line).expect("an order").expect("a sound one");
        assert_eq!(read("persist"), Order::Persist);
        assert_eq!(read("drain 60"), Order::Drain { s: 60 });
        assert_eq!(read("warm 4096"), Order::Warm { bytes: 4096 });
        assert_eq!(read("job 3"), Order::Job(3));
        assert_eq!(read(&format!("forget namespace {root}")), Order::Forget(What::Namespace(root)));
        assert_eq!(read("forget tenant  a b "), Order::Forget(What::Tenant("a b".into())));
        assert_eq!(read("forget older_than 60"), Order::Forget(What::OlderThan { age_s: 60 }));
        for line in
            ["persist now", "drain", "drain soon", "warm -1", "forget", "forget namespace 7", "forget tenant"]
        {
            assert!(parse(line).expect("meant as an order").is_err(), "{line}");
        }
        assert!(parse("status").is_none() && parse("").is_none());
    }
}
