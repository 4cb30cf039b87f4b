//! How pytest is run by the verbs: our plugin for skips, our options, and nothing of the user's.

use std::env;
use std::ffi::OsString;
use std::path::Path;

use crate::child;
use crate::failure::Result;
use crate::process::Cmd;
use crate::tally::{Runner, Tally};
use crate::venv::Venv;
use crate::workspace;

/// Holds `said_skips.py`, the plugin that says a skip as all our tests say it.
const PLUGINS: &str = "xtask/python";

/// pytest's exit code when it ran no test.
const NO_TESTS: i32 = 5;

/// What all suites of pytest take.
#[derive(clap::Args, Default)]
pub(super) struct Selection {
    /// Run only tests that match, as pytest's -k: a name, or an expression with `and`, `or`, `not`.
    #[arg(short, value_name = "EXPR")]
    keyword: Option<String>,

    /// Handed on to pytest.
    #[arg(last = true)]
    rest: Vec<String>,
}

/// pytest of an environment over folders or files of tests, with `path` behind the environment's programs and `site`, if there is
/// one, in front of its packages.
pub(super) fn over(
    tests: &[&str],
    selection: &Selection,
    venv: &Venv,
    path: &OsString,
    site: Option<&Path>,
) -> Cmd {
    let python_path = site.into_iter().map(Path::to_owned).chain([workspace::root().join(PLUGINS)]);
    let python_path = env::join_paths(python_path).expect("no colon in the path of a checkout");
    let keyword = selection.keyword.iter().flat_map(|expression| ["-k", expression]);
    venv.run_with_path("python", path)
        // Plugins that the environment happens to hold are not ours, nor are the user's options.
        .env("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        .env("PYTHONPATH", python_path)
        .without("PYTEST_ADDOPTS")
        .args(["-m", "pytest", "-p", "said_skips", "-p", "no:cacheprovider", "--color", "no", "-ra"])
        .args(tests.iter().copied())
        .args(keyword)
        .args(&selection.rest)
}

/// Runs it, shows its output and counts.
pub(super) fn counted(cmd: Cmd, selection: &Selection, tally: &mut Tally) -> Result {
    let status = super::watched(cmd, Runner::Pytest, tally)?;
    // One folder of several may have nothing that matches; without a keyword that is a mistake of ours.
    let nothing_matched = status.code() == Some(NO_TESTS) && selection.keyword.is_some();
    if status.success() || nothing_matched { Ok(()) } else { Err(child::outcome(status).into()) }
}
