//! Why a tier cannot be loaded, and why a call on one failed. Every message says what to do.

use crate::{ABI_VERSION, Status};
use std::path::PathBuf;
use thiserror::Error;

/// A call on a tier failed: how, and in words.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{status}: {message}")]
pub struct TierError {
    /// How it failed, for programs.
    pub status: Status,
    /// What was found and what to do, for people.
    pub message: String,
}

impl TierError {
    /// A failure with its reason.
    #[must_use]
    pub fn new(status: Status, message: impl Into<String>) -> TierError {
        TierError { status, message: message.into() }
    }

    /// `INVALID`, with what is wrong.
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> TierError {
        TierError::new(Status::INVALID, message)
    }

    /// `UNSUPPORTED`, with what this tier does not do.
    #[must_use]
    pub fn unsupported(what: &str) -> TierError {
        TierError::new(Status::UNSUPPORTED, format!("this tier does not {what}"))
    }
}

/// A plugin cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LoadError {
    /// There is no such file.
    #[error("{}: no such file; build the plugin or correct the plugin path", .path.display())]
    Missing {
        /// The path that was tried.
        path: PathBuf,
    },
    /// The dynamic loader refuses the file.
    #[error("{}: no shared library for this machine ({reason}); remove it or build it anew", .path.display())]
    NotALibrary {
        /// The file.
        path: PathBuf,
        /// What the loader says.
        reason: String,
    },
    /// It is a library, but no tier of that name.
    #[error(
        "{}: no tier plugin, it lacks the symbol `{symbol}`; the plugin of a tier NAME is called libcascade_tier_NAME.so",
        .path.display()
    )]
    NoEntry {
        /// The file.
        path: PathBuf,
        /// The symbol that was looked for.
        symbol: String,
    },
    /// The plugin was built for other versions of the ABI.
    #[error(
        "{origin}: built for {}, this node speaks version {host}; build both from one source",
        .plugin.map_or_else(|| "another version of the tier ABI".to_owned(), |version| format!("version {version} of the tier ABI"))
    )]
    OtherVersion {
        /// The file, or the name of a linked tier.
        origin: String,
        /// The version that the plugin names, if it names one.
        plugin: Option<u32>,
        /// Ours, [`ABI_VERSION`].
        host: u32,
    },
    /// The plugin claims our version, but its function table is shorter than that version's.
    #[error(
        "{origin}: its function table has {found_bytes} bytes, version {ABI_VERSION} of the tier ABI needs {needed_bytes}; build it anew"
    )]
    VtableTooSmall {
        /// The file, or the name of a linked tier.
        origin: String,
        /// What the plugin's table says.
        found_bytes: u64,
        /// What it has to have.
        needed_bytes: u64,
    },
    /// A function is missing from the table.
    #[error("{origin}: its function table has no function at byte {offset_bytes}; fill in every function")]
    VtableHole {
        /// The file, or the name of a linked tier.
        origin: String,
        /// Where the null is.
        offset_bytes: u64,
    },
}
