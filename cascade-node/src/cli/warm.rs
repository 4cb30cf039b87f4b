//! `warm`: what was stored last comes into memory before anybody asks.

use super::follow::follow;
use super::output::Format;
use super::reach::Node;
use super::{Context, Exit, Failure, Run};
use crate::config::Bytes;

/// Bring what was stored last into free memory, before anybody asks
///
/// Evicts nothing, and lets those go first who wait for something. Not needed for a warm start, only for a faster one:
/// what is stored is found in any case.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cascade-node warm                                   as much as fits
  cascade-node warm 64GiB
")]
pub(super) struct Args {
    /// How much, as 64GiB [default: what fits into free memory]
    #[arg(value_name = "SIZE")]
    size: Option<Bytes>,
    #[command(flatten)]
    format: Format,
}

impl Run for Args {
    fn run(self, context: &Context) -> Result<Exit, Failure> {
        let bytes = self.size.map_or(u64::MAX, |size| size.0);
        follow(&Node::of(context)?, &format!("warm {bytes}"), "warmed", self.format)
    }
}
