//! `stat`: where the copies of one block's pieces lie.

use cascade_client::BlockKey;
use serde_json::Value;

use super::output::Format;
use super::{Context, Exit, Failure, Run, output, reach};

/// Show where the pieces of a block lie, in memory and below
///
/// Asks the node; does not count as a use of the block. Ends with 3 if the block is nowhere.
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
        return format!("{key} is nowhere\n");
    }
    let mut out = format!("{key}\n");
    for piece in pieces {
        out += &format!("  rank {} group {}:", number(piece, "/rank"), number(piece, "/group"));
        if piece["memory"].is_object() {
            out += &format!(
                " {} in arena {} slot {} generation {}",
                of(piece, "/memory"),
                number(piece, "/memory/arena"),
                number(piece, "/memory/slot"),
                number(piece, "/memory/generation"),
            );
        }
        if piece["stored"].is_object() {
            let and = if piece["memory"].is_object() { "; and" } else { "" };
            let tier = piece["stored"]["tier"].as_str().unwrap_or("a lower tier");
            out += &format!("{and} {} in {tier}", of(piece, "/stored"));
        }
        out += match piece["on_its_way"].as_str() {
            Some("down") => ", being written to a lower tier\n",
            Some("up") => ", being brought to memory\n",
            _ => "\n",
        };
    }
    out
}

/// What a copy is of.
fn of(piece: &Value, copy: &str) -> String {
    let number = |name: &str| number(piece, &format!("{copy}/{name}"));
    let (len_bytes, depth, checksum) = (number("len_bytes"), number("depth"), number("checksum"));
    format!("{len_bytes} bytes, depth {depth}, checksum {checksum:08x},")
}

fn number(piece: &Value, pointer: &str) -> u64 {
    piece.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_copy_is_told_with_its_place() {
        let copy = json!({ "len_bytes": 5, "checksum": 255, "depth": 2, "arena": 1, "slot": 7, "generation": 3,
            "tier": "lustre" });
        let piece = |memory: bool, stored: bool, way: Value| {
            let there = |is_there: bool| if is_there { copy.clone() } else { Value::Null };
            json!({ "rank": 0, "group": 1, "memory": there(memory), "stored": there(stored), "on_its_way": way })
        };
        let bytes = "5 bytes, depth 2, checksum 000000ff,";
        let told = |piece| table(&BlockKey::ROOT, &[piece]).lines().nth(1).expect("a line").to_owned();
        let in_memory = format!("  rank 0 group 1: {bytes} in arena 1 slot 7 generation 3");
        assert_eq!(told(piece(true, false, Value::Null)), in_memory);
        assert_eq!(told(piece(true, true, Value::Null)), format!("{in_memory}; and {bytes} in lustre"));
        let below = format!("  rank 0 group 1: {bytes} in lustre");
        assert_eq!(told(piece(false, true, "up".into())), format!("{below}, being brought to memory"));
        assert_eq!(
            told(piece(true, false, "down".into())),
            format!("{in_memory}, being written to a lower tier")
        );
        assert!(table(&BlockKey::ROOT, &[]).ends_with("is nowhere\n"));
    }
}
