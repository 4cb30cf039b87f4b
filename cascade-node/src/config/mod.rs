//! Configuration: layers in, one checked [`Config`] out, and the origin of every value kept.
//!
//! Layers, later ones winning: defaults → profile → file → `CASCADE_*` → flags. figment merges them and remembers who
//! said what. A key that no one knows is an error in whatever layer it stands, and all that is wrong is reported at
//! once. Nothing here reads the process's environment or command line: [`Sources`] carries them in.

mod bytes;
mod document;
mod layer;
mod problem;
mod profile;
mod schema;
mod scratch;
mod search;
mod validate;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use figment::Figment;

pub use bytes::{AutoBytes, BadSize, Bytes};
pub use problem::{Problem, Problems};
pub use profile::{ALL as PROFILES, DEFAULT as DEFAULT_PROFILE, Profile};
pub use schema::{
    Admission, Clients, Config, Durability, Flow, FlowMode, HugePages, IoEngine, Log, LogFormat, Lustre,
    Metrics, Numa, Plugins, Policy, PolicyName, Segment,
};
pub use search::{library_file, locate, tier_of};

use layer::{Known, Layer};
/// Variables beside our own that the configuration goes by: where scratch is, and where home, which it never is.
pub const SCRATCH_VARIABLES: [&str; 3] = [scratch::VARIABLES[0], scratch::VARIABLES[1], scratch::HOME];

/// The file that is read when no other is named.
pub const DEFAULT_FILE: &str = "cascade.toml";

/// Where values may come from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The profile asked for by flag; else `CASCADE_PROFILE`; else the defaults alone.
    pub profile: Option<String>,
    /// The file asked for by flag; else `CASCADE_CONFIG`; else `cascade.toml` in `directory`, if it is there.
    pub file: Option<PathBuf>,
    /// Where `cascade.toml` is looked for; `None` does not look.
    pub directory: Option<PathBuf>,
    /// The environment; of variables that do not begin with `CASCADE_`, only those that lead to scratch are read.
    pub environment: Vec<(String, String)>,
    /// What flags set, in order.
    pub overrides: Vec<Override>,
}

/// A key set on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The flag, as it was written: `--set`, `--instance`.
    pub flag: &'static str,
    /// The dotted key.
    pub key: String,
    /// Its value as text.
    pub value: String,
}

/// One value in force and who said so.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Setting {
    /// The dotted key.
    pub key: String,
    /// The value, as TOML and JSON would hold it.
    pub value: serde_json::Value,
    /// `default`, `profile NAME`, `file PATH`, `variable NAME` or `flag --NAME`.
    pub origin: String,
}

/// A checked configuration that remembers its origins.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// Every key in the manual's order, with value and origin.
    pub settings: Vec<Setting>,
}

impl Sources {
    /// Merges and checks all layers.
    ///
    /// # Errors
    /// Everything that is wrong: an unknown profile, a file that cannot be read or parsed, unknown keys, values of the
    /// wrong kind (the first one), values out of range.
    pub fn load(&self) -> Result<Loaded, Problems> {
        let known = Known::new()?;
        let layers = self.layers(&known)?;
        let figment = layers.iter().cloned().fold(Figment::new(), Figment::merge);
        let origin = |key: &str| figment.find_metadata(key).map(|metadata| metadata.name.to_string());
        let place = |key: &str| {
            let origin = origin(key);
            let layer = layers.iter().rev().find(|layer| Some(&layer.origin) == origin.as_ref());
            layer.map_or_else(|| "configuration".to_owned(), |layer| layer.place(key))
        };

        let mut config: Config = figment.extract().map_err(|error| {
            let path = error.path.join(".");
            // A fault inside a list stands where the list does.
            let holds = |key: &&str| path == **key || path.starts_with(&format!("{key}."));
            let key = known.keys().into_iter().find(holds).unwrap_or(&path);
            Problem::new(place(key), format!("`{key}`: {}", problem::explain(&error.kind)))
        })?;
        let found = scratch::resolve(&mut config.lustre, &self.environment);
        let values = flat(&config);
        let origin = |key: &str| match &found {
            Some(found) if key == scratch::KEY => Some(found.clone()),
            _ => origin(key),
        };
        let settings: Vec<Setting> = known
            .keys()
            .into_iter()
            .map(|key| Setting {
                key: key.to_owned(),
                value: values.get(key).cloned().unwrap_or_default(),
                origin: origin(key).unwrap_or_default(),
            })
            .collect();
        let wrong = validate::validate(&config);
        if !wrong.is_empty() {
            let shown = |key: &str| values.get(key).map(ToString::to_string).unwrap_or_default();
            let problem =
                |(key, message)| Problem::new(place(key), format!("`{key}` = {}: {message}", shown(key)));
            return Err(Problems(wrong.into_iter().map(problem).collect()));
        }
        Ok(Loaded { config, settings })
    }

