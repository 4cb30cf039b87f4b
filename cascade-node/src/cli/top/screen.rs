//! How the page looks. It reads what the node tells and draws; what is not told is a dash.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Cell, Paragraph, Row, Sparkline, Table};
use serde_json::Value;

use super::history::History;
use crate::cli::age::Age;
use crate::config::Bytes;

/// Why reads missed: the node's word, and ours.
const MISSES: [(&str, &str); 7] = [
    ("absent", "nowhere"),
    ("expired", "not in time"),
    ("declined", "would be too late"),
    ("fenced", "tier given up"),
    ("corrupt", "bad checksum"),
    ("pin_budget", "too much pinned"),
    ("too_short", "target too short"),
];
/// What moves: its name, the counter of its bytes, and of how many.
const FLOWS: [(&str, &str); 4] = [
    ("read by clients", "/traffic/bytes_out"),
    ("put by clients", "/counters/put_bytes"),
    ("promoted", "/counters/promoted_bytes"),
    ("demoted", "/counters/demoted_bytes"),
];
const BAR_COLUMNS: usize = 20;
const DIM: Style = Style::new().add_modifier(Modifier::DIM);
const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);

/// Lines that the page takes.
pub(super) fn lines(history: &History) -> u16 {
    heights(history).iter().sum()
}

/// The last line of a page that stands: how to leave it, or why it is not up to date.
pub(super) fn last_line(trouble: Option<&str>) -> Line<'_> {
    match trouble {
        Some(trouble) => {
            let first = trouble.lines().next().unwrap_or_default();
            Line::styled(format!("not up to date: {first}"), Color::Red)
        }
        None => Line::styled("q ends", DIM),
    }
}

/// Draws the page, with a last line or none.
pub(super) fn draw(frame: &mut Frame<'_>, history: &History, last: Option<Line<'_>>) {
    let whole = frame.area();
    let last_height = u16::from(last.is_some()).min(whole.height);
    let page = Rect { height: whole.height - last_height, ..whole };
    let [header, tiers, flows, below] = areas(page, heights(history));
    let [misses, jobs] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(below);
    frame.render_widget(Paragraph::new(head(history)), header);
    draw_tiers(frame, history, tiers);
    draw_flows(frame, history, flows);
    draw_reads(frame, history, misses);
    draw_jobs(frame, history, jobs);
    if let Some(last) = last {
        frame.render_widget(last, Rect { y: page.bottom(), height: last_height, ..whole });
    }
}

/// Of the header, tiers, traffic, reads and jobs.
fn heights(history: &History) -> [u16; 4] {
    let tiers = 1 + lower_tiers(history).len() as u16;
    [1, tiers + 3, FLOWS.len() as u16 + 2, MISSES.len() as u16 + 4]
}

/// Cuts an area from the top, so that a small terminal lacks what is lowest.
fn areas(whole: Rect, heights: [u16; 4]) -> [Rect; 4] {
    let mut y = whole.y;
    heights.map(|height| {
        let area = Rect { y, height: height.min(whole.bottom() - y), ..whole };
        y = area.bottom();
        area
    })
}

fn titled(title: &str) -> Block<'_> {
    Block::bordered().border_style(DIM).title(Span::styled(format!(" {title} "), BOLD))
}

fn head(history: &History) -> Line<'static> {
    let node = history.latest();
    let uptime = node.status.pointer("/uptime_s").and_then(Value::as_f64).unwrap_or(0.0);
    let clients = node.status.pointer("/clients").and_then(Value::as_array).map_or(0, Vec::len);
    let rest = format!(
        "  pid {}  up {}  {clients} clients  {} blocks  policy {}  cascade-node {}",
        node.number("/pid").unwrap_or(0),
        Age(uptime as u64),
        number(node.number("/blocks")),
        node.text("/policy"),
        node.text("/version"),
    );
    let mut spans = vec![Span::styled(node.text("/instance").to_owned(), BOLD)];
    if node.status.pointer("/draining") == Some(&Value::Bool(true)) {
        spans.push(Span::styled("  draining", Color::Yellow));
    }
    spans.push(Span::raw(rest));
    Line::from(spans)
}

