//! The shared-memory tier: the files of a segment, their size, placement and adoption.
//!
//! It owns the folder, the files in it, their pages, and what is left of them: it makes or adopts them, maps them, backs
//! ranges with memory in the background, gives memory back, and collects what the dead left. It does not know what the bytes
//! mean: layouts and words are the core's, decisions the node's.
//!
//! The folder holds `owner` (the lock and the record of who has it) and one file a region. The configuration is
//! [`Config`], as JSON; `probe` takes `{"directory"}` and `collect_garbage` takes `{"root", "dry_run"}`.
//!
//! Memory ids are the indices of the configured regions; an adopted segment may have more `arena-…` regions behind them.

mod cgroup;
mod config;
mod directory;
mod garbage;
mod headroom;
mod numa;
mod owner;
mod probe;
mod region;
mod segment;
mod sys;
mod tier;
mod transfer;
mod worker;

pub use cgroup::Limit;
pub use config::{Config, HugePages, Mode, Numa, OwnerConfig, RegionConfig};
pub use headroom::Headroom;
pub use numa::Domain;
pub use owner::OwnerRecord;
pub use tier::ShmTier;

cascade_tier::export_tier!(shm, ShmTier);
