//! Where things are: the workspace root, cargo's target folder, the commit.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::Deserialize;

use crate::failure::{Context, Result};
use crate::process::Cmd;

/// The root of the checkout. Every command runs there.
pub(crate) fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        // Cargo's word at run time first: a target folder may be shared by several checkouts.
        let own = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        PathBuf::from(own).parent().expect("xtask lies in the workspace root").to_owned()
    })
}

/// The part of `cargo metadata` that we read.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    pub(crate) target_directory: PathBuf,
}

/// One package of the workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) dependencies: Vec<Dependency>,
}

/// One dependency as the manifest declares it.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// None, "dev" or "build".
    pub(crate) kind: Option<String>,
    /// The platform or cfg that it is limited to.
    pub(crate) target: Option<String>,
}

impl Metadata {
    /// Asks cargo about the workspace's own packages.
    pub(crate) fn read() -> Result<Self> {
        let json = Cmd::cargo().args(["metadata", "--format-version", "1", "--no-deps"]).capture()?;
        serde_json::from_str(&json).context("reading `cargo metadata`")
    }

    /// Whether the workspace has a package of that name.
    pub(crate) fn has(&self, package: &str) -> bool {
        self.packages.iter().any(|found| found.name == package)
    }
}

/// The short hash of HEAD, with `-dirty` when tracked files differ from it: a measurement names its commit.
pub(crate) fn commit() -> Result<String> {
    let hash = Cmd::new("git").args(["rev-parse", "--short=10", "HEAD"]).capture()?;
    let clean = Cmd::new("git").args(["diff", "--quiet", "HEAD"]).succeeds();
    Ok(format!("{}{}", hash.trim(), if clean { "" } else { "-dirty" }))
}
