//! A comparison for people: Markdown that a terminal shows as well.

use super::row::{Figures, Row};
use super::systems::Mode;
use super::{Comparison, Left};
use std::collections::BTreeSet;
use std::fmt::Write;

const HEAD: [&str; 12] = [
    "system",
    "put GB/s",
    "of floor",
    "p50 µs",
    "p99 µs",
    "CPU s/GB",
    "get GB/s",
    "of floor",
    "p50 µs",
    "p99 µs",
    "CPU s/GB",
    "wrong bytes",
];

/// All of it: a table for each mode and size, then who took part, who did not, and what was refused.
pub(crate) fn table(run: &Comparison) -> String {
    let origin = &run.provenance;
    let job = origin.slurm_job_id.as_ref().map_or(String::new(), |id| format!(", SLURM job {id}"));
    let mut text = format!(
        "# Comparison, {}\n\nCommit {} on {} x {}, {}, run {}{job}.\nBlocks of {} MiB in all, cold ones in {}. \
         One client, one block at a time; GB are 10⁹ bytes; every byte that was got is compared. The speed of cold puts is \
         that at which they reach the disk.\n",
        origin.time,
        origin.commit,
        origin.host.cpus,
        origin.host.cpu_model,
        origin.host.kernel,
        origin.run_id,
        run.total_bytes >> 20,
        run.folder.display(),
    );
    for (mode, block_bytes) in panels(run) {
        let rows: Vec<&Row> = rows_of(run, mode, block_bytes).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "\n## {mode:?}, blocks of {} MiB\n", block_bytes >> 20);
        text.push_str(&aligned(&rows));
        let _ = writeln!(text, "\nFloor: {}.", floors(&rows));
    }
    text.push_str("\n## Who took part\n\n");
    let told: BTreeSet<String> = run.rows.iter().map(took_part).collect();
    told.iter().for_each(|line| _ = writeln!(text, "- {line}"));
    list(&mut text, "Absent", &run.absent);
    list(&mut text, "Refused: the driver failed, or its figures cannot be true", &run.refused);
    text
}

/// What there is to show, in order: each mode with each size.
pub(super) fn panels(run: &Comparison) -> Vec<(Mode, usize)> {
    let left = run.absent.iter().chain(&run.refused).map(|left| (left.mode, left.block_bytes));
    let mut panels: Vec<_> = run.rows.iter().map(|row| (row.mode, row.block_bytes)).chain(left).collect();
    panels.sort_by_key(|&(mode, block_bytes)| (mode == Mode::Cold, block_bytes));
    panels.dedup();
    panels
}

/// The rows of one table.
pub(super) fn rows_of(run: &Comparison, mode: Mode, block_bytes: usize) -> impl Iterator<Item = &Row> {
    run.rows.iter().filter(move |row| (row.mode, row.block_bytes) == (mode, block_bytes))
}

/// A system with the way that it keeps blocks.
pub(super) fn name(row: &Row) -> String {
    if row.variant.is_empty() { row.system.clone() } else { format!("{}, {}", row.system, row.variant) }
}

fn took_part(row: &Row) -> String {
    let identity = &row.identity;
    format!("{} {}: {} (`{}`)", name(row), identity.version, identity.setup, identity.path)
}

fn aligned(rows: &[&Row]) -> String {
    let cells = |figures: &Figures| {
        let Figures { gbps, floor_ratio, p50_us, p99_us, cpu_s_per_gb, .. } = figures;
        let rates = [format!("{gbps:.2}"), format!("{floor_ratio:.2}")];
        rates.into_iter().chain([
            format!("{p50_us:.0}"),
            format!("{p99_us:.0}"),
            format!("{cpu_s_per_gb:.3}"),
        ])
    };
    let lines = rows.iter().map(|row| {
        let cells = cells(&row.put).chain(cells(&row.get)).chain([row.wrong_bytes.to_string()]);
        [name(row)].into_iter().chain(cells).collect::<Vec<_>>()
    });
    let mut lines: Vec<Vec<String>> = [HEAD.map(str::to_owned).to_vec()].into_iter().chain(lines).collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    // Figures to the right, the system to the left.
    let rule = |(column, &width): (usize, &usize)| {
        if column == 0 { "-".repeat(width) } else { "-".repeat(width - 1) + ":" }
    };
    lines.insert(1, widths.iter().enumerate().map(rule).collect());
    let mut text = String::new();
    for line in lines {
        for (column, (cell, &width)) in line.iter().zip(&widths).enumerate() {
            let pad = " ".repeat(width - cell.chars().count());
            let _ =
                if column == 0 { write!(text, "| {cell}{pad} |") } else { write!(text, " {pad}{cell} |") };
        }
        text.push('\n');
    }
    text
}

