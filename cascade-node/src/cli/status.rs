//! `status`: what the node holds and how it is.

use serde_json::Value;

use super::output::Format;
use super::{Context, Exit, Failure, Run, output, reach};
use crate::config::Bytes;

/// Show what the node holds: memory, blocks, clients, counters
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cascade-node status
  cascade-node status --json | jq .counters
")]
pub(super) struct Args {
    #[command(flatten)]
    format: Format,
}

impl Run for Args {
    fn run(self, context: &Context) -> Result<Exit, Failure> {
        let status = reach::ask(context, "status")?;
        if self.format.json {
            output::json(&status)?;
        } else {
            output::text(&page(&status))?;
        }
        Ok(Exit::Done)
    }
}

/// The state for people.
fn page(status: &Value) -> String {
    let number = |pointer: &str| status.pointer(pointer).and_then(Value::as_u64).unwrap_or(0);
    let text = |pointer: &str| status.pointer(pointer).and_then(Value::as_str).unwrap_or("?").to_owned();
    let bytes = |pointer: &str| Bytes(number(pointer) >> 20 << 20).to_string();
    let attached = status.pointer("/clients").and_then(Value::as_array).map_or(0, Vec::len);
    let adopted = if status.pointer("/adopted") == Some(&Value::Bool(true)) { ", adopted" } else { "" };
    let uptime_s = status.pointer("/uptime_s").and_then(Value::as_f64).unwrap_or(0.0);
    let in_use = number("/backed_bytes").saturating_sub(number("/free_bytes"));
    let rows = [
        ("node", format!("{} (pid {}, up {uptime_s:.0} s{adopted})", text("/instance"), number("/pid"))),
        ("socket", text("/socket")),
        (
            "memory",
            format!(
                "{} in use of {} backed, {} at most",
                Bytes(in_use >> 20 << 20),
                bytes("/backed_bytes"),
                bytes("/capacity_bytes")
            ),
        ),
        ("content", format!("{} blocks, {} pieces", number("/blocks"), number("/pieces"))),
        ("policy", text("/policy")),
        ("clients", attached.to_string()),
        (
            "puts",
            format!(
                "{} fresh, {} duplicate, {} refused",
                number("/counters/puts_fresh"),
                number("/counters/puts_duplicate"),
                number("/counters/puts_refused")
            ),
        ),
        ("reads", reads(status)),
        (
            "evictions",
            format!(
                "{} blocks evicted, {} of them lost to all tiers, {} dropped",
                number("/counters/evicted_blocks"),
                number("/counters/evicted_undemoted_blocks"),
                number("/counters/dropped_blocks")
            ),
        ),
        ("corrupt", number("/counters/corrupt_pieces").to_string()),
    ];
    let rows = rows.into_iter().chain(lower_tiers(status));
    rows.map(|(name, value)| format!("{name:10}{value}\n")).collect()
}

/// A row for each tier below memory.
fn lower_tiers(status: &Value) -> impl Iterator<Item = (&str, String)> {
    let tiers = status.pointer("/tiers").and_then(Value::as_object).into_iter().flatten();
    tiers.filter(|(_, tier)| tier.get("state").is_some()).map(|(name, tier)| {
        let number = |name: &str| tier.get(name).and_then(Value::as_u64).unwrap_or(0);
        let state = tier.get("state").and_then(Value::as_str).unwrap_or("?").replace('_', " ");
        let content = format!("{} pieces, {}", number("pieces"), Bytes(number("bytes")).rounded());
        let moving = format!("{} going down, {} coming up", number("demoting"), number("promoting"));
        (name.as_str(), format!("{state}: {content}; {moving}"))
    })
}

/// Hits and misses of all clients.
fn reads(status: &Value) -> String {
    let traffic = status.pointer("/traffic").and_then(Value::as_object);
    let count = |wanted: fn(&str) -> bool| {
        let counts = traffic.into_iter().flatten().filter(|(name, _)| wanted(name));
        counts.filter_map(|(_, count)| count.as_u64()).sum::<u64>()
    };
    let (hits, misses) = (count(|name| name == "hits"), count(|name| name.starts_with("misses_")));
    format!("{hits} hits, {misses} misses")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_its_fields_still_makes_a_page() {
        assert!(page(&Value::Null).contains("memory"));
    }

    #[test]
    fn a_lower_tier_has_a_row_with_its_state() {
        let tier = serde_json::json!({ "state": "read_only", "pieces": 3, "bytes": 3 << 20, "demoting": 1 });
        let page = page(&serde_json::json!({ "tiers": { "shm": {}, "lustre": tier } }));
        assert!(page.contains("lustre    read only: 3 pieces, 3 MiB; 1 going down, 0 coming up\n"), "{page}");
    }
}
