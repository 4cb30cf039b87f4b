//! The one thing that we read of a node's profile: which plugins it names.

use std::fs;
use std::path::PathBuf;

use serde::Deserialize;

use crate::failure::{Context, Result};
use crate::workspace;

/// The tiers that a profile names, in its order.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
pub(crate) struct Plugins {
    /// The node refuses to start without these.
    #[serde(default)]
    pub(crate) required: Vec<String>,
    /// The node goes on without these.
    #[serde(default)]
    pub(crate) optional: Vec<String>,
}

/// The file of a profile.
pub(crate) fn path(profile: &str) -> PathBuf {
    folder().join(format!("{profile}.toml"))
}

/// Reads which plugins a profile names. Errors: no such profile (and which there are), not TOML.
pub(crate) fn plugins(profile: &str) -> Result<Plugins> {
    let path = path(profile);
    if !path.is_file() {
        return Err(format!("there is no profile `{profile}`; there is: {}", names()?.join(", ")).into());
    }
    let text = fs::read_to_string(&path).context(path.display())?;
    parse(&text).context(path.display())
}

/// The package and the library of a tier: `mpi-remote` is `cascade-tier-mpi-remote`, `libcascade_tier_mpi_remote.so`.
pub(crate) fn package_and_library(tier: &str) -> (String, String) {
    (format!("cascade-tier-{tier}"), format!("libcascade_tier_{}.so", tier.replace('-', "_")))
}

fn parse(text: &str) -> std::result::Result<Plugins, toml::de::Error> {
    // Every other key is the node's business; it, not we, refuses unknown ones.
    #[derive(Deserialize)]
    struct Profile {
        #[serde(default)]
        plugins: Plugins,
    }
    toml::from_str::<Profile>(text).map(|profile| profile.plugins)
}

fn folder() -> PathBuf {
    workspace::root().join("cascade-node/profiles")
}

fn names() -> Result<Vec<String>> {
    let folder = folder();
    let mut names: Vec<String> = fs::read_dir(&folder)
        .context(folder.display())?
        .filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.strip_suffix(".toml")?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_names_its_plugins() {
        let text = "[node]\nx = 1\n[plugins]\nrequired = [\"shm\"]\noptional = [\"hbm\", \"mpi-remote\"]\ndirs = []\n";
        let expected =
            Plugins { required: vec!["shm".into()], optional: vec!["hbm".into(), "mpi-remote".into()] };
        assert_eq!(parse(text).unwrap(), expected);
    }

    #[test]
    fn a_profile_may_name_no_plugin() {
        assert_eq!(parse("[node]\nx = 1\n").unwrap(), Plugins::default());
    }

    #[test]
    fn plugins_that_are_no_list_are_refused() {
        assert!(parse("[plugins]\nrequired = 3\n").is_err());
    }

    #[test]
    fn a_tier_has_its_package_and_its_library() {
        let expected = ("cascade-tier-mpi-remote".to_owned(), "libcascade_tier_mpi_remote.so".to_owned());
        assert_eq!(package_and_library("mpi-remote"), expected);
    }

    #[test]
    fn an_unknown_profile_is_answered_with_those_that_exist() {
        let failure = plugins("no-such").unwrap_err().to_string();
        assert!(failure.starts_with("there is no profile `no-such`"), "{failure}");
    }
}
