//! `cargo xtask fuzz`: runs the fuzz targets for a while, and `canary`, which must fail, first of all.

use std::fs;

use serde::Deserialize;

use crate::failure::{self, Context, Result};
use crate::process::Cmd;
use crate::{tools, workspace};

const CARGO_FUZZ: &str = "0.13.1";

/// The target with a planted bug: a fuzzer that does not find it finds nothing.
const CANARY: &str = "canary";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// One target; all of them when none is named.
    target: Option<String>,

    /// How long each target runs.
    #[arg(long, default_value_t = 30)]
    seconds: u32,
}

pub(crate) fn run(args: &Args) -> Result {
    tools::nightly_component("rust-src").context("fuzzing needs the nightly toolchain")?;
    tools::cargo_tool("fuzz", CARGO_FUZZ)?;
    let manifest = workspace::root().join("fuzz/Cargo.toml");
    let targets =
        targets(&fs::read_to_string(&manifest).context(manifest.display())?).context(manifest.display())?;
    let chosen: Vec<&str> = match args.target.as_deref() {
        None => targets.iter().map(String::as_str).collect(),
        Some(name) if targets.iter().any(|target| target == name) => vec![name],
        Some(name) => return Err(format!("no fuzz target `{name}`; there is: {}", targets.join(", ")).into()),
    };
    let outcomes: Vec<(&str, Result)> =
        chosen.into_iter().map(|target| (target, fuzz(target, args.seconds))).collect();
    failure::all(outcomes)
}

fn fuzz(target: &str, seconds: u32) -> Result {
    Cmd::nightly_cargo().args(["fuzz", "build", target]).run()?;
    let run =
        Cmd::nightly_cargo().args(["fuzz", "run", target, "--"]).arg(format!("-max_total_time={seconds}"));
    if target != CANARY {
        return run.run();
    }
    match run.run() {
        Ok(()) => Err("the planted bug was not found: give it more --seconds, or the fuzzer is blind".into()),
        Err(found) => {
            eprintln!("{found}: the planted bug was found, as it must be");
            Ok(())
        }
    }
}

/// The names of a fuzz workspace's targets, the canary first.
fn targets(manifest: &str) -> std::result::Result<Vec<String>, toml::de::Error> {
    #[derive(Deserialize)]
    struct Manifest {
        #[serde(default)]
        bin: Vec<Bin>,
    }
    #[derive(Deserialize)]
    struct Bin {
        name: String,
    }
    let mut names: Vec<String> =
        toml::from_str::<Manifest>(manifest)?.bin.into_iter().map(|bin| bin.name).collect();
    names.sort_by_key(|name| name != CANARY);
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canary_is_first_and_the_others_keep_their_order() {
        let manifest = "[[bin]]\nname = \"ring\"\n[[bin]]\nname = \"canary\"\n[[bin]]\nname = \"frame\"\n";
        assert_eq!(targets(manifest).unwrap(), ["canary", "ring", "frame"]);
    }

    #[test]
    fn the_committed_fuzz_workspace_has_a_canary() {
        let manifest = fs::read_to_string(workspace::root().join("fuzz/Cargo.toml")).unwrap();
        assert_eq!(targets(&manifest).unwrap()[0], CANARY);
    }
}
