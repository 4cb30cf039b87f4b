//! `cargo xtask demo`: see it work on this machine, from sources to a table, with every byte checked.
//!
//! stdout is the bench's alone; with `--json` it is one object.

use std::fs;
use std::path::PathBuf;

use crate::dist;
use crate::failure::{Context, Result};
use crate::node::Node;
use crate::process::Cmd;
use crate::workspace::Metadata;

const PROFILE: &str = "laptop";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// A trace to replay, one JSON object a line; multi-turn chats are generated when none is given.
    #[arg(long)]
    trace: Option<PathBuf>,

    /// Print the result as one JSON object.
    #[arg(long)]
    json: bool,

    /// For how long to replay, at most.
    #[arg(long, default_value_t = 45)]
    seconds: u32,
}

pub(crate) fn run(args: &Args) -> Result {
    let folder = Metadata::read()?.target_directory.join("xtask/demo");
    fs::create_dir_all(&folder).context(folder.display())?;
    // The verbs run in the workspace root; the trace was named from where the user stands.
    let trace = args.trace.as_ref().map(|trace| trace.canonicalize().context(trace.display())).transpose()?;
    eprintln!("1/3 building the node, the shared-memory tier and the bench");
    let dist = dist::build(PROFILE, &folder)?;
    // An instance of our own: a demo never meets a node that is at work.
    let instance = format!("demo-{}", std::process::id());
    eprintln!("2/3 starting a node");
    let node = Node::start(&dist, PROFILE, &instance, &folder)?;
    eprintln!("3/3 replaying: every byte that comes back is compared");
    let replayed = replay(&dist, &instance, trace, args).run();
    // Stopped whatever became of the replay, whose failure is the one to tell.
    let stopped = node.stop();
    replayed.and(stopped)
}

fn replay(dist: &dist::Dist, instance: &str, trace: Option<PathBuf>, args: &Args) -> Cmd {
    let bench = Cmd::new(dist.program("cascade-bench")).without("CASCADE_SOCKET").args([
        "replay",
        "--instance",
        instance,
    ]);
    let bench = match trace {
        Some(trace) => bench.arg("--trace").arg(trace),
        None => bench.args(["--generate", "chat"]),
    };
    let bench = bench.args([
        "--clients".to_owned(),
        "2".to_owned(),
        "--seconds".to_owned(),
        args.seconds.to_string(),
    ]);
    if args.json { bench.arg("--json") } else { bench }
}
