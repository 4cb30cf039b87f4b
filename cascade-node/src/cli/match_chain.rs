//! `match`: how many leading blocks of a chain are there.

use cascade_client::{BlockKey, Share};

use super::output::Format;
use super::{Context, Exit, Failure, Run, output, reach};

/// Count the leading blocks of a chain that are there
///
/// Counts as a use of them, as a match of an engine does. Ends with 3 if not even the first one is there.
#[derive(Debug, clap::Args)]
#[command(name = "match", after_help = "\
Examples:
  cascade-node match @first @second @third
  cascade-node match --json 5a1c… 77d0…
")]
pub(super) struct Args {
    /// Block keys, root first: 64 hexadecimal digits each, or @NAME
    #[arg(value_name = "KEY", required = true, value_parser = reach::key)]
    keys: Vec<BlockKey>,

    /// Tensor-parallel ranks whose pieces must all be there
    #[arg(long, value_delimiter = ',', default_value = "0")]
    ranks: Vec<u16>,

    /// KV groups whose pieces must all be there
    #[arg(long, value_delimiter = ',', default_value = "0")]
    groups: Vec<u16>,

    #[command(flatten)]
    format: Format,
}

impl Run for Args {
    fn run(self, context: &Context) -> Result<Exit, Failure> {
        let client = reach::client(context)?;
        let shares: Vec<Share> = self
            .ranks
            .iter()
            .flat_map(|&rank| self.groups.iter().map(move |&group| Share { rank, group }))
            .collect();
        let blocks = client.match_chain(&self.keys, &shares)?;
        if self.format.json {
            output::json(&serde_json::json!({ "matched_blocks": blocks, "blocks": self.keys.len() }))?;
        } else {
            output::text(&format!("{blocks} of {} blocks\n", self.keys.len()))?;
        }
        Ok(if blocks == 0 { Exit::Miss } else { Exit::Done })
    }
}