/// The names of the tiers below memory.
fn lower_tiers(history: &History) -> Vec<&str> {
    let tiers = history.latest().status.pointer("/tiers").and_then(Value::as_object);
    tiers
        .into_iter()
        .flat_map(|tiers| tiers.keys().map(String::as_str))
        .filter(|name| *name != "shm")
        .collect()
}

fn draw_tiers(frame: &mut Frame<'_>, history: &History, area: Rect) {
    let node = history.latest();
    let used = node
        .number("/backed_bytes")
        .zip(node.number("/free_bytes"))
        .map(|(backed, free)| backed.saturating_sub(free));
    let clean = node.number("/clean_bytes").filter(|_| !lower_tiers(history).is_empty());
    let state = match clean.zip(used) {
        Some((clean, used)) if used > 0 => format!("{} clean", percent(clean as f64 / used as f64)),
        _ => "working".to_owned(),
    };
    let mut rows =
        vec![tier("memory", &state, used, node.number("/capacity_bytes"), node.number("/pieces"), "")];
    for name in lower_tiers(history) {
        let at = |field: &str| node.number(&format!("/tiers/{name}/{field}"));
        let latency = format!("{} / {}", duration(at("read_latency_us")), duration(at("write_latency_us")));
        let used = at("stats/store/bytes").or(at("bytes"));
        let state = node.text(&format!("/tiers/{name}/state"));
        rows.push(tier(name, state, used, at("stats/capacity_bytes"), at("pieces"), &latency));
    }
    let widths = [
        Constraint::Length(8),
        Constraint::Length(12),
        Constraint::Length(BAR_COLUMNS as u16),
        Constraint::Length(21),
        Constraint::Length(12),
        Constraint::Fill(1),
    ];
    let titles = ["tier", "state", "", "used of capacity", "pieces", "latency read / write"];
    let table = Table::new(rows, widths).header(Row::new(titles).style(DIM)).block(titled("tiers"));
    frame.render_widget(table, area);
}

fn tier(
    name: &str,
    state: &str,
    used: Option<u64>,
    capacity: Option<u64>,
    pieces: Option<u64>,
    latency: &str,
) -> Row<'static> {
    let ratio = used.zip(capacity).map_or(0.0, |(used, capacity)| used as f64 / capacity.max(1) as f64);
    let colour = match state {
        "failed" | "fenced" => Color::Red,
        "read_only" | "listing" => Color::Yellow,
        _ => Color::Reset,
    };
    Row::new([
        Cell::from(Span::styled(name.to_owned(), BOLD)),
        Cell::from(Span::styled(state.replace('_', " "), colour)),
        Cell::from(bar(ratio)),
        Cell::from(format!("{} of {}", bytes(used), bytes(capacity))),
        Cell::from(number(pieces)),
        Cell::from(latency.to_owned()),
    ])
}

fn draw_flows(frame: &mut Frame<'_>, history: &History, area: Rect) {
    let block = titled("traffic");
    let inner = block.inner(area);
    frame.render_widget(block, area);
    for ((name, pointer), row) in FLOWS.iter().zip(inner.rows()) {
        let [label, now, total, line] = Layout::horizontal([
            Constraint::Length(17),
            Constraint::Length(14),
            Constraint::Length(18),
            Constraint::Fill(1),
        ])
        .areas(row);
        frame.render_widget(Line::styled(*name, BOLD), label);
        frame.render_widget(history.rate(pointer).map_or("-".to_owned(), speed), now);
        frame.render_widget(
            Line::styled(format!("{} in all", bytes(history.latest().number(pointer))), DIM),
            total,
        );
        let rates: Vec<u64> = history.rates(pointer).map(|rate| rate as u64).collect();
        let latest = &rates[rates.len().saturating_sub(usize::from(line.width))..];
        frame.render_widget(Sparkline::default().data(latest), line);
    }
}

