//! The dry run: a trace against the policies alone, no node and no bytes.
//!
//! Every policy runs at the same five shares of the trace's distinct blocks, beside Belady's bound. What a policy is asked
//! here is what the node asks it (see `cache.rs`), so a ratio found here is the one that a node of that capacity gives.

use crate::belady;
use crate::cache::PrefixCache;
use crate::trace::{Dense, Trace};
use cascade_core::policy;
use serde::Serialize;
use std::collections::BTreeMap;

/// The capacities of a dry run, in percent of the distinct blocks.
pub(crate) const SHARES_PERCENT: [usize; 5] = [1, 5, 10, 25, 50];

/// The name that Belady's bound has among the policies.
pub(crate) const BELADY: &str = "belady";

/// What a dry run found.
#[derive(Debug, Serialize)]
pub(crate) struct DryRun {
    pub(crate) trace: String,
    pub(crate) requests: usize,
    pub(crate) distinct_blocks: usize,
    pub(crate) references: usize,
    /// Hit ratio of a cache that never evicts.
    pub(crate) unbounded_hit_ratio: f64,
    /// Capacities in percent of the distinct blocks, and in blocks: never below one.
    pub(crate) shares_percent: [usize; 5],
    pub(crate) capacities: [usize; 5],
    /// By name: block hit ratio at each capacity.
    pub(crate) policies: BTreeMap<String, [f64; 5]>,
}

/// Replays `trace` under each of the named policies and under Belady's.
///
/// # Panics
/// On a name that [`policy::by_name`] does not know.
pub(crate) fn run(trace: &Trace, names: &[&str]) -> DryRun {
    let dense = trace.dense();
    let references = dense.references();
    let ratio = |hits: usize| if references == 0 { 0.0 } else { hits as f64 / references as f64 };
    let capacities = SHARES_PERCENT.map(|share| (dense.distinct_blocks * share / 100).max(1));
    let mut policies = BTreeMap::new();
    for &name in names {
        policies.insert(name.to_owned(), capacities.map(|capacity| ratio(hits(&dense, name, capacity))));
    }
    policies.insert(BELADY.to_owned(), capacities.map(|capacity| ratio(belady::hits(&dense, capacity))));
    DryRun {
        trace: trace.name.clone(),
        requests: dense.requests.len(),
        distinct_blocks: dense.distinct_blocks,
        references,
        unbounded_hit_ratio: ratio(references - dense.distinct_blocks),
        shares_percent: SHARES_PERCENT,
        capacities,
        policies,
    }
}

/// Blocks that hit under one policy at one capacity.
pub(crate) fn hits(trace: &Dense, name: &str, capacity_blocks: usize) -> usize {
    let policy =
        policy::by_name(name, capacity_blocks).unwrap_or_else(|| panic!("no policy is named {name}"));
    let mut cache = PrefixCache::new(policy, trace.distinct_blocks);
    trace.requests.iter().map(|chain| cache.serve(chain)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::{ChatTraffic, generate_chat};
    use crate::report;

    fn chat() -> DryRun {
        let trace = generate_chat(&ChatTraffic { requests: 2000, ..Default::default() });
        run(&trace, &policy::NAMES)
    }

    #[test]
    fn ratios_of_generated_chat_stay_what_they_were() {
        insta::assert_snapshot!(report::dry_run_table(&chat()));
    }

    #[test]
    fn cascade_is_nowhere_half_a_point_below_lru() {
        for (seed, system_prompts, think_ms) in [(2, 32, 45_000.0), (3, 2000, 240_000.0), (4, 4, 8_000.0)] {
            let traffic =
                ChatTraffic { seed, requests: 3000, system_prompts, think_ms, ..Default::default() };
            let result = run(&generate_chat(&traffic), &["lru", "cascade"]);
            let pairs = result.policies["cascade"].into_iter().zip(result.policies["lru"]);
            assert!(
                pairs.clone().all(|(cascade, lru)| cascade >= lru - 0.005),
                "seed {seed}: {:?}",
                result.policies
            );
            assert!(
                pairs.take(3).all(|(cascade, lru)| cascade > lru + 0.01),
                "seed {seed}: {:?}",
                result.policies
            );
        }
    }

    #[test]
    fn no_policy_passes_the_bound_and_the_bound_not_the_unbounded_cache() {
        let result = chat();
        let bound = result.policies[BELADY];
        for (name, ratios) in &result.policies {
            for (ratio, bound) in ratios.iter().zip(bound) {
                assert!(
                    *ratio > 0.0 && *ratio <= bound && bound <= result.unbounded_hit_ratio,
                    "{name}: {ratio}"
                );
            }
        }
    }

    #[test]
    fn json_holds_five_ratios_a_policy() {
        let json = serde_json::to_value(chat()).expect("plain numbers");
        for name in ["lru", "arc", "s3fifo", "wtinylfu", "cascade", "belady"] {
            let ratios = json["policies"][name].as_array().expect("a list of ratios");
            assert!(ratios.len() == 5 && ratios.iter().all(|ratio| ratio.as_f64().is_some_and(|r| r < 1.0)));
        }
        for field in ["requests", "distinct_blocks", "references"] {
            assert!(json[field].as_u64() > Some(0), "{field}");
        }
        assert_eq!(json["capacities"].as_array().map(Vec::len), Some(5));
    }

    #[test]
    fn a_trace_of_a_few_blocks_has_room_for_one() {
        let trace = Trace::parse(
            "tiny",
            &br#"{"timestamp": 0, "input_length": 0, "output_length": 1, "hash_ids": []}
                 {"timestamp": 1, "input_length": 9, "output_length": 1, "hash_ids": [5]}
                 {"timestamp": 2, "input_length": 9, "output_length": 1, "hash_ids": [5]}"#[..],
        )
        .expect("a good trace");
        let result = run(&trace, &["lru"]);
        assert_eq!(result.capacities, [1; 5]);
        assert_eq!(result.policies["lru"], [0.5; 5]);
    }
}
