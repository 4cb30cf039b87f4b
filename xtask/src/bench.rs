//! `cargo xtask bench`: builds in release, measures, and on request keeps the raw output in `bench/runs/`.
//!
//! `engines` measures in a real vLLM: see `bench/engines.rs`; `store` the engines of the file-system tier: `bench/store.rs`. All
//! other suites are verbs of cascade-bench; for `compare` the systems that Cascade is compared with are brought along:
//! `bench/compare.rs`.

use std::fs;
use std::path::PathBuf;

use crate::child;
use crate::dist;
use crate::failure::{Context, Result};
use crate::lines::Stream;
use crate::process::Cmd;
use crate::workspace::{self, Metadata};

mod compare;
mod engines;
mod store;

/// The suite that runs in vLLM.
const ENGINES: &str = "engines";
/// The suite of the file-system tier.
const STORE: &str = "store";
/// The suite that needs other systems, and whose kept output gets a table and a chart.
const COMPARE: &str = "compare";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to measure: `engines`, `store`, or a verb of cascade-bench, as `local`.
    suite: String,

    /// Print the result as one JSON object.
    #[arg(long)]
    json: bool,

    /// Keep the JSON as bench/runs/DATE-COMMIT-SUITE.json.
    #[arg(long)]
    keep: bool,

    /// Handed on to the program that measures, as `-- --only ttft` to `engines`.
    #[arg(last = true)]
    rest: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result {
    let bench = match args.suite.as_str() {
        ENGINES => engines::driver()?,
        COMPARE => compare::with_peers(verb(COMPARE)?, &args.rest),
        STORE => store::driver(&args.rest)?,
        suite => verb(suite)?,
    };
    if !args.json && !args.keep {
        return bench.args(&args.rest).run();
    }
    // The commit is read before the run: a measurement belongs to what was built.
    let name = format!("{}-{}-{}.json", today()?, workspace::commit()?, args.suite);
    let mut raw = String::new();
    let status = bench.arg("--json").args(&args.rest).watch(|stream, line| match stream {
        Stream::Out => {
            println!("{line}");
            raw.push_str(line);
            raw.push('\n');
        }
        Stream::Err => eprintln!("{line}"),
    })?;
    // A run that missed its bar is kept too: the figures that hurt are the ones to keep.
    if args.keep && !raw.is_empty() {
        let path = workspace::root().join("bench/runs").join(name);
        fs::write(&path, raw).context(path.display())?;
        eprintln!("kept {}", path.display());
        if args.suite == COMPARE {
            compare::report(program()?, &path)?;
        }
    }
    if status.success() {
        Ok(())
    } else {
        Err(format!("bench {} {}", args.suite, child::outcome(status)).into())
    }
}

/// A verb of cascade-bench, built with its node and laid out as a user has them.
fn verb(suite: &str) -> Result<Cmd> {
    dist::build("laptop", &folder()?)?;
    Ok(Cmd::new(program()?).arg(suite))
}

/// cascade-bench, once [`verb`] has built it.
fn program() -> Result<PathBuf> {
    Ok(folder()?.join("bin/cascade-bench"))
}

fn folder() -> Result<PathBuf> {
    Ok(Metadata::read()?.target_directory.join("xtask/bench"))
}

/// The date in UTC, as 2026-01-31.
fn today() -> Result<String> {
    Cmd::new("date").args(["-u", "+%Y-%m-%d"]).capture().map(|date| date.trim().to_owned())
}
