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
    total_bytes: u64,
    told: Instant,
}

impl Progress {
    /// Of work over so many bytes; 0 where nobody knows how many.
    pub(super) fn over(verb: &'static str, total_bytes: u64) -> Self {
        let bar = ProgressBar::new(total_bytes);
        let template = if total_bytes == 0 {
            "{spinner} {prefix}: {binary_bytes}, {binary_bytes_per_sec}  {msg}"
        } else {
            "{prefix} [{bar:30}] {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left  {msg}"
        };
        let style = ProgressStyle::with_template(template).expect("the template is a constant");
        bar.set_style(style.progress_chars("=> "));
        bar.set_prefix(verb);
        Self { verb, bar, total_bytes, told: Instant::now() }
    }

    /// So much is done, and what else there is to say.
    pub(super) fn at(&mut self, done_bytes: u64, rest: impl Into<Cow<'static, str>>) {
        self.bar.set_position(done_bytes);
        if !self.bar.is_hidden() {
            self.bar.set_message(rest);
        } else if self.told.elapsed() >= LINES_APART {
            self.told = Instant::now();
            let (done, rest) = (Bytes(done_bytes).rounded(), rest.into());
            match self.total_bytes {
                0 => tracing::info!("{}: {done} {rest}", self.verb),
                total => tracing::info!("{}: {done} of {} {rest}", self.verb, Bytes(total).rounded()),
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
