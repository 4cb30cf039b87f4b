//! `top`: a page about the node that is drawn anew each second, until somebody presses q.
//!
//! The terminal is restored however it ends: by a key, a signal, an error or a panic.

mod history;
mod screen;

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::{DefaultTerminal, Terminal};

use super::interrupts::Interrupts;
use super::reach::Node;
use super::{Context, Exit, Failure, Run, output};
use history::{History, Sample};

/// A node answers within a moment, or is said not to.
const PATIENCE: Duration = Duration::from_secs(1);
/// The page of `--once`, where there is no terminal that has a size.
const COLUMNS: u16 = 100;

/// Watch the node: tiers, hit ratios, traffic, latencies, misses, jobs
///
/// A page that is drawn anew each second. q or Ctrl-C ends it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cascade-node top
  cascade-node top --interval 5
  cascade-node top --once                             one page as text, for logs and reports
")]
pub(super) struct Args {
    /// Print one page as text, with the traffic of one interval, and end
    #[arg(long)]
    once: bool,

    /// Seconds between two looks at the node, from 0.1 to 3600
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    interval: Duration,
}

impl Run for Args {
    fn run(self, context: &Context) -> Result<Exit, Failure> {
        let node = Node::of(context)?;
        let is_terminal = io::stdout().is_terminal() && io::stdin().is_terminal();
        if !self.once && !is_terminal {
            let hint = "top needs a terminal; `top --once` prints one page, `status --json` is for programs";
            return Err(Failure::new(Exit::Usage, hint));
        }
        // Before the terminal is changed: without a node there is nothing to show.
        let mut history = History::of(look(&node)?);
        let interrupts = Interrupts::watch()?;
        if self.once {
            interrupts.rest(None, self.interval)?;
            history.push(look(&node)?);
            output::text(&text(&history))?;
            return Ok(Exit::Done);
        }
        let mut terminal = ratatui::try_init()?;
        let watched = self.watch(&node, &interrupts, &mut terminal, &mut history);
        let restored = ratatui::try_restore();
        watched?;
        restored?;
        Ok(Exit::Done)
    }
}

impl Args {
    fn watch(
        &self,
        node: &Node,
        interrupts: &Interrupts,
        terminal: &mut DefaultTerminal,
        history: &mut History,
    ) -> Result<(), Failure> {
        let mut trouble = None;
        let mut next_look = Instant::now() + self.interval;
        loop {
            let last = screen::last_line(trouble.as_deref());
            terminal.draw(|frame| screen::draw(frame, history, Some(last)))?;
            let left = next_look.saturating_duration_since(Instant::now());
            let stdin = io::stdin();
            match interrupts.rest(Some(std::os::fd::AsFd::as_fd(&stdin)), left) {
                // As a key would.
                Err(Failure { exit: Exit::Interrupted, .. }) => return Ok(()),
                rested => rested?,
            }
            while event::poll(Duration::ZERO)? {
                if ends(&event::read()?) {
                    return Ok(());
                }
            }
            if next_look <= Instant::now() {
                next_look = Instant::now() + self.interval;
                // What was seen last stays on the page.
                trouble = look(node).map(|sample| history.push(sample)).err().map(|failure| failure.message);
            }
        }
    }
}

fn look(node: &Node) -> Result<Sample, Failure> {
    Ok(Sample { at: Instant::now(), status: node.ask_within("status", PATIENCE)? })
}

fn ends(event: &Event) -> bool {
    let Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. }) = event else { return false };
    match code {
        KeyCode::Char('q') | KeyCode::Esc => true,
        KeyCode::Char('c') => modifiers.contains(KeyModifiers::CONTROL),
        _ => false,
    }
}

