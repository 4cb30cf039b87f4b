//! The command line: arguments in, one command run, its report printed.
//!
//! Reports go to standard output and nothing else does, so `--json` can be piped.

use crate::compare::{self, Mode, Programs, System};
use crate::generate::{ChatTraffic, generate_chat};
use crate::trace::Trace;
use crate::{dry_run, local, replay, report, size};
use cascade_core::place::DEFAULT_INSTANCE;
use cascade_core::policy;
use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum, value_parser};
use std::error::Error;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Load generators, trace replay and reports for Cascade.
#[derive(Debug, Parser)]
#[command(name = "cascade-bench", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Replay a trace of requests against a running node, every byte compared; or against the policies alone.
    Replay(ReplayArgs),

    /// Measure a node of its own: copies beside plain copies, single calls, lookups among up to 10⁷ pieces.
    Local(LocalArgs),

    /// Put blocks into Cascade and into other systems and get them again, every byte compared, beside plain copies and reads.
    Compare(CompareArgs),

    /// Make the table (Markdown) and the chart (SVG) of a kept `compare --json`, beside it.
    Report(ReportArgs),

    /// Serve requests of a replay, dealt by a parent process.
    #[command(hide = true)]
    ReplayClient(replay::ClientArgs),

    /// Copy for a parent process, when it says so.
    #[command(hide = true)]
    LocalClient(local::ClientArgs),
}

/// What is measured locally.
#[derive(Debug, Args)]
struct LocalArgs {
    /// The node to start [default: cascade-node beside this program]. It looks for its plugins as ever.
    #[arg(long, value_name = "PROGRAM")]
    node: Option<PathBuf>,

    /// Fewer rounds over less memory: to see that it works, not for figures.
    #[arg(long)]
    quick: bool,

    /// Print one JSON object in place of the table.
    #[arg(long)]
    json: bool,
}

/// Which systems are compared, and over what.
#[derive(Debug, Args)]
struct CompareArgs {
    /// Systems, separated by commas. One that is not here is shown as absent.
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "cascade,redis,hdf5,lmcache")]
    systems: Vec<System>,

    /// Where blocks are when they are got: in memory, or on the disk alone; one of them or both.
    #[arg(long, value_name = "MODES", value_delimiter = ',', default_value = "hot,cold")]
    mode: Vec<Mode>,

    /// Sizes of a block, separated by commas.
    #[arg(long, value_name = "SIZES", value_delimiter = ',', default_value = "2MiB,10MiB", value_parser = size::parse)]
    block_bytes: Vec<u64>,

    /// Bytes of all blocks of a size.
    #[arg(long, value_name = "SIZE", default_value = "512MiB", value_parser = size::parse)]
    total_bytes: u64,

    /// Rounds that count: each puts all blocks and gets them.
    #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = value_parser!(u16).range(1..))]
    rounds: u16,

    /// Where the disk is: cold blocks lie in a folder there [default: that for temporary files].
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,

    #[command(flatten)]
    programs: Programs,

    /// Print one JSON object in place of the table.
    #[arg(long)]
    json: bool,
}

/// What is reported.
#[derive(Debug, Args)]
struct ReportArgs {
    /// Kept outputs of `compare --json`.
    #[arg(required = true, value_name = "FILE")]
    kept: Vec<PathBuf>,
}

/// Where the traffic comes from and how it is replayed.
#[derive(Debug, Args)]
struct ReplayArgs {
    #[command(flatten)]
    source: Source,

    /// Replay the eviction policies alone, at 1, 5, 10, 25 and 50 % of the distinct blocks, beside Belady's bound.
    #[arg(long)]
    dry_run: bool,

    /// Policies to replay, separated by commas [default: all].
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        requires = "dry_run",
        value_parser = PossibleValuesParser::new(policy::NAMES)
    )]
    policies: Vec<String>,

    #[command(flatten)]
    live: LiveArgs,

    /// Print one JSON object in place of the table.
    #[arg(long)]
    json: bool,
}

/// How a running node is driven.
#[derive(Debug, Args)]
#[group(id = "live", conflicts_with = "dry_run", multiple = true)]
struct LiveArgs {
    /// The node's instance.
    #[arg(long, value_name = "NAME", default_value = DEFAULT_INSTANCE)]
    instance: String,

    /// Client processes.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = value_parser!(u16).range(1..=64))]
    clients: u16,

    /// Bytes of a block, as 64KiB [default: such that a tenth of the distinct blocks fits, from 4KiB to 256KiB].
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    piece_bytes: Option<u64>,

    /// Keep to the trace's timestamps, so many times faster [default: no pauses].
    #[arg(long, value_name = "FACTOR", value_parser = factor)]
    speed: Option<f64>,

