//! `cargo xtask test`: the tests of the workspace, then those of the wheel; `test engines`: a real vLLM serves.
//!
//! One file a suite. Whatever the suite, the run ends in one line of counts, skips are settled, and nothing is ignored.

use std::process::ExitStatus;

use crate::child;
use crate::failure::{self, Result};
use crate::lines::Stream;
use crate::process::Cmd;
use crate::skips;
use crate::tally::{Runner, Tally};

mod engines;
mod pytest;
mod python;
mod workspace;

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_precedence_over_arg = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    suite: Option<Suite>,

    /// Run only the workspace's tests whose name contains this.
    filter: Option<String>,
}

#[derive(clap::Subcommand)]
enum Suite {
    /// The Python client alone: the wheel, in a clean environment without Rust.
    Python(pytest::Selection),
    /// A real vLLM on the CPU with real HTTP requests, tokens compared.
    Engines(engines::Args),
}

/// Runs the suite named; without one, all that needs no engine.
pub(crate) fn run(args: &Args) -> Result {
    let mut tally = Tally::default();
    let mut outcomes = Vec::new();
    match &args.suite {
        Some(Suite::Python(only)) => outcomes.push(("python", python::run(only, &mut tally))),
        Some(Suite::Engines(only)) => outcomes.extend(engines::run(only, &mut tally)),
        None => {
            outcomes.extend(workspace::run(args.filter.as_deref(), &mut tally));
            if args.filter.is_none() {
                outcomes.push(("python", python::run(&pytest::Selection::default(), &mut tally)));
            }
        }
    }
    outcomes.push(("skips", skips::settle(&tally.skips)));
    println!("{}", tally.line());
    failure::all(outcomes)
}

/// Runs a test command of the workspace, shows its output and counts.
fn counted(cmd: Cmd, runner: Runner, tally: &mut Tally) -> Result {
    let status = watched(cmd, runner, tally)?;
    if status.success() { Ok(()) } else { Err(child::outcome(status).into()) }
}

/// How a test command exits whose output is shown and counted.
fn watched(cmd: Cmd, runner: Runner, tally: &mut Tally) -> Result<ExitStatus> {
    cmd.watch(|stream, line| {
        tally.note(runner, line);
        match stream {
            Stream::Out => println!("{line}"),
            Stream::Err => eprintln!("{line}"),
        }
    })
}
