//! The tiers under test: for each, how to get at its code and how to configure it. A new tier is one type here and one line
//! in `main.rs`.

use crate::reference;
use cascade_tier::{Entry, Library};
use serde_json::json;
use std::path::{Path, PathBuf};

/// A tier under test.
pub(crate) trait Subject {
    /// The type behind it, for faults that are wrapped around it.
    type Tier: cascade_tier::Tier;

    /// Its entry, linked into this program.
    const ENTRY: Entry;

    /// Its code.
    fn library() -> Library {
        Library::from_entry(Self::ENTRY).unwrap()
    }

    /// A configuration that opens in a scratch folder. A tier with memory exports one of 1 MiB at least; one with storage only
    /// takes pieces of 1 MiB.
    fn config(scratch: &Path) -> String;

    /// Configurations that must be refused, each with a word that the refusal must have.
    fn bad_configs(scratch: &Path) -> Vec<(String, &'static str)>;
}

/// The reference tier; late and shuffled.
pub(crate) struct Reference;

impl Subject for Reference {
    type Tier = reference::ReferenceTier;
    const ENTRY: Entry = reference::entry;

    fn config(_: &Path) -> String {
        json!({"seed": 8124, "delay_polls_max": 5, "queue_depth": 16, "device_bytes": 4 << 20}).to_string()
    }

    fn bad_configs(_: &Path) -> Vec<(String, &'static str)> {
        vec![("{".to_owned(), "EOF"), (json!({"device_bytes": 4096}).to_string(), "seed")]
    }
}

/// The shared-memory tier, linked.
pub(crate) struct Shm;

impl Subject for Shm {
    type Tier = cascade_tier_shm::ShmTier;
    const ENTRY: Entry = cascade_tier_shm::entry;

    fn config(scratch: &Path) -> String {
        json!({
            "directory": scratch.join("segment"),
            "regions": [{"name": "arena-0", "bytes": 4 << 20}, {"name": "meta", "bytes": 65536}],
            "owner": {"instance": "conformance", "host": "here"},
            "owner_wait_ms": 0,
        })
        .to_string()
    }

    fn bad_configs(scratch: &Path) -> Vec<(String, &'static str)> {
        let with = |field: &str, value: serde_json::Value| {
            let mut config: serde_json::Value = serde_json::from_str(&Shm::config(scratch)).unwrap();
            config[field] = value;
            config.to_string()
        };
        vec![
            ("{".to_owned(), "EOF"),
            (with("regions", json!([])), "regions"),
            (with("directory", json!("here")), "absolute"),
            (with("colour", json!("red")), "colour"),
        ]
    }
}

/// The shared-memory tier as the node has it: loaded from its file.
pub(crate) struct LoadedShm;

impl Subject for LoadedShm {
    type Tier = cascade_tier_shm::ShmTier;
    const ENTRY: Entry = cascade_tier_shm::entry;

    fn library() -> Library {
        Library::load(&plugin_file("shm")).unwrap()
    }

    fn config(scratch: &Path) -> String {
        Shm::config(scratch)
    }

    fn bad_configs(scratch: &Path) -> Vec<(String, &'static str)> {
        Shm::bad_configs(scratch)
    }
}

/// The file-system tier, linked.
pub(crate) struct Lustre;

impl Subject for Lustre {
    type Tier = cascade_tier_lustre::LustreTier;
    const ENTRY: Entry = cascade_tier_lustre::entry;

    fn config(scratch: &Path) -> String {
        json!({
            "directory": scratch.join("store"),
            "capacity_bytes": 64 << 20,
            "container_bytes": 4 << 20,
            "refresh_ms": 5,
            "grace_ms": 100,
        })
        .to_string()
    }

    fn bad_configs(scratch: &Path) -> Vec<(String, &'static str)> {
        let with = |field: &str, value: serde_json::Value| {
            let mut config: serde_json::Value = serde_json::from_str(&Lustre::config(scratch)).unwrap();
            config[field] = value;
            config.to_string()
        };
        vec![
            ("{".to_owned(), "EOF"),
            ("{}".to_owned(), "directory"),
            (with("directory", json!("here")), "absolute"),
            (with("capacity_bytes", json!(1)), "capacity_bytes"),
            (with("engine", json!("steam")), "steam"),
            (with("colour", json!("red")), "colour"),
        ]
    }
}

/// The file-system tier as the node has it: loaded from its file, with threads that go through the page cache.
pub(crate) struct LoadedLustre;

impl Subject for LoadedLustre {
    type Tier = cascade_tier_lustre::LustreTier;
    const ENTRY: Entry = cascade_tier_lustre::entry;

    fn library() -> Library {
        Library::load(&plugin_file("lustre")).unwrap()
    }

    fn config(scratch: &Path) -> String {
        let mut config: serde_json::Value = serde_json::from_str(&Lustre::config(scratch)).unwrap();
        config["engine"] = json!("buffered");
        config.to_string()
    }

    fn bad_configs(scratch: &Path) -> Vec<(String, &'static str)> {
        Lustre::bad_configs(scratch)
    }
}

/// The file of a plugin that this program depends on: Cargo puts it beside this program.
pub(crate) fn plugin_file(name: &str) -> PathBuf {
    let me = std::env::current_exe().unwrap();
    me.with_file_name(format!("libcascade_tier_{name}.so"))
}
