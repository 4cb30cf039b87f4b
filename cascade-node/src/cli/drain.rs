//! `drain`: the node admits nothing new, and saves what it has, most useful first.

use super::age::Age;
use super::follow::follow;
use super::output::Format;
use super::reach::Node;
use super::{Context, Exit, Failure, Run};

/// Save what only memory has before the node ends, most useful first
///
/// From now on the node admits nothing new, though it serves what it has; that stays so until it is started again. A
/// node drains by itself before the end of its Slurm job and when it is stopped: see [flow] in the configuration. Ends
/// with 1 if the time was not enough for all.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cascade-node drain                                  for as long as flow.drain_s says
  cascade-node drain 5min
")]
pub(super) struct Args {
    /// How long it may take, as 90s or 5min [default: flow.drain_s of the configuration]
    #[arg(value_name = "TIME")]
    time: Option<Age>,
    #[command(flatten)]
    format: Format,
}

impl Run for Args {
    fn run(self, context: &Context) -> Result<Exit, Failure> {
        let seconds = match self.time {
            Some(Age(seconds)) => seconds,
            None => context.configuration()?.config.flow.drain_s,
        };
        follow(&Node::of(context)?, &format!("drain {seconds}"), "saved", self.format)
    }
}
