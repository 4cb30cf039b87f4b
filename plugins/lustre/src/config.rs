//! What the host configures, as JSON. Unknown fields are errors.

use crate::format::{BLOCK_BYTES, CONTAINER_BYTES_MAX, footer_bytes, round_up};
use crate::io::{Method, Stripe};
use cascade_tier::TierError;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

const MIB: u64 = 1 << 20;
const CONTAINER_BYTES_MIN: u64 = 16 * BLOCK_BYTES;

/// Room comes and goes by container: with fewer there would be none most of the time.
const CONTAINERS_MIN: u64 = 4;

/// The configuration that `open` takes.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The store: a directory that nodes, jobs and time share. Absolute; made where it is missing.
    pub directory: PathBuf,
    /// Whether anything may be written there.
    #[serde(default)]
    pub mode: Mode,
    /// What all files of the store may take together, of all writers.
    #[serde(default = "default_capacity_bytes")]
    pub capacity_bytes: u64,
    /// How many files the store may have, of all writers.
    #[serde(default = "default_inodes_max")]
    pub inodes_max: u64,
    /// How long a container gets, and so the largest piece.
    #[serde(default = "default_container_bytes")]
    pub container_bytes: u64,
    /// When what was stored is made durable without being asked to.
    #[serde(default)]
    pub durability: Durability,
    /// What moves the bytes.
    #[serde(default)]
    pub engine: Method,
    /// How many requests the file system gets at once.
    #[serde(default = "default_queue_depth")]
    pub queue_depth: usize,
    /// Further stores, which are read and never written, not even to say that somebody reads them.
    #[serde(default)]
    pub read_only: Vec<PathBuf>,
    /// How often is looked what others wrote.
    #[serde(default = "default_refresh_ms")]
    pub refresh_ms: u64,
    /// How long a container stays after it was said that it will be deleted: longer than others take to look, and than a read.
    #[serde(default = "default_grace_ms")]
    pub grace_ms: u64,
    /// After how long without a sign of life others take a writer, or a collector, for dead.
    #[serde(default = "default_claim_expiry_ms")]
    pub claim_expiry_ms: u64,
    /// How long `close` waits for what is under way, and for what is left to be written.
    #[serde(default = "default_close_wait_ms")]
    pub close_wait_ms: u64,
    /// How long a manifest of ours gets before we go on in another, so that the first can be folded.
    #[serde(default = "default_manifest_bytes")]
    pub manifest_bytes: u64,
    /// How containers are laid over the servers of a Lustre file system; by default as the directory says.
    #[serde(default)]
    pub stripe: Option<Stripe>,
}

/// Whether anything may be written.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Pieces are stored, and old ones make room.
    #[default]
    ReadWrite,
    /// Nothing is made or changed.
    ReadOnly,
}

/// When what was stored is made durable without being asked to. `Sync` does it always.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// Never.
    #[default]
    None,
    /// When a container is full.
    Container,
    /// Before a store completes.
    Sync,
}

const fn default_capacity_bytes() -> u64 {
    MIB << 20
}

const fn default_inodes_max() -> u64 {
    100_000
}

const fn default_container_bytes() -> u64 {
    256 * MIB
}

const fn default_queue_depth() -> usize {
    16
}

const fn default_refresh_ms() -> u64 {
    1000
}

const fn default_grace_ms() -> u64 {
    30_000
}

const fn default_claim_expiry_ms() -> u64 {
    60_000
}

const fn default_manifest_bytes() -> u64 {
    64 * MIB
}

const fn default_close_wait_ms() -> u64 {
    5000
}

