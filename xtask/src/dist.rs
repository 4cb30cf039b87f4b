//! `cargo xtask dist`: the node, the plugins that a profile names and the profile itself, in one folder.
//!
//! `cargo xtask dist wheel` makes the Python wheel instead: see `wheel.rs`.
//!
//! `bin/cascade-node`, `bin/cascade-bench`, `lib/libcascade_tier_<name>.so`, `etc/cascade.toml`: the node finds its plugins beside
//! itself, so the folder can be copied anywhere as it is.

use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::{Context, Result};
use crate::process::Cmd;
use crate::profile;
use crate::wheel;
use crate::workspace::{self, Metadata};

const PROGRAMS: [&str; 2] = ["cascade-node", "cascade-bench"];

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    kind: Option<Kind>,

    /// A profile of cascade-node/profiles, as `laptop`.
    #[arg(required = true)]
    profile: Option<String>,

    /// Where to put it, in place of dist/PROFILE; an earlier bin, lib and etc there are replaced.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(clap::Subcommand)]
enum Kind {
    /// The Python wheel, with the node and its tiers inside.
    Wheel(wheel::Args),
}

pub(crate) fn run(args: &Args) -> Result {
    let profile = match (&args.kind, &args.profile) {
        (Some(Kind::Wheel(wheel)), _) => return wheel::run(wheel),
        (None, Some(profile)) => profile,
        (None, None) => unreachable!("clap asks for a profile"),
    };
    let out = match &args.out {
        // From where the user stands: the verbs themselves run in the workspace root.
        Some(out) => std::path::absolute(out).context(out.display())?,
        None => workspace::root().join("dist").join(profile),
    };
    let dist = build(profile, &out)?;
    println!("{}", dist.folder.display());
    Ok(())
}

/// A folder that holds all that a node needs.
#[derive(Debug)]
pub(crate) struct Dist {
    folder: PathBuf,
}

impl Dist {
    /// A folder that was laid out before.
    #[cfg(test)]
    pub(crate) fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The path of one of its programs.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.folder.join("bin").join(name)
    }
}

/// Builds the programs and a profile's plugins in release and lays them out in `folder`.
///
/// Errors: no such profile, a required plugin that is no package of ours, a failed build. An optional plugin that cannot be
/// built here (no MPI, no CUDA) is left out, and said.
pub(crate) fn build(profile: &str, folder: &Path) -> Result<Dist> {
    let plugins = profile::plugins(profile)?;
    let metadata = Metadata::read()?;
    let mut packages: Vec<String> = PROGRAMS.map(str::to_owned).into();
    let mut libraries = Vec::new();
    for tier in &plugins.required {
        let (package, library) = profile::package_and_library(tier);
        if !metadata.has(&package) {
            return Err(format!(
                "profile {profile} requires the tier `{tier}`, but no package {package} is here"
            )
            .into());
        }
        packages.push(package);
        libraries.push(library);
    }
    // One build for all of them: separate ones would resolve features apart and compile shared crates again.
    Cmd::cargo().args(["build", "--release"]).args(packages.iter().flat_map(|name| ["-p", name])).run()?;
    for tier in &plugins.optional {
        let (package, library) = profile::package_and_library(tier);
        if !metadata.has(&package) {
            eprintln!("left out: the optional tier `{tier}` (no package {package} here)");
        } else if let Err(failure) = Cmd::cargo().args(["build", "--release", "-p", &package]).run() {
            eprintln!("left out: the optional tier `{tier}` ({failure})");
        } else {
            libraries.push(library);
        }
    }
    assemble(profile, &metadata.target_directory.join("release"), &libraries, folder)
}

fn assemble(profile: &str, built: &Path, libraries: &[String], folder: &Path) -> Result<Dist> {
    // Our own folders only: `--out` may name one that holds more.
    for part in ["bin", "lib", "etc"] {
        let part = folder.join(part);
        if part.exists() {
            fs::remove_dir_all(&part).context(part.display())?;
        }
        fs::create_dir_all(&part).context(part.display())?;
    }
    for program in PROGRAMS {
        copy(&built.join(program), &folder.join("bin").join(program))?;
    }
    for library in libraries {
        copy(&built.join(library), &folder.join("lib").join(library))?;
    }
    copy(&profile::path(profile), &folder.join("etc/cascade.toml"))?;
    Ok(Dist { folder: folder.to_owned() })
}

fn copy(from: &Path, to: &Path) -> Result {
    fs::copy(from, to).map(drop).context(format_args!("copying {} to {}", from.display(), to.display()))
}
