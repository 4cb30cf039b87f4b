//! `persist`: what only memory has is written to the file system, and synced.

use super::follow::follow;
use super::output::Format;
use super::reach::Node;
use super::{Context, Exit, Failure, Run};

/// Write all that only memory has to the file system, and sync it
///
/// Everything that was put before is there after a crash of the node or of its machine once this has ended with 0. The
/// node serves on meanwhile.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cascade-node persist
  cascade-node persist --json | jq .bytes
")]
pub(super) struct Args {
    #[command(flatten)]
    format: Format,
}

impl Run for Args {
    fn run(self, context: &Context) -> Result<Exit, Failure> {
        follow(&Node::of(context)?, "persist", "persisted", self.format)
    }
}
