//! Ranges and relations that types cannot say. Each message says what is allowed and, where it helps, why.

use cascade_core::grant::LANE_CELLS;
use tracing_subscriber::EnvFilter;

use super::schema::Config;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const CAPACITY_MIN_BYTES: u64 = 8 * MIB;
const CHUNK_BYTES: std::ops::RangeInclusive<u64> = MIB..=GIB;
const CONTAINER_BYTES: std::ops::RangeInclusive<u64> = MIB..=64 * GIB;
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

    let flow = &config.flow;
    demand(
        flow.clean_low_ratio > 0.0 && flow.clean_low_ratio < flow.clean_high_ratio,
        "flow.clean_low_ratio",
        "must be above 0 and below flow.clean_high_ratio: writing begins at low and ends at high",
    );
    demand(
        flow.clean_high_ratio <= 1.0,
        "flow.clean_high_ratio",
        "must be at most 1: then all that memory holds is written",
    );
    demand(
        flow.loading_share > 0.0 && flow.loading_share <= 0.5,
        "flow.loading_share",
        "must be above 0 and at most 0.5: what waits for a tier holds no blocks",
    );
    demand(
        flow.read_on_blocks <= 65_536,
        "flow.read_on_blocks",
        "must be at most 65536; 0 reads no further than asked",
    );
    demand(
        (10..=3_600_000).contains(&flow.hang_ms),
        "flow.hang_ms",
        "must be from 10 to 3600000 (an hour): until then memory waits for the tier",
    );
    demand((1..=1000).contains(&flow.failures_max), "flow.failures_max", "must be from 1 to 1000");
    demand(
        (10..=3_600_000).contains(&flow.pause_ms),
        "flow.pause_ms",
        "must be from 10 to 3600000 (an hour)",
    );
    demand(flow.drain_s <= 86_400, "flow.drain_s", "must be at most 86400 (a day)");
    demand(
        flow.drain_before_end_s <= 86_400,
        "flow.drain_before_end_s",
        "must be at most 86400 (a day); 0 does not look at the job's end",
    );
    demand(
        flow.drain_signal.is_empty() || crate::signal::by_name(&flow.drain_signal).is_some(),
        "flow.drain_signal",
        "must be empty, or one of USR1, USR2, HUP and URG: the others have a meaning of their own",
    );

    let lustre = &config.lustre;
    demand(
        lustre.folder().is_none_or(|folder| folder.is_absolute()),
        "lustre.directory",
        "must be \"auto\" or a path from the root: every node has to mean the same folder",
    );
    demand(
        CONTAINER_BYTES.contains(&lustre.container.0),
        "lustre.container",
        "must be from 1MiB to 64GiB: small ones eat the inode quota, large ones are freed late",
    );
    demand(
        lustre.capacity.0 / 2 >= lustre.container.0,
        "lustre.capacity",
        "must be at least two containers: one is written while another is freed",
    );
    demand(
        lustre.inodes_max >= 16,
        "lustre.inodes_max",
        "must be at least 16: each node has a manifest and a container or two",
    );
    demand((1..=4096).contains(&lustre.queue_depth), "lustre.queue_depth", "must be from 1 to 4096");
    demand(
        lustre.read_only.iter().all(|folder| folder.is_absolute()),
        "lustre.read_only",
        "names folders from the root",
    );
    demand(
        (100..=30_000).contains(&lustre.refresh_ms),
        "lustre.refresh_ms",
        "must be from 100 to 30000: each look costs the metadata server a few operations, and what is collected goes after that long",
    );

    demand(
        lustre.stripe_count <= 2000,
        "lustre.stripe_count",
        "must be at most 2000, which is Lustre's own bound",
    );
    demand(
        lustre.stripe_size.0.is_multiple_of(64 << 10) && lustre.stripe_size.0 < 4 * GIB,
        "lustre.stripe_size",
        "must be a multiple of 64KiB below 4GiB; 0 is the folder's default",
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
