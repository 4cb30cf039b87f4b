//! Load generators, trace replay, reports.
//!
//! One command line for every measurement: `replay` runs a trace, against a node or against the policies alone;
//! `local` measures single calls and copies; `compare` puts Cascade beside other systems. Nothing here is linked into the node.

mod belady;
mod cache;
mod cli;
mod compare;
mod content;
mod cpu;
mod dry_run;
mod generate;
mod latency;
mod local;
mod node;
mod plain;
mod provenance;
mod random;
mod replay;
mod report;
mod signals;
mod size;
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