/// The page as lines.
fn text(history: &History) -> String {
    let mut terminal = Terminal::new(TestBackend::new(COLUMNS, screen::lines(history)))
        .expect("a page in memory cannot fail");
    terminal.draw(|frame| screen::draw(frame, history, None)).expect("a page in memory cannot fail");
    let buffer = terminal.backend().buffer();
    let width = usize::from(buffer.area.width);
    let line = |cells: &[ratatui::buffer::Cell]| {
        let line: String = cells.iter().map(ratatui::buffer::Cell::symbol).collect();
        format!("{}\n", line.trim_end())
    };
    buffer.content.chunks(width).map(line).collect()
}

fn interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.1..=3600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "give seconds from 0.1 to 3600".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Two looks at a node, a second apart.
    fn history() -> History {
        let status = |second: u64| {
            json!({
                "version": "0.1.0", "instance": "main", "pid": 4711, "uptime_s": 8000.0 + second as f64, "policy": "cascade",
                "capacity_bytes": 64_u64 << 30, "backed_bytes": 64_u64 << 30, "free_bytes": 16_u64 << 30,
                "clean_bytes": 24_u64 << 30, "blocks": 24_576, "pieces": 24_576, "draining": false,
                "clients": [{}, {}, {}],
                "counters": {
                    "puts_fresh": 1000 + 50 * second, "put_bytes": (2000 + 100 * second) << 20,
                    "evicted_blocks": 77, "corrupt_pieces": 0,
                    "demoted_bytes": (1000 + 90 * second) << 20, "promoted_bytes": (500 + 400 * second) << 20,
                },
                "traffic": {
                    "hits": 90_000 + 950 * second, "bytes_out": (180_000 + 1900 * second) << 20,
                    "bytes_in": (2000 + 100 * second) << 20,
                    "misses_absent": 10_000 + 40 * second, "misses_expired": 12 + 10 * second, "misses_corrupt": 1,
                },
                "tiers": { "lustre": {
                    "state": "working", "pieces": 400_000, "bytes": 800_u64 << 30, "under_way": 7,
                    "read_latency_us": 2150, "write_latency_us": 18_400,
                    "stats": { "capacity_bytes": 4_u64 << 40, "store": { "bytes": 1_u64 << 40 } },
                } },
                "jobs": [{ "job": 3, "name": "persist", "done": 300, "total": 1000, "bytes": 600_u64 << 20, "finished": false }],
            })
        };
        let at = Instant::now();
        let mut history = History::of(Sample { at, status: status(0) });
        history.push(Sample { at: at + Duration::from_secs(1), status: status(1) });
        history
    }

    #[test]
    fn the_page_shows_tiers_traffic_misses_and_jobs() {
        insta::assert_snapshot!(text(&history()));
    }

    #[test]
    fn a_node_that_tells_less_still_makes_a_page() {
        let bare = || Sample { at: Instant::now(), status: json!({}) };
        let mut history = History::of(bare());
        history.push(bare());
        assert!(text(&history).contains("memory"));
    }

    #[test]
    fn a_small_terminal_shows_what_fits() {
        for (width, height) in [(1, 1), (20, 5), (80, 24), (300, 100)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|frame| screen::draw(frame, &history(), Some(screen::last_line(None)))).unwrap();
        }
    }

    #[test]
    fn q_and_ctrl_c_end_it_and_other_keys_do_not() {
        let key = |code, modifiers| ends(&Event::Key(KeyEvent::new(code, modifiers)));
        assert!(key(KeyCode::Char('q'), KeyModifiers::NONE));
        assert!(key(KeyCode::Char('c'), KeyModifiers::CONTROL));
        assert!(!key(KeyCode::Char('c'), KeyModifiers::NONE));
        assert!(!ends(&Event::Resize(80, 24)));
    }

    #[test]
    fn an_interval_is_a_number_of_seconds_within_reason() {
        assert_eq!(interval("0.5"), Ok(Duration::from_millis(500)));
        for text in ["0", "-1", "soon", "1e9", "NaN", "inf"] {
            assert!(interval(text).is_err(), "{text}");
        }
    }
}
