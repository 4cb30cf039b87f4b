//! What the host configures, as JSON. Unknown fields are errors.

use cascade_tier::TierError;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::path::PathBuf;

/// The file that tells who owns a segment; no region may be called so.
pub(crate) const OWNER_FILE: &str = "owner";

/// The configuration that `open` takes.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the segment's files go. Absolute; its parent is created if it is missing.
    pub directory: PathBuf,
    /// What to do with a segment that a dead owner left there.
    #[serde(default)]
    pub mode: Mode,
    /// The files to make, in the order of their memory ids.
    pub regions: Vec<RegionConfig>,
    /// Who opens it, for the next one to read.
    pub owner: OwnerConfig,
    /// How long a killed owner is waited for that holds its lock still.
    #[serde(default = "default_owner_wait_ms")]
    pub owner_wait_ms: u64,
    /// How much memory allocations leave to others.
    #[serde(default)]
    pub reserve_bytes: u64,
}

/// What to do with a segment that a dead owner left.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Take it over with its content if it is whole and of this boot, else replace it.
    #[default]
    AdoptOrCreate,
    /// Replace it.
    Create,
}

/// One file of the segment.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RegionConfig {
    /// Its name, which is that of the file: lower-case letters, digits and hyphens.
    pub name: String,
    /// How large it is, rounded up to pages. An adopted region keeps the size that it has.
    pub bytes: u64,
    /// On which NUMA domains its pages go; by default where the kernel likes.
    #[serde(default)]
    pub numa: Option<Numa>,
    /// Whether to ask for huge pages.
    #[serde(default)]
    pub huge_pages: HugePages,
    /// Whether to touch pages when they are allocated, so that the first writer finds them zeroed.
    #[serde(default)]
    pub prefault: bool,
}

/// On which NUMA domains pages go.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Numa {
    /// On this one.
    Bind(u32),
    /// On all in turn.
    Interleave,
}

/// Whether to ask for huge pages.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum HugePages {
    /// Pages of the usual size, as the system does it.
    #[default]
    Never,
    /// Huge ones where the system allows it (`shmem_enabled` is `advise` or more).
    Advise,
}

/// Who opens the segment.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct OwnerConfig {
    /// The node's instance name.
    pub instance: String,
    /// The host that it runs on.
    pub host: String,
}

const fn default_owner_wait_ms() -> u64 {
    10_000
}

impl Config {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// `INVALID`, with what is wrong.
    pub fn parse(json: &str) -> Result<Config, TierError> {
        let config: Config = parse(json)?;
        let directory = config.directory.display();
        if !config.directory.is_absolute() || config.directory.file_name().is_none() {
            return Err(TierError::invalid(format!(
                "directory {directory}: give an absolute path of a folder"
            )));
        }
        if config.regions.is_empty() {
            return Err(TierError::invalid("regions: name at least one"));
        }
        let mut names = HashSet::new();
        for region in &config.regions {
            let name = region.name.as_str();
            if !is_region_name(name) {
                return Err(TierError::invalid(format!(
                    "region {name:?}: a name has 1 to 31 lower-case letters, digits and hyphens, and is not {OWNER_FILE:?}"
                )));
            }
            if !names.insert(name) {
                return Err(TierError::invalid(format!("region {name:?}: named twice")));
            }
            if region.bytes == 0 || region.bytes > i64::MAX as u64 / 2 {
                return Err(TierError::invalid(format!(
                    "region {name:?}: no file can have {} bytes",
                    region.bytes
                )));
            }
        }
        Ok(config)
    }
}

/// Reads any of our configurations.
pub(crate) fn parse<'de, T: Deserialize<'de>>(json: &'de str) -> Result<T, TierError> {
    serde_json::from_str(json).map_err(|error| TierError::invalid(format!("configuration: {error}")))
}

pub(crate) fn is_region_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=31).contains(&name.len()) && name.bytes().all(allowed) && name != OWNER_FILE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_region(region: &str) -> String {
        format!(
            r#"{{"directory":"/dev/shm/x/y","regions":[{region}],"owner":{{"instance":"i","host":"h"}}}}"#
        )
    }

    #[test]
    fn the_documented_forms_are_read() {
        let forms = [
            r#"{"name":"arena-0","bytes":1,"numa":null}"#,
            r#"{"name":"arena-0","bytes":1,"numa":{"bind":1},"huge_pages":"advise"}"#,
            r#"{"name":"arena-0","bytes":1,"numa":"interleave","huge_pages":"never","prefault":true}"#,
        ];
        for form in forms {
            Config::parse(&with_region(form)).unwrap();
        }
    }

    #[test]
    fn a_wrong_configuration_is_refused_with_its_reason() {
        let cases = [
            (with_region(r#"{"name":"a","bytes":1,"colour":"red"}"#), "colour"),
            (with_region(r#"{"name":"../a","bytes":1}"#), "../a"),
            (with_region(r#"{"name":"owner","bytes":1}"#), "owner"),
            (with_region(r#"{"name":"a","bytes":0}"#), "0 bytes"),
            (with_region(r#"{"name":"a","bytes":1},{"name":"a","bytes":1}"#), "twice"),
            (with_region(""), "at least one"),
            (with_region(r#"{"name":"a","bytes":1}"#).replace("/dev/shm", "dev"), "absolute"),
        ];
        for (json, reason) in cases {
            let error = Config::parse(&json).unwrap_err();
            assert!(error.message.contains(reason), "{json}: {error}");
        }
    }
}
