//! `cargo xtask model`: the loom models of core, each explored over all interleavings within a bound on preemptions.

use std::time::Duration;

use crate::failure::Result;
use crate::process::Cmd;
use crate::workspace::Metadata;

/// The models are sized for five minutes together on two cores; the rest is their build.
const LIMIT: Duration = Duration::from_secs(10 * 60);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run only models whose name contains this.
    filter: Option<String>,

    /// Preemptions per interleaving: 2 finds nearly every race, each more costs an order of magnitude.
    #[arg(long, default_value_t = 3)]
    preemptions: u32,
}

pub(crate) fn run(args: &Args) -> Result {
    // A target folder of its own: the cfg is part of every crate's flags, and would rebuild all of them twice.
    let target = Metadata::read()?.target_directory.join("loom");
    // Release: exploring is all computation. A model hangs when it is wrong, so it has a limit.
    Cmd::cargo()
        .args(["test", "-p", "cascade-core", "--release", "--test", "loom*"])
        .args(&args.filter)
        .env("RUSTFLAGS", "--cfg loom")
        .env("CARGO_TARGET_DIR", target)
        .env_default("LOOM_MAX_PREEMPTIONS", &args.preemptions.to_string())
        .limit(LIMIT)
        .run()
}
