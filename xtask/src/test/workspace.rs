//! The workspace's own tests: everything in Rust that needs no GPU or MPI.
//!
//! Runs under cargo-nextest where it is installed, else under `cargo test`; neither is installed for it. Both ways the
//! same tests run, and doc tests after them. Ignored tests are refused: a test that cannot run here says SKIPPED.

use std::time::Duration;

use super::counted;
use crate::failure::Result;
use crate::peers;
use crate::process::Cmd;
use crate::tally::{Runner, Tally};

/// Far above what the tests take (10 minutes with the build, on two cores): it ends what hangs.
const LIMIT: Duration = Duration::from_secs(25 * 60);

/// Builds what the tests start as processes, then runs the tests. Each part's outcome, by its name.
pub(super) fn run(filter: Option<&str>, tally: &mut Tally) -> Vec<(&'static str, Result)> {
    // The whole workspace, as the tests build it: other selections resolve other features and build everything twice.
    // It leaves the node, the bench and the tiers' cdylibs in the target folder, where tests find them.
    if let Err(failure) = Cmd::cargo().args(["build", "--workspace"]).run() {
        return vec![("build", Err(failure))];
    }
    let outcomes = vec![("tests", tests(filter, tally)), ("doc tests", doc_tests(filter, tally))];
    outcomes.into_iter().chain([("ignored tests", none_ignored(filter, tally))]).collect()
}

fn tests(filter: Option<&str>, tally: &mut Tally) -> Result {
    let cargo = with_peers(Cmd::cargo());
    if Cmd::cargo().args(["nextest", "--version"]).succeeds() {
        let nextest = ["nextest", "run", "--workspace", "--no-fail-fast", "--color", "never"];
        // A passing test's output is shown because that is where it says SKIPPED.
        let shown = ["--success-output", "immediate", "--config-file", "xtask/nextest.toml"];
        counted(cargo.args(nextest).args(shown).args(filter).limit(LIMIT), Runner::Nextest, tally)
    } else {
        let harness = ["test", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"];
        let cmd = cargo.args(harness).args(filter).limit(LIMIT);
        counted(cmd.args(["--", "--show-output", "--color", "never"]), Runner::Harness, tally)
    }
}

/// Brings along what the tests of the comparison run against. They say SKIPPED where it cannot be had.
fn with_peers(cargo: Cmd) -> Cmd {
    if let Err(why) = peers::redis() {
        eprintln!("no Redis: {why}");
    }
    match peers::hdf5() {
        Ok(python) => cargo.env("CASCADE_BENCH_PYTHON", python),
        Err(why) => {
            eprintln!("no HDF5: {why}");
            cargo
        }
    }
}

fn doc_tests(filter: Option<&str>, tally: &mut Tally) -> Result {
    let cmd = Cmd::cargo().args(["test", "--workspace", "--doc", "--no-fail-fast"]).args(filter).limit(LIMIT);
    counted(cmd.args(["--", "--color", "never"]), Runner::Harness, tally)
}

/// A filter leaves tests out, and nextest counts them like ignored ones; then there is nothing to tell.
fn none_ignored(filter: Option<&str>, tally: &Tally) -> Result {
    if tally.ignored == 0 || filter.is_some() {
        return Ok(());
    }
    Err(format!("{} ignored: print a line `SKIPPED <name>: <why>` and return instead", tally.ignored).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ignored_test_is_refused_unless_a_filter_left_it_out() {
        let tally = Tally { ignored: 1, ..Tally::default() };
        assert!(none_ignored(None, &tally).is_err());
        assert!(none_ignored(Some("x"), &tally).is_ok());
    }
}
