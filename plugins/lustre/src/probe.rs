//! What a node would find here: for `doctor`, and for a node that sizes itself.

use crate::io::{Depth, Method, Surroundings};
use cascade_tier::{Status, TierError};
use serde::Deserialize;
use serde_json::json;
use std::path::PathBuf;

/// What `probe` takes. Other fields are ignored, so that the configuration of `open` fits too.
#[derive(Debug, Deserialize)]
pub(crate) struct ProbeConfig {
    /// Where the store is or would be.
    directory: Option<PathBuf>,
    /// What would move the bytes.
    #[serde(default)]
    engine: Method,
}

pub(crate) fn probe(config: &ProbeConfig) -> Result<String, TierError> {
    let engine = match config.engine.start(Depth::default()) {
        Ok(chosen) => json!({"name": chosen.engine.name(), "no_ring": chosen.no_ring}),
        Err(error) => json!({"error": error.to_string()}),
    };
    let surroundings = match &config.directory {
        None => None,
        Some(directory) => Some(Surroundings::of(directory).map_err(|error| {
            TierError::new(Status::IO, format!("{}: cannot look at it: {error}", directory.display()))
        })?),
    };
    let report = json!({
        "capabilities": ["store", "load", "remove", "sync", "register", "import", "news", "persistent"],
        "format_version": crate::format::VERSION,
        "engine": engine,
        "surroundings": surroundings,
    });
    Ok(report.to_string())
}
