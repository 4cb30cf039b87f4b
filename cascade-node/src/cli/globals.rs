//! Flags that every command takes, and the configuration that they lead to.

use std::path::PathBuf;

use clap::Args;

use super::Context;
use crate::config::{Loaded, Override, Problem, Problems, Profile, SCRATCH_VARIABLES, Sources};
use crate::logging;

/// The global flags. Those that set configuration win over every other layer.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Configuration")]
pub struct Globals {
    /// Configuration file [default: $CASCADE_CONFIG, else ./cascade.toml if it is there]
    #[arg(long, global = true, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    config: Option<PathBuf>,

    /// Built-in profile to begin with [default: $CASCADE_PROFILE, else laptop]
    #[arg(long, global = true, value_name = "NAME", value_parser = Profile::names())]
    pub(super) profile: Option<String>,

    /// Set one key of the configuration, such as segment.capacity=8GiB (may be repeated)
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,

    /// Name of the node among the nodes of this user and job
    #[arg(long, global = true, value_name = "NAME")]
    instance: Option<String>,

    /// Which events to log: error, warn, info, debug, trace, or directives by module
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
}

impl Context {
    /// The configuration that is in force, checked; from here on events are logged as it says.
    pub(super) fn configuration(&self) -> Result<Loaded, Problems> {
        let loaded = self.sources()?.load()?;
        logging::init(&loaded.config.log);
        Ok(loaded)
    }

    fn sources(&self) -> Result<Sources, Problems> {
        let globals = &self.globals;
        let named = [("--instance", "instance", &globals.instance), ("--log", "log.filter", &globals.log)];
        let sets = globals.set.iter().map(|(key, value)| flag("--set", key, value));
        let named = named.into_iter().filter_map(|(name, key, value)| Some(flag(name, key, value.as_ref()?)));
        Ok(Sources {
            profile: globals.profile.clone(),
            file: globals.config.clone(),
            directory: Some(PathBuf::from(".")),
            environment: environment()?,
            overrides: sets.chain(named).chain(self.overrides.iter().cloned()).collect(),
        })
    }
}

fn flag(flag: &'static str, key: &str, value: &str) -> Override {
    Override { flag, key: key.to_owned(), value: value.to_owned() }
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err("write KEY=VALUE, such as segment.capacity=8GiB".to_owned()),
    }
}

/// Our own part of the environment, and what leads to scratch; other variables need not be UTF-8.
fn environment() -> Result<Vec<(String, String)>, Problem> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok().filter(|name| is_read(name))?, value)))
        .map(|(name, value)| match value.into_string() {
            Ok(value) => Ok((name, value)),
            Err(_) => {
                Err(Problem::new(format!("variable {name}"), "is not UTF-8: set it again in plain text"))
            }
        })
        .collect()
}

fn is_read(name: &str) -> bool {
    name.starts_with("CASCADE_") || SCRATCH_VARIABLES.contains(&name)
}
