//! Following a job that the node does: how far it is, until it is done.
//!
//! The job is the node's: whoever stops following stops nothing.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::interrupts::Interrupts;
use super::output::{self, Format};
use super::progress::Progress;
use super::reach::{Node, PATIENCE};
use super::{Exit, Failure};
use crate::config::Bytes;

/// How often the node is asked.
const PAUSE: Duration = Duration::from_millis(100);

/// A job as the node tells of it.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Job {
    job: u64,
    name: String,
    /// Pieces that are done, of so many as far as is known.
    done: u64,
    total: u64,
    bytes: u64,
    finished: bool,
    error: Option<String>,
    #[serde(default)]
    seconds: f64,
}

/// Gives the node an order, follows the job to its end, and tells how that was; `said` is what was done, for people.
pub(super) fn follow(node: &Node, order: &str, said: &'static str, format: Format) -> Result<Exit, Failure> {
    #[derive(Deserialize)]
    struct Begun {
        job: u64,
    }
    let interrupts = Interrupts::watch()?;
    let began = Instant::now();
    let Begun { job: number } = read(node.ask_within(order, PATIENCE)?)?;
    let mut progress = Progress::over_pieces(said);
    let job = loop {
        let job: Job = read(node.ask_within(&format!("job {number}"), PATIENCE)?)?;
        if job.finished {
            break Job { seconds: began.elapsed().as_secs_f64(), ..job };
        }
        progress.pieces_at(job.done, job.total, job.bytes);
        interrupts.rest(None, PAUSE).map_err(|stopped| Failure {
            message: format!("the node goes on with job {number}, `{order}`; `top` shows it"),
            ..stopped
        })?;
    };
    drop(progress);
    if format.json {
        output::json(&job)?;
    } else {
        output::text(&format!("{}\n", job.sentence(said)))?;
    }
    match job.error {
        Some(error) => Err(Failure::new(Exit::Failed, error)),
        None => Ok(Exit::Done),
    }
}

impl Job {
    fn sentence(&self, said: &str) -> String {
        let rate = Bytes((self.bytes as f64 / self.seconds.max(1e-3)) as u64).rounded();
        let bytes = Bytes(self.bytes).rounded();
        format!("{said} {} pieces, {bytes} in {:.1} s ({rate}/s)", self.done, self.seconds)
    }
}

fn read<T: for<'de> Deserialize<'de>>(answer: serde_json::Value) -> Result<T, Failure> {
    serde_json::from_value(answer).map_err(|error| {
        Failure::new(Exit::Failed, format!("the node answers otherwise than this program expects: {error}"))
    })
}
