//! What namespaces say of themselves, read from a store. It was written by programs that nobody vouches for: bounded when it is
//! read, and shown without control characters.

use std::collections::{HashMap, VecDeque};

use cascade_client::BlockKey;
use cascade_tier::Record;
use serde_json::Value;

use super::Failure;
use super::store::{Access, Place};

/// So many are read at most.
pub(super) const COUNT_MAX: usize = 65_536;
/// A longer one is not read.
const BYTES_MAX: u64 = 64 << 10;

/// Reads descriptions, by root. What cannot be read is left out.
pub(super) fn read(
    place: &Place,
    mut records: VecDeque<Record>,
) -> Result<HashMap<BlockKey, Value>, Failure> {
    let mut read = HashMap::new();
    records.retain(|record| record.length_bytes <= BYTES_MAX);
    if records.is_empty() {
        return Ok(read);
    }
    let mut store = place.open(Access::ReadOnly)?;
    let mut take = |record: &Record, _, bytes: &[u8]| {
        if let Ok(description @ Value::Object(_)) = serde_json::from_slice(bytes) {
            read.insert(BlockKey::from_bytes(record.piece.key), description);
        }
    };
    while !records.is_empty() || store.under_way() > 0 {
        store.load(&mut records, &mut take)?;
        store.rest()?;
        store.landed(&mut take)?;
    }
    drop(store);
    Ok(read)
}

/// A description in one line, without what goes without saying.
pub(super) fn sentence(description: &Value) -> String {
    let text = |name: &str| {
        let value = description.get(name).and_then(Value::as_str).unwrap_or_default();
        value.chars().filter(|c| !c.is_control()).take(200).collect::<String>()
    };
    let number = |name: &str| description.get(name).and_then(Value::as_u64).unwrap_or(0);
    let mut parts = vec![text("model"), text("revision"), text("dtype")];
    parts.push(match number("block_tokens") {
        0 => String::new(),
        tokens => format!("{tokens} tokens a block"),
    });
    for (name, said) in [("tensor_parallel", "tensor parallel"), ("pipeline_parallel", "pipeline parallel")] {
        parts.push(if number(name) > 1 { format!("{said} {}", number(name)) } else { String::new() });
    }
    for name in ["lora", "tenant"] {
        let value = text(name);
        parts.push(if value.is_empty() { value } else { format!("{name} {value}") });
    }
    parts.retain(|part| !part.is_empty());
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_one_line_that_no_terminal_takes_for_commands() {
        let described = serde_json::json!({
            "model": "org/model\u{1b}[2J", "dtype": "bfloat16", "block_tokens": 16, "tensor_parallel": 4,
            "pipeline_parallel": 1, "lora": "", "tenant": "alice\n",
        });
        let line = "org/model[2J, bfloat16, 16 tokens a block, tensor parallel 4, tenant alice";
        assert_eq!(sentence(&described), line);
        assert_eq!(sentence(&serde_json::json!({ "model": 7 })), "");
    }
}
