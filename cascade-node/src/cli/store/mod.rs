//! A store on a file system that a command looks into by itself, without a node.
//!
//! What it holds arrives as news and is not kept here: memory is bounded, however large the store. Nothing is written
//! unless it was opened for that. A file system that does not answer is waited for, and said; Ctrl-C ends the waiting.

mod landing;
mod place;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use cascade_tier::{
    Action, CloseMode, Completion, News, NewsKind, OpenTier, Operation, Record, Status, TierError,
};
use serde::Deserialize;

use super::{Exit, Failure};
use crate::engine::LOWER_TIER;
use landing::Landing;
pub(super) use place::{Access, Place, StoreFlag};

/// Requests other than loads have numbers from here on.
const FIRST_REQUEST: u64 = 1 << 63;
/// So much news is taken at once.
const NEWS_BATCH: usize = 512;
/// How long to rest when there is no news: the tier has no bell for it.
const PAUSE: Duration = Duration::from_millis(2);
/// While nothing comes, the tier is asked so often how the store is.
const LOOKS_APART: Duration = Duration::from_millis(50);
/// A store that is silent for so long is worth a word, again and again.
const SILENCE: Duration = Duration::from_secs(10);

/// An open store.
#[derive(Debug)]
pub(super) struct Store<'p> {
    place: &'p Place,
    /// `None` only while it is being dropped.
    tier: Option<OpenTier>,
    landing: Option<Landing>,
    /// Requests other than loads that are under way, and the number of the next.
    asked: u64,
    next_request: u64,
    /// All that was there when it was opened has been told.
    is_listed: bool,
    heard: Instant,
    looked: Instant,
    warned: Instant,
}

/// How a store is, in the tier's words.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Condition {
    pub(super) state: String,
    pub(super) containers: u64,
    pub(super) bytes: u64,
    pub(super) files: u64,
    pub(super) warnings: Vec<String>,
    /// Lines of manifests that could not be read: the pieces that they name are not found.
    #[serde(skip)]
    pub(super) bad_lines: u64,
}

impl<'p> Store<'p> {
    fn new(place: &'p Place, tier: OpenTier) -> Self {
        let now = Instant::now();
        Self {
            place,
            tier: Some(tier),
            landing: None,
            asked: 0,
            next_request: FIRST_REQUEST,
            is_listed: false,
            heard: now,
            looked: now,
            warned: now,
        }
    }

    fn tier(&mut self) -> &mut OpenTier {
        self.tier.as_mut().expect("a store is open until it is dropped")
    }

    /// Whether all has been told that was there when it was opened.
    pub(super) fn is_told(&self) -> bool {
        self.is_listed
    }

    /// What it tells next, in place of what `news` held; nothing where it has nothing to tell now. Never waits.
    ///
    /// # Errors
    /// The store cannot be opened; it was asked to stop.
    pub(super) fn hear(&mut self, news: &mut Vec<News>) -> Result<(), Failure> {
        self.place.interrupts().look()?;
        news.resize(NEWS_BATCH, News::default());
        let count = self.tier().news(news).map_err(failure)?;
        news.truncate(count);
        self.is_listed |= news.iter().any(|news| news.kind == NewsKind::LISTED);
        if count > 0 {
            self.stirred();
            return Ok(());
        }
        self.look()
    }

    /// Waits a little, or for a load to end.
    pub(super) fn rest(&mut self) -> Result<(), Failure> {
        let tier = self.tier.as_ref().expect("a store is open until it is dropped");
        let landed = tier.event_fd().map_err(failure)?;
        self.place.interrupts().rest(landed, PAUSE)
    }

    /// Loads under way.
    pub(super) fn under_way(&self) -> usize {
        self.landing.as_ref().map_or(0, Landing::under_way)
    }

