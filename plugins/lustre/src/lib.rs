//! The file-system tier: pieces in containers on Lustre or any POSIX file system.
//!
//! A store is a directory that nodes, jobs and time share. Each handle writes containers of its own and one manifest that tells
//! the others what is in them; it reads the containers of all. Two kinds of threads do it, so that no call of the host's
//! ever waits for the file system:
//!
//! * the mover moves pieces through an engine of [`io`]: `mover`, with `write` (stores into `record`s) and `read` (loads,
//!   verified; `coalesce` says which share a transfer);
//! * a keeper for each store deals with names and manifests and may hang: `keeper`, with `voice` and `journal` (what we tell),
//!   `durable`, `holdings`, `manifest` and `book` (what the others tell), `salvage` (what containers tell themselves), and, one keeper at a time by
//!   `claim`, `collector` (makes room) and `fold` (keeps manifests few).
//!
//! What lies on disk is in [`format`](mod@format). The configuration is [`Config`], as JSON; `probe` takes `{"directory", "engine"}`,
//! `collect_garbage` takes the configuration and `dry_run`.

#[cfg(not(target_os = "linux"))]
compile_error!("Cascade runs on Linux only");

mod bell;
mod book;
mod claim;
mod coalesce;
mod collector;
mod config;
mod durable;
mod exchange;
mod files;
mod fold;
pub mod format;
mod garbage;
mod heat;
mod holdings;
pub mod io;
mod journal;
mod keeper;
mod link;
mod manifest;
mod marker;
mod memory;
mod mount;
mod mover;
mod order;
mod probe;
mod read;
mod record;
mod report;
mod routes;
mod salvage;
mod stats;
mod threads;
mod tier;
mod traffic;
mod voice;
mod wipe;
mod write;

pub use config::{Config, Durability, Mode};
pub use mount::Mount;
pub use tier::LustreTier;

cascade_tier::export_tier!(lustre, LustreTier);
