//! What can be configured, as types. The manual, with every default and its reason, is `profiles/laptop.toml`.
//!
//! No type here has a Rust default: the defaults are the values of the laptop profile, so they exist once. Ranges
//! stand in `validate.rs`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::bytes::{AutoBytes, Bytes};

/// Everything that a node can be told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The node's name among the nodes of one user and job; part of its path on /dev/shm.
    pub instance: String,
    /// The memory that is shared with clients.
    pub segment: Segment,
    /// What one client may take of it.
    pub clients: Clients,
    /// What stays when it is full.
    pub policy: Policy,
    /// What goes to lower tiers and comes back, when, and how fast.
    pub flow: Flow,
    /// The tier that keeps pieces on a file system.
    pub lustre: Lustre,
    /// The tiers to load.
    pub plugins: Plugins,
    /// Where counters go.
    pub metrics: Metrics,
    /// Where events go.
    pub log: Log,
}

/// `[segment]`: how much memory, from where, in which steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Segment {
    /// Size of all arenas together.
    pub capacity: AutoBytes,
    /// With `capacity = "auto"`: the share taken of what is free in /dev/shm and under the memory cgroup.
    pub shm_share: f64,
    /// Bytes left to others whatever the capacity is; at most a quarter of what is free.
    pub reserve: Bytes,
    /// Unit in which an arena is cut into slabs: a power of two.
    pub chunk: AutoBytes,
    /// Bytes allocated per step while the arenas grow in the background.
    pub grow_step: Bytes,
    /// Client processes that may be attached at once.
    pub clients_max: u32,
    /// Whether the arenas ask for huge pages.
    pub huge_pages: HugePages,
    /// Where the arenas lie on a machine with several memory domains.
    pub numa: Numa,
}

/// `[clients]`: what one client may take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clients {
    /// Share of the arena's bytes that one client may keep pinned; beyond it, it gets copies.
    pub pin_budget_share: f64,
    /// Share of the arena's bytes that may lie in grants, all clients together.
    pub grant_share: f64,
    /// Slots handed out ahead of need, per client and size class.
    pub grants_per_class_max: u32,
}

/// `[policy]`: what is evicted, and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The eviction policy.
    pub name: PolicyName,
    /// Eviction goes on until this share of the arena is free.
    pub watermark_high_ratio: f64,
    /// Eviction begins when less than this share of the arena is free.
    pub watermark_low_ratio: f64,
}

/// `[flow]`: what goes to lower tiers and comes back, when, and how fast.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flow {
    /// When pieces are written below.
    pub mode: FlowMode,
    /// Write-back begins when less than this share of memory is free or has a copy below.
    pub clean_low_ratio: f64,
    /// Write-back goes on until this share is.
    pub clean_high_ratio: f64,
    /// Which blocks are worth a write.
    pub admission: Admission,
    /// Bytes a second that this node moves to and from a shared file system; 0 for no bound.
    pub bandwidth: Bytes,
    /// Operations a second that it does there; 0 for no bound.
    pub operations_per_s: u64,
    /// Share of memory that may wait for what is being promoted.
    pub loading_share: f64,
    /// Blocks that are promoted beyond what was asked for, where a chain goes on.
    pub read_on_blocks: u32,
    /// How long an operation may take before its tier is given up.
    pub hang_ms: u64,
    /// Failures in a row after which it is.
    pub failures_max: u32,
    /// How long it is left alone then.
    pub pause_ms: u64,
    /// How long a clean stop may take to write what only memory has.
    pub drain_s: u64,
    /// How long before the end of the job a drain begins.
    pub drain_before_end_s: u64,
    /// The signal that begins one; empty for none.
    pub drain_signal: String,
}

