//! Ranges and relations that types cannot say. Each message says what is allowed and, where it helps, why.

use cascade_core::grant::LANE_CELLS;
use tracing_subscriber::EnvFilter;

use super::schema::Config;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const CAPACITY_MIN_BYTES: u64 = 8 * MIB;
const CHUNK_BYTES: std::ops::RangeInclusive<u64> = MIB..=GIB;
const GROW_STEP_BYTES: std::ops::RangeInclusive<u64> = MIB..=64 * GIB;

/// What is wrong with the values, as (key, message).
pub(super) fn validate(config: &Config) -> Vec<(&'static str, String)> {
    let mut wrong = Vec::new();
    let mut demand = |holds: bool, key: &'static str, message: &str| {
        if !holds {
            wrong.push((key, message.to_owned()));
        }
    };

    demand(
        is_name(&config.instance),
        "instance",
        "use 1 to 32 letters, digits, `.`, `_` or `-`: the name is part of a path",
    );

    let segment = &config.segment;
    let capacity_bytes = segment.capacity_bytes();
    let chunk_bytes = segment.chunk_bytes();
    demand(
        capacity_bytes.is_none_or(|bytes| bytes >= CAPACITY_MIN_BYTES),
        "segment.capacity",
        "must be \"auto\" or at least 8MiB: less holds too few blocks to be of use",
    );
    demand(
        segment.shm_share > 0.0 && segment.shm_share <= 0.95,
        "segment.shm_share",
        "must be above 0 and at most 0.95: other programs need some of /dev/shm, too",
    );
    demand(
        chunk_bytes.is_none_or(|bytes| bytes.is_power_of_two() && CHUNK_BYTES.contains(&bytes)),
        "segment.chunk",
        "must be \"auto\" or a power of two from 1MiB to 1GiB",
    );
    demand(
        match (chunk_bytes, capacity_bytes) {
            (Some(chunk_bytes), Some(capacity_bytes)) => chunk_bytes <= capacity_bytes,
            _ => true,
        },
        "segment.chunk",
        "must not be larger than segment.capacity",
    );
    demand(
        GROW_STEP_BYTES.contains(&segment.grow_step.0),
        "segment.grow_step",
        "must be from 1MiB to 64GiB: smaller steps cost more than they are worth",
    );
    demand((1..=1024).contains(&segment.clients_max), "segment.clients_max", "must be from 1 to 1024");

    let clients = &config.clients;
    demand(
        clients.pin_budget_share > 0.0 && clients.pin_budget_share <= 1.0,
        "clients.pin_budget_share",
        "must be above 0 and at most 1",
    );
    demand(
        clients.grant_share > 0.0 && clients.grant_share <= 0.5,
        "clients.grant_share",
        "must be above 0 and at most 0.5: what is granted holds no blocks",
    );
    demand(
        (1..=LANE_CELLS).contains(&(clients.grants_per_class_max as usize)),
        "clients.grants_per_class_max",
        &format!("must be from 1 to {LANE_CELLS}: more do not fit into a client's page"),
    );

    let policy = &config.policy;
    demand(
        policy.watermark_low_ratio > 0.0 && policy.watermark_low_ratio < policy.watermark_high_ratio,
        "policy.watermark_low_ratio",
        "must be above 0 and below policy.watermark_high_ratio: eviction begins at low and ends at high",
    );
    demand(
        policy.watermark_high_ratio <= 0.5,
        "policy.watermark_high_ratio",
        "must be at most 0.5: what is kept free holds no blocks",
    );

    let plugins = &config.plugins;
    for (key, names) in [("plugins.required", &plugins.required), ("plugins.optional", &plugins.optional)] {
        demand(
            names.iter().all(|name| is_tier(name)),
            key,
            "names tiers, such as \"shm\" or \"mpi-remote\": lower-case letters, digits, `-` and `_`",
        );
    }
    demand(
        plugins.optional.iter().all(|name| !plugins.required.contains(name)),
        "plugins.optional",
        "names a tier that plugins.required names as well: keep it in one of them",
    );

    demand(
        (100..=3_600_000).contains(&config.metrics.interval_ms),
        "metrics.interval_ms",
        "must be from 100 to 3600000 (an hour)",
    );
    if let Err(reason) = EnvFilter::try_new(&config.log.filter) {
        let message = format!("must be a level or directives such as \"info,cascade_node=debug\" ({reason})");
        demand(false, "log.filter", &message);
    }
    wrong
}

fn is_name(name: &str) -> bool {
    (1..=32).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

fn is_tier(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    !name.is_empty() && name.bytes().all(plain)
}
