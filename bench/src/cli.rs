//! The command line: arguments in, one command run, its report printed.
//!
//! Reports go to standard output and nothing else does, so `--json` can be piped.

use crate::generate::{ChatTraffic, generate_chat};
use crate::trace::Trace;
use crate::{dry_run, report};
use cascade_core::policy;
use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::error::Error;
use std::path::PathBuf;

/// Load generators, trace replay and reports for Cascade.
#[derive(Debug, Parser)]
#[command(name = "cascade-bench", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Replay a trace of requests.
    Replay(ReplayArgs),
}

/// Where the traffic comes from and how it is replayed.
#[derive(Debug, Args)]
struct ReplayArgs {
    #[command(flatten)]
    source: Source,

    /// Replay the eviction policies alone, at 1, 5, 10, 25 and 50 % of the distinct blocks, beside Belady's bound.
    #[arg(long, required = true)]
    dry_run: bool,

    /// Policies to replay, separated by commas [default: all].
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = PossibleValuesParser::new(policy::NAMES))]
    policies: Vec<String>,

    /// Print one JSON object in place of the table.
    #[arg(long)]
    json: bool,
}

/// A trace file or generated traffic.
#[derive(Debug, Args)]
pub(crate) struct Source {
    /// Trace to replay: a JSON object a line with timestamp (ms), input_length, output_length and hash_ids.
    #[arg(long, value_name = "FILE", required_unless_present = "generate")]
    trace: Option<PathBuf>,

    /// Generate the traffic in place of reading it.
    #[arg(long, value_name = "KIND", conflicts_with = "trace")]
    generate: Option<Kind>,

    /// Seed of the generated traffic: the same seed gives the same requests.
    #[arg(long, default_value_t = 1, conflicts_with = "trace")]
    seed: u64,

    /// Requests to generate.
    #[arg(long, value_name = "COUNT", default_value_t = 5000, conflicts_with = "trace")]
    requests: usize,
}

/// What can be generated.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// Multi-turn sessions that share system prompts.
    Chat,
}

impl Source {
    /// Reads or generates the requests.
    pub(crate) fn trace(&self) -> Result<Trace, Box<dyn Error>> {
        match (&self.trace, self.generate) {
            (Some(path), _) => Ok(Trace::read(path)?),
            (None, _) => Ok(generate_chat(&ChatTraffic {
                seed: self.seed,
                requests: self.requests,
                ..Default::default()
            })),
        }
    }
}

/// Runs the command that was asked for.
pub(crate) fn run(cli: Cli) -> Result<(), Box<dyn Error>> {
    match cli.command {
        Command::Replay(args) => replay(&args),
    }
}

fn replay(args: &ReplayArgs) -> Result<(), Box<dyn Error>> {
    let trace = args.source.trace()?;
    let mut names = args.policies.iter().map(String::as_str).collect::<Vec<_>>();
    if names.is_empty() {
        names.extend(policy::NAMES);
    }
    let result = dry_run::run(&trace, &names);
    if args.json {
        println!("{}", serde_json::to_string(&result)?);
    } else {
        print!("{}", report::dry_run_table(&result));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_source_is_needed_and_one_is_enough() {
        assert!(parse("cascade-bench replay --dry-run --trace x.jsonl").is_ok());
        assert!(parse("cascade-bench replay --dry-run --generate chat --seed 3 --json").is_ok());
        assert!(parse("cascade-bench replay --dry-run").is_err());
        assert!(parse("cascade-bench replay --dry-run --trace x.jsonl --generate chat").is_err());
    }

    #[test]
    fn an_unknown_policy_is_refused_with_the_known_ones() {
        let error =
            parse("cascade-bench replay --dry-run --generate chat --policies lru,lfu").expect_err("no lfu");
        for name in policy::NAMES {
            assert!(error.to_string().contains(name));
        }
    }
}
