//! A store that is being opened: tried until it is there. Meanwhile nothing is to be had, and that is said.

use super::Keeper;
use crate::config::Config;
use crate::exchange::Exchange;
use crate::heat::Heat;
use crate::holdings::Holdings;
use crate::io::{Access, Directory};
use crate::link::{Speaker, ToKeeper, ToMover};
use crate::marker;
use crate::mount::Mount;
use crate::report::Report;
use crate::routes::Routes;
use crate::threads::Running;
use cascade_tier::{Completion, News, NewsKind, Status};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A store that cannot be opened is tried again after this.
const RETRY: Duration = Duration::from_secs(5);

/// What a keeper is given.
pub(crate) struct Setup {
    pub(crate) config: Arc<Config>,
    pub(crate) path: PathBuf,
    pub(crate) access: Access,
    /// 0 for the store that is written, then the further ones.
    pub(crate) number: usize,
    pub(crate) mount: Arc<dyn Mount>,
    pub(crate) inbox: Receiver<ToKeeper>,
    pub(crate) mover: Speaker,
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) routes: Arc<Routes>,
    pub(crate) heat: Arc<Mutex<Heat>>,
    pub(crate) report: Arc<Mutex<Report>>,
    /// How many stores have not been told to their end for the first time.
    pub(crate) unlisted: Arc<AtomicUsize>,
}

/// Opens the store, and works until the host closes.
pub(crate) fn run(setup: Setup, _running: Running) {
    let mut is_listed = false;
    loop {
        match open(&setup) {
            Ok((directory, holdings)) => {
                return Keeper { is_listed, ..Keeper::new(setup, directory, holdings) }.run();
            }
            Err(error) => setup.report(|report| report.failed(&setup.path, &error)),
        }
        // Nobody waits for a further store to hear of what is in the others. What it has is told when it comes.
        if setup.number > 0 {
            setup.listed(&mut is_listed);
        }
        if !refuse_until(&setup, Instant::now() + RETRY) {
            return;
        }
    }
}

pub(super) fn open(setup: &Setup) -> io::Result<(Arc<dyn Directory>, Holdings)> {
    let directory = setup.mount.directory(&setup.path, setup.access)?;
    marker::check(directory.as_ref(), setup.access)?;
    let mut holdings = Holdings::new(Arc::clone(&directory), setup);
    holdings.list()?;
    Ok((directory, holdings))
}

/// Answers that the store is not to be had; `false` when the host closes.
fn refuse_until(setup: &Setup, until: Instant) -> bool {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match setup.inbox.recv_timeout(left) {
            Err(RecvTimeoutError::Timeout) => return true,
            Err(RecvTimeoutError::Disconnected) | Ok(ToKeeper::Close(_)) => return false,
            Ok(ToKeeper::Open(container)) => {
                setup.mover.say(ToMover::Opened { container, file: Err(Status::FENCED) });
            }
            Ok(ToKeeper::Acquire) => setup.mover.say(ToMover::Acquired(Err(Status::FENCED))),
            Ok(ToKeeper::Sync { request_id } | ToKeeper::Remove { request_id, .. }) => {
                setup.mover.say(ToMover::Answer(Completion::new(request_id, Status::FENCED, 0)));
            }
            // Nothing can have been stored.
            Ok(ToKeeper::Stored(_) | ToKeeper::Sealed { .. } | ToKeeper::Drop(_)) => {}
        }
    }
}

impl Setup {
    /// All that was there when the store was opened has been told; once.
    pub(super) fn listed(&self, is_listed: &mut bool) {
        if !std::mem::replace(is_listed, true) {
            // AcqRel: whoever is last tells after what all the others told.
            if self.unlisted.fetch_sub(1, Ordering::AcqRel) == 1 {
                self.exchange.tell([News { kind: NewsKind::LISTED, ..News::default() }]);
            }
        }
    }

    pub(super) fn report(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.report.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
