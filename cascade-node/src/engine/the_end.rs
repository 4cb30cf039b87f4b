//! The end of the node, seen coming: what only memory has is written below before it.
//!
//! A drain begins by itself so long before the job ends, on a signal that the configuration names, and when the node is asked to
//! stop. Invariants: one drain at a time; the node serves on while it drains, and admits nothing new; whoever asks twice to stop
//! waits no longer, and a tier that writes nothing is not waited for.

use super::jobs::Task;
use super::pump::Engine;
use super::stop::Ended;
use super::{now_ns, unix_s};
use crate::config::Flow;

/// The variable in which Slurm tells when the job ends, in seconds since 1970.
const JOB_END: &str = "SLURM_JOB_END_TIME";
/// Nanoseconds in a second.
const SECOND_NS: u64 = 1_000_000_000;
/// How long before the end of the job all is to be over.
const LAST_SECONDS: u32 = 5;
/// How long a stop waits while nothing gets written.
const SILENCE_NS: u64 = 5 * SECOND_NS;

/// What is known of the end.
#[derive(Debug)]
pub(super) struct TheEnd {
    /// When the job ends, as far as the scheduler told.
    job_unix_s: Option<u32>,
    drain_s: u64,
    drain_before_s: u64,
    has_drained: bool,
    /// Why the node ends, and the drain that it waits for.
    awaited: Option<(Ended, u64)>,
}

impl TheEnd {
    pub(super) fn of(flow: &Flow) -> Self {
        Self {
            job_unix_s: std::env::var(JOB_END).ok().and_then(|text| text.trim().parse().ok()),
            drain_s: flow.drain_s,
            drain_before_s: flow.drain_before_end_s,
            has_drained: false,
            awaited: None,
        }
    }

    /// Seconds until the job is as good as over.
    fn left_s(&self) -> Option<u64> {
        Some(u64::from(self.job_unix_s?.saturating_sub(LAST_SECONDS).saturating_sub(unix_s())))
    }
}

impl Engine {
    /// Begins to drain, for as long as is said, or as the job has left. The number of the job that does it.
    pub(super) fn drain_for(&mut self, why: &str, seconds: Option<u64>) -> Option<u64> {
        self.lower.as_ref()?;
        let left_s = self.end.left_s();
        let s = seconds.into_iter().chain(left_s).min().unwrap_or(self.end.drain_s);
        tracing::info!(
            why,
            seconds = s,
            "draining: nothing new is admitted, what only memory has is written below"
        );
        self.end.has_drained = true;
        let until_ns = now_ns().saturating_add(s.saturating_mul(SECOND_NS));
        Some(self.jobs.begin(&mut self.store, Task::Drain { until_ns }, now_ns()))
    }

    /// Looks whether the end of the job is near.
    pub(super) fn look_at_the_end(&mut self) {
        let is_near = |left_s: u64| left_s <= self.end.drain_before_s;
        if self.end.drain_before_s > 0 && !self.end.has_drained && self.end.left_s().is_some_and(is_near) {
            self.drain_for("the job ends soon", None);
        }
    }

    /// Something ends the node: whether at once. If not, what only memory has is written first.
    pub(super) fn is_over(&mut self, ended: Ended) -> bool {
        if self.end.awaited.is_some() || matches!(ended, Ended::Abandoned(_)) || self.end.drain_s == 0 {
            return true;
        }
        self.end.awaited = self.drain_for("the node ends", Some(self.end.drain_s)).map(|job| (ended, job));
        self.end.awaited.is_none()
    }

    /// Why the node ends, once nothing is to be waited for any more.
    pub(super) fn saved(&mut self) -> Option<Ended> {
        let (ended, job) = self.end.awaited?;
        let is_silent = self.jobs.idle_ns(job, now_ns()) > SILENCE_NS;
        (is_silent || self.jobs.is_finished(job)).then_some(ended)
    }
}