/// `[lustre]`: pieces on a parallel file system, or on any other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lustre {
    /// The folder of the store, or `auto`; see [`Lustre::folder`].
    pub directory: PathBuf,
    /// Bytes of all containers together, those of other nodes included.
    pub capacity: Bytes,
    /// Files of the store, at most.
    pub inodes_max: u64,
    /// Bytes of one container.
    pub container: Bytes,
    /// What a power failure may take.
    pub durability: Durability,
    /// How bytes are moved.
    pub engine: IoEngine,
    /// Transfers under way at once.
    pub queue_depth: u32,
    /// Stores of others that are read and never written.
    pub read_only: Vec<PathBuf>,
    /// How often other nodes' new pieces are looked for.
    pub refresh_ms: u64,
    /// Object storage targets that a container is striped over; 0 for the folder's default.
    pub stripe_count: u32,
    /// Bytes of a stripe; 0 for the folder's default.
    pub stripe_size: Bytes,
}

/// `[plugins]`: the tiers and where to look for them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plugins {
    /// Tiers without which the node does not start.
    pub required: Vec<String>,
    /// Tiers that the node does without, saying so, when they cannot be loaded.
    pub optional: Vec<String>,
    /// Folders to look in; empty means `$CASCADE_PLUGINS`, then `../lib` beside the program's folder, then that folder.
    pub search: Vec<PathBuf>,
}

/// `[metrics]`: the Prometheus text file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Path of the text file; empty for none.
    pub textfile: PathBuf,
    /// How often it is rewritten.
    pub interval_ms: u64,
}

/// `[log]`: what is told on standard error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Lines for people or for programs.
    pub format: LogFormat,
    /// Which events: a level, or directives such as `info,cascade_node::engine=debug`.
    pub filter: String,
}

/// Whether shared memory asks for huge pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HugePages {
    /// Plain pages.
    Never,
    /// `MADV_HUGEPAGE` on the arenas; the kernel decides.
    Advise,
}

/// Placement over NUMA domains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Numa {
    /// Where the node runs.
    Local,
    /// One arena, its pages spread over all domains.
    Interleave,
    /// One arena per domain.
    PerDomain,
}

/// The eviction policies of the core, all of them "tail first": a child goes before its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PolicyName {
    /// Least recently used.
    Lru,
    /// Adaptive replacement (Megiddo and Modha, 2003).
    Arc,
    /// Three FIFO queues (Yang et al., 2023).
    S3Fifo,
    /// Windowed TinyLFU (Einziger, Friedman and Manes, 2017).
    WTinyLfu,
    /// Least expected hits for the room, learned from the traffic: ours, core/docs/policy.md.
    Cascade,
}

/// When pieces are written to lower tiers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlowMode {
    /// Ahead of need, coldest first.
    WriteBack,
    /// As soon as they are put.
    WriteThrough,
}

/// Which blocks are worth a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Admission {
    /// Every one.
    All,
    /// Those that were used again after they were put.
    Reused,
}

/// What a power failure may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Whatever the file system had not written yet.
    None,
    /// What lies in containers that are not full.
    Container,
    /// Nothing that was stored.
    Sync,
}

/// How bytes are moved to and from files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IoEngine {
    /// The first of the others that works.
    Auto,
    /// io_uring, past the page cache.
    IoUring,
    /// Threads, past the page cache.
    Pread,
    /// Threads, through the page cache.
    Buffered,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Segment {
    /// The capacity, when it was given as a number.
    pub fn capacity_bytes(&self) -> Option<u64> {
        fixed(self.capacity)
    }

    /// The chunk, when it was given as a number.
    pub fn chunk_bytes(&self) -> Option<u64> {
        fixed(self.chunk)
    }
}

impl Lustre {
    /// What `directory` says where nothing names a folder.
    pub const AUTO: &'static str = "auto";

    /// The folder of the store; `None` if there is none.
    pub fn folder(&self) -> Option<&std::path::Path> {
        (self.directory.as_os_str() != Self::AUTO).then_some(self.directory.as_path())
    }
}

fn fixed(size: AutoBytes) -> Option<u64> {
    match size {
        AutoBytes::Auto => None,
        AutoBytes::Fixed(bytes) => Some(bytes.0),
    }
}