impl Config {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// `INVALID`, with what is wrong.
    pub fn parse(json: &str) -> Result<Config, TierError> {
        let mut config: Config = parse(json)?;
        config.container_bytes = round_up(config.container_bytes.min(CONTAINER_BYTES_MAX));
        for directory in config.read_only.iter().chain([&config.directory]) {
            if !directory.is_absolute() {
                let shown = directory.display();
                return Err(TierError::invalid(format!("directory {shown}: give an absolute path")));
            }
        }
        let container_bytes = config.container_bytes;
        if container_bytes < CONTAINER_BYTES_MIN {
            return Err(TierError::invalid(format!(
                "container_bytes: {container_bytes} is too small to hold a piece, give {CONTAINER_BYTES_MIN} at least"
            )));
        }
        if config.mode == Mode::ReadWrite && config.capacity_bytes / CONTAINERS_MIN < container_bytes {
            return Err(TierError::invalid(format!(
                "capacity_bytes: {} has no room for {CONTAINERS_MIN} containers of {container_bytes} bytes; give more, or smaller containers",
                config.capacity_bytes
            )));
        }
        for (name, value) in [
            ("inodes_max", config.inodes_max),
            ("queue_depth", config.queue_depth as u64),
            ("refresh_ms", config.refresh_ms),
            ("claim_expiry_ms", config.claim_expiry_ms),
            ("manifest_bytes", config.manifest_bytes),
        ] {
            if value == 0 {
                return Err(TierError::invalid(format!("{name}: give more than 0")));
            }
        }
        if config.grace_ms < config.refresh_ms {
            return Err(TierError::invalid(format!(
                "grace_ms: {} is over before others look, every {} ms; give more",
                config.grace_ms, config.refresh_ms
            )));
        }
        Ok(config)
    }

    /// The largest piece that fits: a container with one record of one piece, and its footer.
    #[must_use]
    pub fn piece_bytes_max(&self) -> u64 {
        self.container_bytes - BLOCK_BYTES - footer_bytes(1)
    }

    /// After how long without a sign of life others take a writer for dead.
    #[must_use]
    pub fn claim_expiry(&self) -> Duration {
        Duration::from_millis(self.claim_expiry_ms)
    }

    /// How often is looked what others wrote.
    #[must_use]
    pub fn refresh(&self) -> Duration {
        Duration::from_millis(self.refresh_ms)
    }
}

/// Reads any of our configurations.
pub(crate) fn parse<'de, T: Deserialize<'de>>(json: &'de str) -> Result<T, TierError> {
    serde_json::from_str(json).map_err(|error| TierError::invalid(format!("configuration: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_all_that_must_be_given() {
        let config = Config::parse(r#"{"directory":"/scratch/me/cascade"}"#).unwrap();
        assert_eq!((config.mode, config.durability), (Mode::ReadWrite, Durability::None));
        assert!(config.piece_bytes_max() < config.container_bytes);
    }

    #[test]
    fn the_documented_forms_are_read() {
        let json = r#"{"directory":"/d","mode":"read_only","durability":"container","engine":"io_uring",
            "read_only":["/e"],"stripe":{"count":2,"bytes":4194304}}"#;
        let config = Config::parse(json).unwrap();
        assert_eq!(config.engine, Method::IoUring);
        assert_eq!(config.stripe, Some(Stripe { count: 2, bytes: 4 << 20 }));
    }

    #[test]
    fn a_wrong_configuration_is_refused_with_its_reason() {
        for (fields, reason) in [
            (r#""directory":"here""#, "absolute"),
            (r#""directory":"/d","read_only":["there"]"#, "absolute"),
            (r#""directory":"/d","colour":"red""#, "colour"),
            (r#""directory":"/d","container_bytes":4096"#, "container_bytes"),
            (r#""directory":"/d","capacity_bytes":4096"#, "4 containers"),
            (r#""directory":"/d","refresh_ms":0"#, "refresh_ms"),
            (r#""directory":"/d","grace_ms":10"#, "grace_ms"),
            (r#""mode":"read_only""#, "directory"),
        ] {
            let error = Config::parse(&format!("{{{fields}}}")).unwrap_err();
            assert!(error.message.contains(reason), "{fields}: {error}");
        }
    }
}