    fn layers(&self, known: &Known) -> Result<Vec<Layer>, Problems> {
        let mut layers = vec![Layer::profile(DEFAULT_PROFILE, "default")?];
        let mut problems = Vec::new();
        match self.profile_layer() {
            Ok(layer) => layers.extend(layer),
            Err(problem) => problems.push(problem),
        }
        match self.file_layer() {
            Ok(layer) => layers.extend(layer),
            Err(problem) => problems.push(problem),
        }
        let (variables, misnamed) = known.environment(&self.environment);
        layers.extend(variables);
        layers.extend(self.overrides.iter().map(|set| {
            Layer::single(format!("flag {}", set.flag), &set.key, known.value(&set.key, &set.value))
        }));
        problems.extend(layers.iter().flat_map(|layer| layer.unknown(known)));
        problems.extend(misnamed);
        if problems.is_empty() { Ok(layers) } else { Err(Problems(problems)) }
    }

    fn profile_layer(&self) -> Result<Option<Layer>, Problem> {
        let (place, name) = match (&self.profile, self.variable("CASCADE_PROFILE")) {
            (Some(name), _) => ("flag --profile", name.as_str()),
            (None, Some(name)) => ("variable CASCADE_PROFILE", name),
            (None, None) => return Ok(None),
        };
        let unknown = || {
            let names = Profile::names();
            let meant = problem::closest(name, names.iter().copied());
            let hint = meant.map(|meant| format!("; did you mean `{meant}`?")).unwrap_or_default();
            Problem::new(place, format!("no profile `{name}` (there are: {}){hint}", names.join(", ")))
        };
        let profile = Profile::named(name).ok_or_else(unknown)?;
        Layer::profile(profile, &format!("profile {name}")).map(Some)
    }

    fn file_layer(&self) -> Result<Option<Layer>, Problem> {
        let (place, path) = match (&self.file, self.variable("CASCADE_CONFIG"), &self.directory) {
            (Some(path), ..) => ("flag --config", path.clone()),
            (None, Some(path), _) => ("variable CASCADE_CONFIG", PathBuf::from(path)),
            (None, None, Some(directory)) => ("the current folder", directory.join(DEFAULT_FILE)),
            (None, None, None) => return Ok(None),
        };
        let named = self.file.is_some() || self.variable("CASCADE_CONFIG").is_some();
        match std::fs::read_to_string(&path) {
            Ok(text) => Layer::file(&shown(&path), &text).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !named => Ok(None),
            Err(error) => Err(Problem::new(place, format!("cannot read {}: {error}", shown(&path)))),
        }
    }

    fn variable(&self, name: &str) -> Option<&str> {
        let found = self.environment.iter().find(|(variable, value)| variable == name && !value.is_empty());
        found.map(|(_, value)| value.as_str())
    }
}

/// `./cascade.toml` reads better as `cascade.toml`.
fn shown(path: &Path) -> String {
    path.strip_prefix(".").unwrap_or(path).display().to_string()
}

/// The configuration by dotted key.
fn flat(config: &Config) -> BTreeMap<String, serde_json::Value> {
    let mut found = BTreeMap::new();
    let Ok(serde_json::Value::Object(top)) = serde_json::to_value(config) else { return found };
    for (name, value) in top {
        match value {
            serde_json::Value::Object(section) => {
                found.extend(section.into_iter().map(|(key, value)| (format!("{name}.{key}"), value)));
            }
            value => {
                found.insert(name, value);
            }
        }
    }
    found
}

impl Default for Config {
    /// The laptop profile.
    fn default() -> Self {
        // The profile is part of the program; a test pins that it sets every key.
        Sources::default().load().expect("the built-in profile is sound").config
    }
}