    /// Has the first of these loaded, as many as there is room for. What no memory can be had for ends at once.
    pub(super) fn load(
        &mut self,
        pieces: &mut VecDeque<Record>,
        mut take: impl FnMut(&Record, Status, &[u8]),
    ) -> Result<(), Failure> {
        let Some(length_bytes) = pieces.front().map(|first| first.length_bytes) else { return Ok(()) };
        if self.landing.as_ref().is_none_or(|landing| !landing.fits(length_bytes)) {
            if self.under_way() > 0 {
                return Ok(());
            }
            if let Some(landing) = &self.landing {
                let id = landing.id();
                self.tier().forget_memory(id).map_err(failure)?;
                self.landing = None;
            }
            match Landing::new(self.tier(), length_bytes) {
                Ok(landing) => self.landing = Some(landing),
                Err(error) => {
                    tracing::warn!("{}", error.message);
                    take(&pieces.pop_front().expect("it was just looked at"), error.status, &[]);
                    return Ok(());
                }
            }
        }
        let (Some(tier), Some(landing)) = (&mut self.tier, &mut self.landing) else { return Ok(()) };
        landing.load(tier, pieces).map_err(failure)
    }

    /// Shows the loads that ended: which piece, how, and its bytes where they are what was stored.
    pub(super) fn landed(&mut self, mut take: impl FnMut(&Record, Status, &[u8])) -> Result<(), Failure> {
        let mut completions = Vec::new();
        self.tier().poll(&mut completions).map_err(failure)?;
        if !completions.is_empty() {
            self.stirred();
        }
        for completion in &completions {
            self.landing.iter_mut().for_each(|landing| landing.land(completion, &mut take));
        }
        Ok(())
    }

    /// Asks the tier for something other than a load; the number of the request, or `None` if it takes no more now.
    pub(super) fn ask(&mut self, action: Action) -> Result<Option<u64>, Failure> {
        let request = self.next_request;
        let taken = self.tier().submit(&[Operation::new(request, action)]).map_err(failure)?;
        self.asked += taken as u64;
        self.next_request += taken as u64;
        Ok((taken > 0).then_some(request))
    }

    /// What came of such requests.
    pub(super) fn answers(&mut self) -> Result<Vec<Completion>, Failure> {
        let mut answers = Vec::new();
        self.tier().poll(&mut answers).map_err(failure)?;
        self.asked = self.asked.saturating_sub(answers.len() as u64);
        if !answers.is_empty() {
            self.stirred();
        }
        Ok(answers)
    }

    /// How it is.
    pub(super) fn condition(&mut self) -> Result<Condition, Failure> {
        #[derive(Deserialize)]
        struct Stats {
            store: Condition,
            counts: Counts,
        }
        #[derive(Deserialize)]
        struct Counts {
            bad_lines: u64,
        }
        let stats = self.tier().stats().map_err(failure)?;
        let Stats { store, counts } = serde_json::from_str(&stats).map_err(|error| {
            Failure::new(
                Exit::Failed,
                format!("the tier {LOWER_TIER} answers otherwise than this program expects: {error}"),
            )
        })?;
        Ok(Condition { bad_lines: counts.bad_lines, ..store })
    }

    fn stirred(&mut self) {
        self.heard = Instant::now();
        self.warned = self.heard;
    }

    /// Why nothing comes: an error if nothing ever will.
    pub(super) fn look(&mut self) -> Result<(), Failure> {
        if self.looked.elapsed() < LOOKS_APART {
            return Ok(());
        }
        self.looked = Instant::now();
        let condition = self.condition()?;
        if condition.state == "failed" {
            let why = condition.warnings.last().map_or("the store cannot be opened", String::as_str);
            return Err(Failure::new(Exit::Failed, format!("{why}\n--store DIR names another store")));
        }
        let is_waited_for = !self.is_listed || self.under_way() > 0 || self.asked > 0;
        if is_waited_for && self.warned.elapsed() >= SILENCE {
            self.warned = Instant::now();
            let directory = self.place.directory().display();
            tracing::warn!(
                "{directory} has been silent for {} s; still waiting, Ctrl-C ends it",
                self.heard.elapsed().as_secs()
            );
        }
        Ok(())
    }
}

impl Drop for Store<'_> {
    fn drop(&mut self) {
        let closed = self.tier.take().map_or(Ok(()), |tier| tier.close(CloseMode::Leave));
        if closed.is_err() {
            // Threads of the tier hang in the file system and may still write there.
            std::mem::forget(self.landing.take());
        }
    }
}

/// What the tier says, as the end of a command.
fn failure(error: TierError) -> Failure {
    Failure::new(Exit::Failed, error.to_string())
}
