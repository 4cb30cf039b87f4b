//! Reports for people: tables, one screen wide.

use crate::dry_run::{BELADY, DryRun};
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
