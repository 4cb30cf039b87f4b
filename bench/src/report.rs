//! Reports for people: tables, one screen wide.

use crate::dry_run::{BELADY, DryRun};
use crate::replay::Replayed;
use serde_json::{Map, Value};
use std::fmt::Write;

/// A dry run as a table: a row a policy, a column a capacity, Belady's bound last.
pub(crate) fn dry_run_table(run: &DryRun) -> String {
    let mut text = format!(
        "{}: {} requests, {} distinct blocks, {} block references; unbounded {:.2} %\n\nblock hit ratio, %",
        run.trace,
        run.requests,
        run.distinct_blocks,
        run.references,
        run.unbounded_hit_ratio * 100.0
    );
    let mut row = |name: &str, cells: [String; 5]| {
        // Writing to a String cannot fail.
        let _ = write!(text, "\n{name:<10}");
        cells.iter().for_each(|cell| _ = write!(text, "{cell:>10}"));
    };
    row("cache", run.shares_percent.map(|share| format!("{share} %")));
    row("blocks", run.capacities.map(|blocks| blocks.to_string()));
    let percent = |ratios: &[f64; 5]| ratios.map(|ratio| format!("{:.2}", ratio * 100.0));
    for (name, ratios) in run.policies.iter().filter(|(name, _)| *name != BELADY) {
        row(name, percent(ratios));
    }
    if let Some(ratios) = run.policies.get(BELADY) {
        row(BELADY, percent(ratios));
    }
    text.push('\n');
    text
}

/// A replay as a table.
pub(crate) fn replay_table(run: &Replayed) -> String {
    let mut text = format!(
        "{}: {} of {} requests in {:.1} s by {} client processes, blocks of {} KiB, {} at {} blocks\n\n",
        run.trace,
        run.requests,
        run.requests_total,
        run.wall_s,
        run.clients,
        run.piece_bytes >> 10,
        run.policy,
        run.capacity_blocks
    );
    let mut row = |name: &str, value: String| _ = writeln!(text, "{name:<24}{value}");
    let percent = |ratio: f64| format!("{:.2} %", ratio * 100.0);
    let dry_run = percent(run.dry_run_block_hit_ratio);
    row("blocks that hit", format!("{}  (dry run {dry_run})", percent(run.block_hit_ratio)));
    row("tokens that hit", percent(run.token_hit_ratio));
    row("out", format!("{:.2} GB/s  ({:.1} GB)", run.get_gbps, run.bytes_out as f64 / 1e9));
    row("in", format!("{:.2} GB/s  ({:.1} GB)", run.put_gbps, run.bytes_in as f64 / 1e9));
    let calls = [
        ("match", run.match_p50_ns, run.match_p99_ns),
        ("get", run.get_p50_ns, run.get_p99_ns),
        ("put", run.put_p50_ns, run.put_p99_ns),
        ("publish", run.publish_p50_ns, run.publish_p99_ns),
    ];
    for (name, p50_ns, p99_ns) in calls {
        let us = |ns: u64| ns as f64 / 1e3;
        row(name, format!("{:.1} µs p50, {:.1} µs p99", us(p50_ns), us(p99_ns)));
    }
    row("evicted blocks", run.evicted_blocks.to_string());
    row("refused puts", run.puts_refused.to_string());
    row("corrupt pieces", run.corrupt_pieces.to_string());
    row("wrong bytes", run.wrong_bytes.to_string());
    text
}

/// Local figures as a table: a row a figure, a ratio with its spread.
pub(crate) fn local_table(figures: &Map<String, Value>) -> String {
    let mut text = String::new();
    for (name, value) in figures.iter().filter(|(name, _)| !name.ends_with("_spread")) {
        let shown = match value.as_f64() {
            Some(number) if value.is_f64() => format!("{number:.3}"),
            Some(number) => number.to_string(),
            None => value.to_string(),
        };
        let spread = figures.get(&format!("{name}_spread")).and_then(Value::as_array);
        let spread =
            spread.map(|ends| ends.iter().filter_map(Value::as_f64).map(|end| format!("{end:.3}")).collect());
        let spread = spread.map_or(String::new(), |ends: Vec<_>| format!("  ({})", ends.join(" .. ")));
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:<32}{shown}{spread}");
    }
    text
}
