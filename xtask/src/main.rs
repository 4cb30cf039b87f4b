//! `cargo xtask`: every verb that a developer or CI needs, one file each.
//!
//! Invariants: a verb says each command before it runs it; what a verb reports goes to stdout, everything else to
//! stderr, so that `--json` stays one object; a failed verb exits with 1 and names the step. No shell is involved.
//! This crate depends on none of Cascade's crates: a broken core must not take the tool away that checks it.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

mod bench;
mod check;
mod child;
mod demo;
mod dist;
mod failure;
mod fuzz;
mod lines;
mod model;
mod node;
mod peers;
mod process;
mod profile;
mod skips;
mod tally;
mod test;
mod tools;
mod venv;
mod wheel;
mod workspace;

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Every verb that a developer or CI needs.")]
#[command(after_help = EXAMPLES, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
}

const EXAMPLES: &str = "\
Examples:
  cargo xtask demo                    see it work: a node, two clients, every byte checked
  cargo xtask demo --trace FILE --json
  cargo xtask test                    before each commit
  cargo xtask test engines --short    a real vLLM on the CPU, every token compared
  cargo xtask check                   everything that CI checks; or one step of it:
  cargo xtask check clippy docs
  cargo xtask model                   the loom models of core
  cargo xtask fuzz canary --seconds 10
  cargo xtask bench local --keep      measure, and keep the raw output in bench/runs/
  cargo xtask bench compare --keep    beside Redis, HDF5 and LMCache; a table and a chart beside the output
  cargo xtask bench store --json      the file-system tier beside fio
  cargo xtask bench engines --json    a real vLLM with Cascade, beside vLLM alone and LMCache's server
  cargo xtask dist laptop             node, plugins and configuration in one folder
  cargo xtask dist wheel              the Python wheel, with the node inside";

#[derive(Subcommand)]
enum Verb {
    /// Build, start a node, replay a trace against it with every byte checked, stop, leave nothing behind.
    Demo(demo::Args),
    /// Run every test that needs no GPU, MPI or engine; or one suite: `python`, `engines`.
    Test(test::Args),
    /// Formatting, lints, docs, licences, no_std and aarch64 builds, miri, dependency rules.
    Check(check::Args),
    /// Explore the loom models of core: all interleavings, within a bound on preemptions.
    Model(model::Args),
    /// Run the fuzz targets for a while.
    Fuzz(fuzz::Args),
    /// Measure this machine; `local` is the suite behind the figures that we promise.
    Bench(bench::Args),
    /// Put the node, the plugins that a profile names and its configuration into one folder; or make the Python wheel.
    Dist(dist::Args),
}

fn main() -> ExitCode {
    if !cfg!(target_os = "linux") {
        eprintln!(
            "Cascade runs on Linux only (x86-64 and aarch64). Use a Linux machine, a VM or a container."
        );
        return ExitCode::FAILURE;
    }
    let Some(verb) = Cli::parse().verb else {
        // Without a verb the help is the answer, not an error.
        return match Cli::command().print_help() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    };
    let outcome = match verb {
        Verb::Demo(args) => demo::run(&args),
        Verb::Test(args) => test::run(&args),
        Verb::Check(args) => check::run(&args),
        Verb::Model(args) => model::run(&args),
        Verb::Fuzz(args) => fuzz::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Dist(args) => dist::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_has_one_line_of_help_and_an_example() {
        for verb in Cli::command().get_subcommands() {
            let about = verb.get_about().expect("help").to_string();
            assert!(!about.is_empty() && !about.contains('\n'), "{}: {about:?}", verb.get_name());
            assert!(EXAMPLES.contains(&format!("cargo xtask {}", verb.get_name())), "{}", verb.get_name());
        }
    }
}