fn draw_reads(frame: &mut Frame<'_>, history: &History, area: Rect) {
    let node = history.latest();
    let missed = |reason: &str| format!("/traffic/misses_{reason}");
    let all = node.number("/traffic/hits").map(|hits| {
        let misses = MISSES.iter().filter_map(|(reason, _)| node.number(&missed(reason))).sum::<u64>();
        (hits, misses)
    });
    let now = history.growth("/traffic/hits").map(|hits| {
        let misses = MISSES.iter().filter_map(|(reason, _)| history.growth(&missed(reason))).sum::<u64>();
        (hits, misses)
    });
    let per_second =
        |pointer: &str| history.rate(pointer).map_or("-".to_owned(), |rate| format!("{rate:.0}/s"));
    let mut rows =
        vec![Row::new(["hits".to_owned(), ratio(now), ratio(all), per_second("/traffic/hits")]).style(BOLD)];
    for (reason, said) in MISSES {
        let pointer = missed(reason);
        rows.push(Row::new([
            said.to_owned(),
            String::new(),
            number(node.number(&pointer)),
            per_second(&pointer),
        ]));
    }
    let widths = [Constraint::Length(18), Constraint::Length(7), Constraint::Length(12), Constraint::Fill(1)];
    let table = Table::new(rows, widths).header(Row::new(["", "now", "in all", ""]).style(DIM));
    frame.render_widget(table.block(titled("reads, and why they missed")), area);
}

fn draw_jobs(frame: &mut Frame<'_>, history: &History, area: Rect) {
    let jobs = history.latest().status.pointer("/jobs").and_then(Value::as_array);
    let rows = jobs.into_iter().flatten().map(|job| {
        let number = |name: &str| job.get(name).and_then(Value::as_u64);
        let name = job.get("name").and_then(Value::as_str).unwrap_or("?");
        let (done, total) = (number("done").unwrap_or(0), number("total").unwrap_or(0));
        let state = match (job.get("error").and_then(Value::as_str), job.get("finished")) {
            (Some(error), _) => error.to_owned(),
            (None, Some(Value::Bool(true))) => "done".to_owned(),
            _ if total > 0 => percent(done as f64 / total as f64),
            _ => "at work".to_owned(),
        };
        Row::new([super::screen::number(number("job")), name.to_owned(), bytes(number("bytes")), state])
    });
    let widths = [Constraint::Length(5), Constraint::Length(10), Constraint::Length(10), Constraint::Fill(1)];
    let table = Table::new(rows, widths).header(Row::new(["job", "", "moved", ""]).style(DIM));
    frame.render_widget(table.block(titled("jobs")), area);
}

fn bar(ratio: f64) -> String {
    let full = ((ratio.clamp(0.0, 1.0) * BAR_COLUMNS as f64).round() as usize).min(BAR_COLUMNS);
    "█".repeat(full) + &"░".repeat(BAR_COLUMNS - full)
}

fn ratio(counted: Option<(u64, u64)>) -> String {
    match counted {
        Some((hits, misses)) if hits + misses > 0 => percent(hits as f64 / (hits + misses) as f64),
        _ => "-".to_owned(),
    }
}

fn percent(ratio: f64) -> String {
    format!("{:.1} %", ratio * 100.0)
}

fn bytes(count: Option<u64>) -> String {
    count.map_or("-".to_owned(), |count| Bytes(count).rounded())
}

fn speed(bytes_per_s: f64) -> String {
    match bytes_per_s {
        fast if fast >= 1e9 => format!("{:.2} GB/s", fast / 1e9),
        fast if fast >= 1e6 => format!("{:.1} MB/s", fast / 1e6),
        slow => format!("{:.0} kB/s", slow / 1e3),
    }
}

fn duration(us: Option<u64>) -> String {
    match us {
        None | Some(0) => "-".to_owned(),
        Some(us) if us < 1000 => format!("{us} µs"),
        Some(us) => format!("{:.1} ms", us as f64 / 1e3),
    }
}

/// A count with its thousands apart.
fn number(count: Option<u64>) -> String {
    let Some(count) = count else { return "-".to_owned() };
    let digits = count.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_people_read_them() {
        assert_eq!(number(Some(1_234_567)), "1,234,567");
        assert_eq!(number(Some(999)), "999");
        assert_eq!([speed(2.5e9), speed(3e6), speed(12_345.0)], ["2.50 GB/s", "3.0 MB/s", "12 kB/s"]);
        assert_eq!([duration(Some(900)), duration(Some(2150)), duration(None)], ["900 µs", "2.1 ms", "-"]);
    }
}
