//! Load generators, trace replay, reports.
//!
//! One command line for every measurement: `replay` runs a trace. Nothing here is linked into the node.

mod belady;
mod cache;
mod cli;
mod dry_run;
mod generate;
mod random;
mod report;
mod trace;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run(cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cascade-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
