//! `stat`: where the pieces of one block lie.

use cascade_client::BlockKey;
use serde_json::Value;

use super::output::Format;
use super::{Context, Exit, Failure, Run, output, reach};

/// Show where the pieces of a block lie
///
/// Asks the node; does not count as a use of the block. Ends with 3 if the block is not there.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cascade-node stat @greeting
  cascade-node stat 5a1c… --json
")]
pub(super) struct Args {
    /// Block key: 64 hexadecimal digits, or @NAME for the key that is made from a name
    #[arg(value_name = "KEY", value_parser = reach::key)]
    key: BlockKey,
    #[command(flatten)]
    format: Format,
}

impl Run for Args {
    fn run(self, context: &Context) -> Result<Exit, Failure> {
        let answer = reach::ask(context, &format!("stat {}", self.key))?;
        let pieces = answer.pointer("/pieces").and_then(Value::as_array).cloned().unwrap_or_default();
        if self.format.json {
            output::json(&answer)?;
        } else {
            output::text(&table(&self.key, &pieces))?;
        }
        Ok(if pieces.is_empty() { Exit::Miss } else { Exit::Done })
    }
}

fn table(key: &BlockKey, pieces: &[Value]) -> String {
    if pieces.is_empty() {
        return format!("{key} is not there\n");
    }
    let mut out = format!("{key}\n");
    for piece in pieces {
        let number = |name: &str| piece.get(name).and_then(Value::as_u64).unwrap_or(0);
        out += &format!(
            "  rank {} group {}: {} bytes in arena {} slot {} generation {}, depth {}, checksum {:08x}\n",
            number("rank"),
            number("group"),
            number("len_bytes"),
            number("arena"),
            number("slot"),
            number("generation"),
            number("depth"),
            number("checksum"),
        );
    }
    out
}
