//! `cargo xtask check`: what CI checks besides tests, each step by name.
//!
//! Every step runs, whatever became of those before it. A step that cannot run here says SKIPPED and why.

use std::time::Instant;

use clap::ValueEnum;

use crate::failure::{self, Result};
use crate::skips::{self, Skip};

mod deps;
mod layout;
mod steps;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The steps to run; all of them when none is named.
    #[arg(value_enum)]
    steps: Vec<Step>,
}

/// A step, in the order in which they run: what fails in seconds comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Step {
    /// The top level of the repository is what ARCHITECTURE.md draws.
    Layout,
    /// No crate depends on what it must not know.
    Deps,
    /// rustfmt has nothing to change.
    Fmt,
    /// Lints, with warnings denied.
    Clippy,
    /// The documentation builds without a warning.
    Docs,
    /// Licences, banned crates and sources of all dependencies.
    Deny,
    /// core builds for a target without an operating system.
    NoStd,
    /// core compiles for aarch64, its lints denied too.
    Aarch64,
    /// core's tests pass on aarch64, under qemu-user.
    Aarch64Tests,
    /// core's memory view has no undefined behaviour that miri finds.
    Miri,
}

/// What a step came to, when it did not fail.
#[must_use]
enum Done {
    Passed,
    Skipped(String),
}

/// Runs the steps named, or all.
pub(crate) fn run(args: &Args) -> Result {
    let steps = if args.steps.is_empty() { Step::value_variants() } else { &args.steps };
    let mut skipped = Vec::new();
    let mut outcomes = Vec::new();
    for step in steps {
        let value = step.to_possible_value().expect("no step is hidden");
        eprintln!("== check {}", value.get_name());
        let started = Instant::now();
        let outcome = step.run().map(|done| match done {
            Done::Passed => "passed",
            Done::Skipped(why) => {
                skipped.push(Skip { name: value.get_name().to_owned(), why });
                "SKIPPED"
            }
        });
        let word = outcome.as_ref().map_or("FAILED", |word| word);
        println!("{:<14} {word} in {:.1} s", value.get_name(), started.elapsed().as_secs_f64());
        outcomes.push((value, outcome.map(drop)));
    }
    let settled = skips::settle(&skipped);
    let outcomes =
        outcomes.iter_mut().map(|(value, outcome)| (value.get_name(), std::mem::replace(outcome, Ok(()))));
    failure::all(outcomes.chain([("skips", settled)]))
}

impl Step {
    fn run(self) -> Result<Done> {
        match self {
            Self::Layout => layout::check(),
            Self::Deps => deps::check(),
            Self::Fmt => steps::fmt(),
            Self::Clippy => steps::clippy(),
            Self::Docs => steps::docs(),
            Self::Deny => steps::deny(),
            Self::NoStd => steps::no_std(),
            Self::Aarch64 => steps::aarch64(),
            Self::Aarch64Tests => steps::aarch64_tests(),
            Self::Miri => steps::miri(),
        }
    }
}
