//! The one thing that we read of a node's profile: which plugins it names.
//!
//! A profile holds only what differs from the defaults, which are the laptop profile.

use std::fs;
use std::path::PathBuf;

use serde::Deserialize;

use crate::failure::{Context, Result};
use crate::workspace;

/// The profile that every other one is laid over.
const DEFAULTS: &str = "laptop";

/// The tiers that a node with a profile loads, in its order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plugins {
    /// The node refuses to start without these.
    pub(crate) required: Vec<String>,
    /// The node goes on without these.
    pub(crate) optional: Vec<String>,
}

/// What a profile's file says of them, if it does.
#[derive(Debug, Default, Deserialize)]
struct Named {
    required: Option<Vec<String>>,
    optional: Option<Vec<String>>,
}

/// The file of a profile.
pub(crate) fn path(profile: &str) -> PathBuf {
    folder().join(format!("{profile}.toml"))
}

/// Reads which plugins a profile names. Errors: no such profile (and which there are), not TOML.
pub(crate) fn plugins(profile: &str) -> Result<Plugins> {
    if !path(profile).is_file() {
        return Err(format!("there is no profile `{profile}`; there is: {}", names()?.join(", ")).into());
    }
    Ok(layered(read(DEFAULTS)?, read(profile)?))
}

fn read(profile: &str) -> Result<Named> {
    let path = path(profile);
    let text = fs::read_to_string(&path).context(path.display())?;
    parse(&text).context(path.display())
}

fn layered(defaults: Named, profile: Named) -> Plugins {
    Plugins {
        required: profile.required.or(defaults.required).unwrap_or_default(),
        optional: profile.optional.or(defaults.optional).unwrap_or_default(),
    }
}

/// The package and the library of a tier: `mpi-remote` is `cascade-tier-mpi-remote`, `libcascade_tier_mpi_remote.so`.
pub(crate) fn package_and_library(tier: &str) -> (String, String) {
    (format!("cascade-tier-{tier}"), format!("libcascade_tier_{}.so", tier.replace('-', "_")))
}

fn parse(text: &str) -> std::result::Result<Named, toml::de::Error> {
    // Every other key is the node's business; it, not we, refuses unknown ones.
    #[derive(Deserialize)]
    struct Profile {
        #[serde(default)]
        plugins: Named,
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

    fn named(text: &str) -> Named {
        parse(text).unwrap()
    }

    fn tiers<const N: usize>(names: [&str; N]) -> Vec<String> {
        names.map(str::to_owned).into()
    }

    #[test]
    fn a_profile_names_its_plugins() {
        let profile =
            named("[node]\nx = 1\n[plugins]\nrequired = [\"shm\"]\noptional = [\"hbm\", \"mpi-remote\"]\n");
        let expected = Plugins { required: tiers(["shm"]), optional: tiers(["hbm", "mpi-remote"]) };
        assert_eq!(layered(Named::default(), profile), expected);
    }

    #[test]
    fn what_a_profile_does_not_name_comes_from_the_defaults() {
        let defaults = || named("[plugins]\nrequired = [\"shm\"]\noptional = []\n");
        let expected = Plugins { required: tiers(["shm"]), optional: tiers(["lustre"]) };
        assert_eq!(layered(defaults(), named("[plugins]\noptional = [\"lustre\"]\n")), expected);
        let expected = Plugins { required: tiers(["shm"]), optional: tiers([]) };
        assert_eq!(layered(defaults(), named("[node]\nx = 1\n")), expected);
    }

    #[test]
    fn every_profile_has_the_tier_that_a_node_needs() {
        for profile in names().unwrap() {
            assert!(plugins(&profile).unwrap().required.contains(&"shm".to_owned()), "{profile}");
        }
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
