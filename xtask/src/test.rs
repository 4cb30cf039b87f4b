//! `cargo xtask test`: every test that needs no GPU, MPI or engine, and what they came to in one line.
//!
//! Runs under cargo-nextest where it is installed, else under `cargo test`; nothing is installed for it. Both ways the
//! same tests run, and doc tests after them. Ignored tests are refused: a test that cannot run here says SKIPPED.

use std::time::Duration;

use crate::child;
use crate::failure::{self, Result};
use crate::lines::Stream;
use crate::process::Cmd;
use crate::skips;
use crate::tally::{Runner, Tally};

/// Far above what the tests take (10 minutes with the build, on two cores): it ends what hangs.
const LIMIT: Duration = Duration::from_secs(25 * 60);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run only tests whose name contains this.
    filter: Option<String>,
}

/// Builds what the tests start as processes, runs the tests, settles the skips.
pub(crate) fn run(args: &Args) -> Result {
    // The whole workspace, as the tests build it: other selections resolve other features and build everything twice.
    // It leaves the node, the bench and the tiers' cdylibs in the target folder, where tests find them.
    Cmd::cargo().args(["build", "--workspace"]).run()?;
    let mut tally = Tally::default();
    let outcomes = [("tests", tests(args, &mut tally)), ("doc tests", doc_tests(args, &mut tally))];
    let settled = skips::settle(&tally.skips);
    println!("{}", tally.line());
    failure::all(
        outcomes.into_iter().chain([("skips", settled), ("ignored tests", none_ignored(args, &tally))]),
    )
}

fn tests(args: &Args, tally: &mut Tally) -> Result {
    if Cmd::cargo().args(["nextest", "--version"]).succeeds() {
        let nextest = ["nextest", "run", "--workspace", "--no-fail-fast", "--color", "never"];
        // A passing test's output is shown because that is where it says SKIPPED.
        let shown = ["--success-output", "immediate", "--config-file", "xtask/nextest.toml"];
        counted(Cmd::cargo().args(nextest).args(shown).args(&args.filter), Runner::Nextest, tally)
    } else {
        let harness = ["test", "--workspace", "--lib", "--bins", "--tests", "--no-fail-fast"];
        let cmd = Cmd::cargo().args(harness).args(&args.filter);
        counted(cmd.args(["--", "--show-output", "--color", "never"]), Runner::Harness, tally)
    }
}

fn doc_tests(args: &Args, tally: &mut Tally) -> Result {
    let cmd = Cmd::cargo().args(["test", "--workspace", "--doc", "--no-fail-fast"]).args(&args.filter);
    counted(cmd.args(["--", "--color", "never"]), Runner::Harness, tally)
}

/// Runs a test command, shows its output and counts.
fn counted(cmd: Cmd, runner: Runner, tally: &mut Tally) -> Result {
    let status = cmd.limit(LIMIT).watch(|stream, line| {
        tally.note(runner, line);
        match stream {
            Stream::Out => println!("{line}"),
            Stream::Err => eprintln!("{line}"),
        }
    })?;
    if status.success() { Ok(()) } else { Err(child::outcome(status).into()) }
}

/// A filter leaves tests out, and nextest counts them like ignored ones; then there is nothing to tell.
fn none_ignored(args: &Args, tally: &Tally) -> Result {
    if tally.ignored == 0 || args.filter.is_some() {
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
        assert!(none_ignored(&Args { filter: None }, &tally).is_err());
        assert!(none_ignored(&Args { filter: Some("x".into()) }, &tally).is_ok());
    }
}
