//! Who may know whom: the dependency rules of ARCHITECTURE.md, read off the manifests.
//!
//! Declared dependencies are judged, not resolved ones: an edge behind a feature or a platform is an edge.

use super::Done;
use crate::failure::Result;
use crate::workspace::{Dependency, Metadata, Package};

const CORE: &str = "cascade-core";
const ABI: &str = "cascade-tier";
const NODE: &str = "cascade-node";
const BENCH: &str = "cascade-bench";
const CLIENT: &str = "cascade-client";
/// The Python client, which wraps the Rust one.
const PYTHON: &str = "cascade-python";

/// What core may use: small, no_std, no I/O.
const CORE_MAY_USE: [&str; 2] = ["blake3", "hashbrown"];

/// Clients of other caches and stores. Only the bench, which compares with them, may name one.
const PEERS: [&str; 11] =
    ["dynamo", "hdf5", "kvbm", "lmcache", "lmdb", "memcache", "mooncake", "nixl", "pdc", "plasma", "redis"];

pub(super) fn check() -> Result<Done> {
    match violations(&Metadata::read()?.packages).as_slice() {
        [] => Ok(Done::Passed),
        violations => Err(violations.join("; ").into()),
    }
}

/// Every edge that breaks a rule, as a sentence.
fn violations(packages: &[Package]) -> Vec<String> {
    packages
        .iter()
        .flat_map(|package| package.dependencies.iter().filter_map(|edge| broken(package, edge)))
        .collect()
}

fn broken(package: &Package, edge: &Dependency) -> Option<String> {
    let (from, to) = (package.name.as_str(), edge.name.as_str());
    let ours = to.starts_with("cascade-") || to == "xtask";
    let for_tests = edge.kind.as_deref() == Some("dev");
    // Tests may look across: a tier is held against the conformance suite. Production code may not.
    let rule = if from == CORE && !for_tests && !core_may_use(edge) {
        "core uses alloc, blake3 and hashbrown (loom under cfg(loom)) and nothing else"
    } else if is_tier(from) && ours && !for_tests && to != ABI && to != CORE {
        "a tier knows the tier ABI and core, never the node, a client or another tier"
    } else if from == ABI && ours && !for_tests && to != CORE {
        "the tier ABI knows core only"
    } else if is_client(from) && ours && !for_tests && to != CORE {
        "a client knows core, never the node"
    } else if from == PYTHON && ours && !for_tests && to != CORE && to != CLIENT {
        "the Python client knows the Rust client and core, never the node"
    } else if from == NODE && is_tier(to) {
        "the node opens tiers at run time and has no compile-time edge to any, not even in tests"
    } else if from == "xtask" && ours {
        "xtask knows nobody: it must build when they do not"
    } else if from != BENCH && is_peer(to) {
        "only the bench knows a peer"
    } else {
        return None;
    };
    Some(format!("{from} depends on {to}: {rule}"))
}

fn core_may_use(edge: &Dependency) -> bool {
    let loom = edge.name == "loom" && edge.target.as_deref() == Some("cfg(loom)");
    loom || CORE_MAY_USE.contains(&edge.name.as_str())
}

fn is_tier(name: &str) -> bool {
    name.starts_with("cascade-tier-")
}

fn is_client(name: &str) -> bool {
    name == CLIENT || name.starts_with("cascade-client-")
}

fn is_peer(name: &str) -> bool {
    // By the words of the name: `redis-rs` is one, `predispose` is not.
    name.split(['-', '_']).any(|word| PEERS.iter().any(|peer| word.starts_with(peer)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(from: &str, to: &str) -> Option<String> {
        judged(from, to, None, None)
    }

    fn judged(from: &str, to: &str, kind: Option<&str>, target: Option<&str>) -> Option<String> {
        let json = serde_json::json!({
            "packages": [{ "name": from, "dependencies": [{ "name": to, "kind": kind, "target": target }] }],
            "target_directory": "target",
        });
        let metadata: Metadata = serde_json::from_value(json).unwrap();
        violations(&metadata.packages).pop()
    }

    #[test]
    fn core_uses_only_what_it_may() {
        assert_eq!(edge(CORE, "blake3"), None);
        assert_eq!(edge(CORE, "hashbrown"), None);
        assert!(edge(CORE, "libc").is_some());
        assert_eq!(judged(CORE, "proptest", Some("dev"), None), None);
        assert!(judged(CORE, "cc", Some("build"), None).is_some());
    }

    #[test]
    fn core_knows_loom_only_under_its_cfg() {
        assert_eq!(judged(CORE, "loom", None, Some("cfg(loom)")), None);
        assert!(edge(CORE, "loom").is_some());
    }

    #[test]
    fn a_tier_knows_the_abi_and_core_and_no_one_else_of_ours() {
        assert_eq!(edge("cascade-tier-shm", ABI), None);
        assert_eq!(edge("cascade-tier-shm", CORE), None);
        assert_eq!(edge("cascade-tier-shm", "memmap2"), None);
        for other in ["cascade-tier-hbm", "cascade-client", NODE, BENCH] {
            assert!(edge("cascade-tier-shm", other).is_some(), "{other}");
        }
        assert_eq!(judged("cascade-tier-shm", "cascade-tests", Some("dev"), None), None);
    }

    #[test]
    fn a_client_knows_core_and_never_the_node() {
        assert_eq!(edge("cascade-client", CORE), None);
        assert!(edge("cascade-client", NODE).is_some());
        assert!(edge("cascade-client-c", ABI).is_some());
    }

    #[test]
    fn the_python_client_wraps_the_rust_one() {
        assert_eq!(edge(PYTHON, CLIENT), None);
        assert_eq!(edge(PYTHON, CORE), None);
        assert!(edge(PYTHON, NODE).is_some());
    }

    #[test]
    fn the_node_has_no_edge_to_a_tier_not_even_in_tests() {
        assert_eq!(edge(NODE, ABI), None);
        assert_eq!(edge(NODE, "cascade-client"), None);
        assert!(edge(NODE, "cascade-tier-shm").is_some());
        assert!(judged(NODE, "cascade-tier-shm", Some("dev"), None).is_some());
    }

    #[test]
    fn only_the_bench_knows_a_peer() {
        assert_eq!(edge(BENCH, "redis"), None);
        assert!(edge(NODE, "redis-rs").is_some());
        assert!(edge("cascade-tests", "mooncake-store").is_some());
        assert_eq!(edge(NODE, "predispose"), None);
    }

    #[test]
    fn xtask_knows_nobody() {
        assert!(edge("xtask", CORE).is_some());
        assert_eq!(edge("xtask", "clap"), None);
    }

    #[test]
    fn a_broken_rule_names_both_ends_and_the_reason() {
        let sentence = edge("cascade-client", NODE).unwrap();
        assert_eq!(sentence, "cascade-client depends on cascade-node: a client knows core, never the node");
    }
}