/// The floors of a table's rows: each row's ratio is against its own, these tell the spread between rows.
fn floors(rows: &[&Row]) -> String {
    let span = |name: &str, values: Vec<f64>| {
        let (least, most) = values.iter().fold((f64::INFINITY, 0.0_f64), |(l, m), &v| (l.min(v), m.max(v)));
        let (least, most) = (format!("{least:.1}"), format!("{most:.1}"));
        let span = if least == most { least } else { format!("{least} to {most}") };
        (!values.is_empty()).then(|| format!("{name} {span} GB/s"))
    };
    let all = |of: fn(&Row) -> Option<f64>| rows.iter().filter_map(|row| of(row)).collect::<Vec<_>>();
    let spans = [
        span("memcpy", all(|row| Some(row.floor.memcpy_gbps))),
        span("non-temporal copy", all(|row| Some(row.floor.nontemporal_gbps))),
        span("O_DIRECT, eight writes at a time and a sync", all(|row| row.floor.disk_write_gbps)),
        span("O_DIRECT, one read at a time", all(|row| row.floor.disk_read_gbps)),
        span("eight at a time", all(|row| row.floor.disk_deep_read_gbps)),
    ];
    let spans: Vec<String> = spans.into_iter().flatten().collect();
    if spans.is_empty() { "none was taken, as there is no row".to_owned() } else { spans.join("; ") }
}

/// Rows that are not there, those for the same reason together.
fn list(text: &mut String, title: &str, left: &[Left]) {
    let mut grouped: Vec<(&Left, Vec<String>)> = Vec::new();
    for one in left {
        let size = format!("{} MiB", one.block_bytes >> 20);
        let alike = |other: &Left| {
            (&other.system, &other.variant, other.mode, &other.reason)
                == (&one.system, &one.variant, one.mode, &one.reason)
        };
        match grouped.iter_mut().find(|(other, _)| alike(other)) {
            Some((_, sizes)) => sizes.push(size),
            None => grouped.push((one, vec![size])),
        }
    }
    for (i, (left, sizes)) in grouped.iter().enumerate() {
        if i == 0 {
            let _ = writeln!(text, "\n## {title}\n");
        }
        let install =
            left.install.as_ref().map_or(String::new(), |install| format!(" To have it: {install}."));
        let reason = left.reason.trim_end_matches('.');
        let _ = writeln!(text, "- {}, blocks of {}: {reason}.{install}", left.name(), sizes.join(" and "));
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::compare::row::tests::row;
    use crate::provenance::{Host, Provenance};

    /// Two rows, one that is absent, one that was refused.
    pub(in crate::compare) fn comparison() -> Comparison {
        let host = Host {
            cpu_model: "AMD EPYC".into(),
            cpus: 2,
            memory_bytes: 24 << 30,
            kernel: "Linux 6.18 x86_64".into(),
        };
        let provenance = Provenance {
            version: "0.1.0".into(),
            run_id: "1764313200-77".into(),
            slurm_job_id: Some("4711".into()),
            time: "2025-11-28T07:00:00Z".into(),
            commit: "0123456789ab".into(),
            host,
        };
        let left = |system: &str, mode, reason: &str, install: Option<&str>| Left {
            system: system.into(),
            variant: String::new(),
            mode,
            block_bytes: 2 << 20,
            reason: reason.into(),
            install: install.map(str::to_owned),
        };
        Comparison {
            provenance,
            total_bytes: 16 << 20,
            folder: "/scratch".into(),
            rows: vec![row(Mode::Hot), row(Mode::Cold)],
            absent: vec![left("lmcache", Mode::Hot, "no module named lmcache", Some("pip install lmcache"))],
            refused: vec![left("hdf5", Mode::Cold, "7 of 8 gets succeeded", None)],
        }
    }

    #[test]
    fn the_table_names_origin_floors_the_absent_and_the_refused() {
        insta::assert_snapshot!(table(&comparison()));
    }

    #[test]
    fn a_comparison_is_read_back_as_it_was_written() {
        let json = serde_json::to_string(&comparison()).expect("it is data");
        let read: Comparison = serde_json::from_str(&json).expect("it was written here");
        assert_eq!(table(&read), table(&comparison()));
    }

    #[test]
    fn refused_rows_and_wrong_bytes_are_complaints_and_absences_are_none() {
        let mut run = comparison();
        let complaints = run.verdict().expect_err("a row was refused");
        assert_eq!(complaints, "NO ROW for hdf5, cold, blocks of 2 MiB: 7 of 8 gets succeeded");
        run.refused.clear();
        assert_eq!(run.verdict(), Ok(()));
        run.rows[0].wrong_bytes = 3;
        assert!(run.verdict().expect_err("wrong bytes").starts_with("WRONG BYTES from redis"));
    }
}
