//! How far long work is: a bar on a terminal, now and then a line in the log elsewhere. Standard error only.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::config::Bytes;

/// Without a terminal, a line comes so often.
const LINES_APART: Duration = Duration::from_secs(10);

/// How far a piece of work is. What it shows is gone when it is dropped: the result speaks then.
#[derive(Debug)]
pub(super) struct Progress {
    verb: &'static str,
    bar: ProgressBar,
    told: Instant,
}

impl Progress {
    /// Of work over so many bytes; 0 where nobody knows how many.
    pub(super) fn over_bytes(verb: &'static str, total: u64) -> Self {
        Self::new(
            verb,
            total,
            match total {
                0 => "{spinner} {prefix} {binary_bytes}, {binary_bytes_per_sec}  {msg}",
                _ => {
                    "{prefix} [{bar:30}] {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left  {msg}"
                }
            },
        )
    }

    /// Of work over pieces, of which it is found out by and by how many there are.
    pub(super) fn over_pieces(verb: &'static str) -> Self {
        Self::new(verb, 0, "{spinner} {prefix} [{bar:30}] {human_pos} of {human_len} pieces  {msg}")
    }

    fn new(verb: &'static str, total: u64, template: &str) -> Self {
        let bar = ProgressBar::new(total);
        let style = ProgressStyle::with_template(template).expect("the templates are constants");
        bar.set_style(style.progress_chars("=> "));
        bar.set_prefix(verb);
        Self { verb, bar, told: Instant::now() }
    }

    /// So many bytes are done, and what else there is to say.
    pub(super) fn bytes_at(&mut self, done: u64, rest: impl Into<Cow<'static, str>>) {
        let total = self.bar.length().filter(|&total| total > 0);
        let of = total.map_or(String::new(), |total| format!(" of {}", Bytes(total).rounded()));
        self.at(done, rest.into(), |rest| format!("{}{of} {rest}", Bytes(done).rounded()));
    }

    /// So many pieces are done, of so many, with so many bytes.
    pub(super) fn pieces_at(&mut self, done: u64, total: u64, bytes: u64) {
        self.bar.set_length(total.max(done));
        self.at(done, Bytes(bytes).rounded().into(), |bytes| format!("{done} of {total} pieces, {bytes}"));
    }

    fn at(&mut self, done: u64, rest: Cow<'static, str>, line: impl FnOnce(&str) -> String) {
        self.bar.set_position(done);
        if !self.bar.is_hidden() {
            self.bar.set_message(rest);
        } else if self.told.elapsed() >= LINES_APART {
            self.told = Instant::now();
            tracing::info!("{} {}", self.verb, line(&rest));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
