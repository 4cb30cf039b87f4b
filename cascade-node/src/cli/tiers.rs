//! Finding and loading tiers, for the commands that look at them without a node.

use std::path::PathBuf;

use cascade_tier::Library;

use crate::config::{Loaded, library_file, locate};

/// The folders in which this process looks for tiers.
pub(super) fn folders(loaded: &Loaded) -> Vec<PathBuf> {
    let variable = std::env::var("CASCADE_PLUGINS").ok();
    let program = std::env::current_exe().ok();
    loaded.config.plugins.folders(variable.as_deref(), program.as_deref())
}

/// Loads a tier, or says why it cannot be.
pub(super) fn load(tier: &str, folders: &[PathBuf]) -> Result<Library, String> {
    let path = locate(tier, folders).ok_or_else(|| not_found(tier, folders))?;
    Library::load_as(&path, tier).map_err(|error| error.to_string())
}

fn not_found(tier: &str, folders: &[PathBuf]) -> String {
    let places: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
    let file = library_file(tier);
    format!("{file} is in none of {}; build it, or name its folder in plugins.search", places.join(", "))
}