    /// Begin no request after this many seconds.
    #[arg(long, value_name = "COUNT")]
    seconds: Option<u64>,
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

    /// Requests to generate, or to take from the front of the trace [default: 5000, or all].
    #[arg(long, value_name = "COUNT")]
    requests: Option<usize>,
}

/// Requests that are generated unless told otherwise.
const REQUESTS_GENERATED: usize = 5000;

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
            (Some(path), _) => {
                let mut trace = Trace::read(path)?;
                trace.requests.truncate(self.requests.unwrap_or(usize::MAX));
                Ok(trace)
            }
            (None, _) => Ok(generate_chat(&ChatTraffic {
                seed: self.seed,
                requests: self.requests.unwrap_or(REQUESTS_GENERATED),
                ..Default::default()
            })),
        }
    }

    /// The arguments that say the same to another process.
    pub(crate) fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = match &self.trace {
            Some(path) => vec!["--trace".into(), path.into()],
            None => vec!["--generate".into(), "chat".into(), "--seed".into(), self.seed.to_string().into()],
        };
        if let Some(requests) = self.requests {
            arguments.extend(["--requests".into(), requests.to_string().into()]);
        }
        arguments
    }
}

/// A factor above zero.
fn factor(text: &str) -> Result<f64, String> {
    let factor = text.parse().ok().filter(|factor: &f64| factor.is_finite() && *factor > 0.0);
    factor.ok_or_else(|| format!("{text:?} is no factor above 0"))
}

/// Runs the command that was asked for.
pub(crate) fn run(cli: Cli) -> Result<(), Box<dyn Error>> {
    match cli.command {
        Command::Replay(args) if args.dry_run => dry_run(&args),
        Command::Replay(args) => replay(&args),
        Command::ReplayClient(args) => replay::run_client(&args),
        Command::Local(args) => local(args),
        Command::LocalClient(args) => local::run_client(&args),
        Command::Compare(args) => compare(args),
        Command::Report(args) => report(&args),
    }
}

fn dry_run(args: &ReplayArgs) -> Result<(), Box<dyn Error>> {
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

fn replay(args: &ReplayArgs) -> Result<(), Box<dyn Error>> {
    let live = &args.live;
    let replayed = replay::run(&replay::Plan {
        source: &args.source,
        instance: &live.instance,
        clients: usize::from(live.clients),
        piece_bytes: live.piece_bytes,
        speed: live.speed,
        longest: live.seconds.map(Duration::from_secs),
    })?;
    if args.json {
        println!("{}", serde_json::to_string(&replayed)?);
    } else {
        print!("{}", report::replay_table(&replayed));
    }
    match replayed.wrong_bytes {
        0 => Ok(()),
        wrong => Err(format!("{wrong} bytes that came back are not those that were put").into()),
    }
}

fn local(args: LocalArgs) -> Result<(), Box<dyn Error>> {
    let figures = local::run(args.node, args.quick)?;
    if args.json {
        println!("{}", serde_json::to_string(&figures)?);
    } else {
        print!("{}", report::local_table(&figures));
    }
    Ok(())
}

fn compare(args: CompareArgs) -> Result<(), Box<dyn Error>> {
    let compared = compare::run(&compare::Plan {
        systems: &args.systems,
        modes: &args.mode,
        block_bytes: &args.block_bytes,
        total_bytes: args.total_bytes,
        rounds: usize::from(args.rounds),
        folder: &args.folder.unwrap_or_else(std::env::temp_dir),
        programs: &args.programs,
    })?;
    if args.json {
        println!("{}", serde_json::to_string(&compared)?);
    } else {
        print!("{}", compare::table(&compared));
    }
    Ok(compared.verdict()?)
}

fn report(args: &ReportArgs) -> Result<(), Box<dyn Error>> {
    for kept in &args.kept {
        compare::report(kept)?.iter().for_each(|path| println!("{}", path.display()));
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
        assert!(
            parse("cascade-bench replay --generate chat --clients 2 --piece-bytes 4KiB --seconds 9").is_ok()
        );
        assert!(parse("cascade-bench replay --dry-run").is_err());
        assert!(parse("cascade-bench replay --dry-run --generate chat --clients 2").is_err());
        assert!(parse("cascade-bench replay --dry-run --trace x.jsonl --generate chat").is_err());
    }

    #[test]
    fn what_a_source_tells_another_process_is_the_same_source() {
        for line in ["--trace x.jsonl --requests 7", "--generate chat --seed 3"] {
            let cli = parse(&format!("cascade-bench replay {line}")).expect("a source");
            let Command::Replay(args) = cli.command else { panic!("a replay") };
            assert_eq!(args.source.arguments().join(" ".as_ref()), line);
        }
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
