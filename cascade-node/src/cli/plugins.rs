//! `plugins`: which tiers were found, and how they are.
//!
//! Looks at files and asks each tier what it finds here; opens none, so it may run beside a node.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::output::Format;
use super::{Context, Exit, Failure, Run, output, tiers};
use crate::config::{Plugins, tier_of};

/// List the tiers: what was found, where, its version and health
///
/// Loads the tiers that the configuration names and all others in the same folders, and asks each what it finds on
/// this machine. Ends with 1 if a required one cannot be used.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cascade-node plugins
  cascade-node plugins --set plugins.optional=lustre,hbm
  CASCADE_PLUGINS=/opt/cascade/lib cascade-node plugins --json
")]
pub(super) struct Args {
    #[command(flatten)]
    format: Format,
}

/// What the configuration says of a tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    Required,
    Optional,
    Unused,
}

/// One tier.
#[derive(Debug, Serialize)]
struct Found {
    name: String,
    role: Role,
    path: Option<PathBuf>,
    version: Option<String>,
    /// Its library loads and its probe answers.
    healthy: bool,
    /// What it can do.
    capabilities: Vec<String>,
    /// What its probe found; its shape is the tier's own but for `capabilities`.
    probe: Option<serde_json::Value>,
    /// Why it cannot be used.
    error: Option<String>,
}

impl Run for Args {
    fn run(self, context: &Context) -> Result<Exit, Failure> {
        let loaded = context.configuration()?;
        let folders = tiers::folders(&loaded);
        let found: Vec<Found> = named(&loaded.config.plugins, &folders)
            .into_iter()
            .map(|(name, role)| look(name, role, &folders))
            .collect();
        if self.format.json {
            output::json(&found)?;
        } else {
            output::text(&table(&found))?;
        }
        let usable = found.iter().all(|tier| tier.healthy || tier.role != Role::Required);
        Ok(if usable { Exit::Done } else { Exit::Failed })
    }
}

/// The tiers that the configuration names, then the others that lie in the folders.
fn named(plugins: &Plugins, folders: &[PathBuf]) -> Vec<(String, Role)> {
    let required = plugins.required.iter().map(|name| (name.clone(), Role::Required));
    let optional = plugins.optional.iter().map(|name| (name.clone(), Role::Optional));
    let mut tiers: Vec<(String, Role)> = required.chain(optional).collect();
    for file in folders.iter().flat_map(|folder| files(folder)) {
        // A file name has `_` where the tier's name may have `-`.
        if let Some(name) = tier_of(&file)
            && tiers.iter().all(|(known, _)| known.replace('-', "_") != name)
        {
            tiers.push((name.to_owned(), Role::Unused));
        }
    }
    tiers
}

fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn look(name: String, role: Role, folders: &[PathBuf]) -> Found {
    let mut found = Found { name, role, path: None, version: None, healthy: false, capabilities: Vec::new(), probe: None, error: None };
    match tiers::load(&found.name, folders) {
        Ok(library) => {
            found.name = library.name().to_owned();
            found.path = library.path().map(Path::to_owned);
            found.version = Some(library.version().to_owned());
            match library.probe("{}") {
                Ok(answer) => {
                    found.healthy = true;
                    let probe: serde_json::Value = serde_json::from_str(&answer).unwrap_or(answer.into());
                    let capabilities = probe.get("capabilities").and_then(|found| found.as_array());
                    let words = capabilities.into_iter().flatten().filter_map(|word| word.as_str());
                    found.capabilities = words.map(str::to_owned).collect();
                    found.probe = Some(probe);
                }
                Err(error) => found.error = Some(error.to_string()),
            }
        }
        Err(error) => found.error = Some(error),
    }
    found
}

fn table(found: &[Found]) -> String {
    let width = found.iter().map(|tier| tier.name.len()).max().unwrap_or(0);
    let mut out = String::new();
    for tier in found {
        let health = if tier.healthy { "ok  " } else { "FAIL" };
        let role = match tier.role {
            Role::Required => "required",
            Role::Optional => "optional",
            Role::Unused => "unused  ",
        };
        let version = tier.version.as_deref().unwrap_or("-");
        let path = tier.path.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        out += format!("{health}  {:width$}  {role}  {version:8}  {path}", tier.name).trim_end();
        out += "\n";
        if !tier.capabilities.is_empty() {
            out += &format!("      {:width$}  {}\n", "", tier.capabilities.join(", "));
        }
        if let Some(error) = &tier.error {
            out += &format!("      {:width$}  → {error}\n", "");
        }
    }
    out
}
