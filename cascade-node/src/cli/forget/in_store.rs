//! Forgetting in a store, without a node: what is chosen is removed, bytes and all, and that is made durable.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use cascade_client::BlockKey;
use cascade_core::piece::PieceId;
use cascade_tier::{Action, NewsKind, Record, Status};
use serde::Serialize;
use serde_json::Value;

use super::What;
use crate::cli::age::Age;
use crate::cli::lineages::{Beginning, Lineages, is_description};
use crate::cli::output::{self, Format};
use crate::cli::progress::Progress;
use crate::cli::store::{Access, Place, Store};
use crate::cli::{Exit, Failure, description};
use crate::config::Bytes;

/// Pieces that wait to be removed; more are not taken from the store.
const WAITING_MAX: usize = 1024;

/// What was done in a store.
#[derive(Debug, Default, Serialize)]
struct Report {
    directory: String,
    pieces: u64,
    bytes: u64,
    /// Pieces that could not be removed.
    failed: u64,
    seconds: f64,
}

/// Forgets, and tells what was done.
pub(super) fn forget(what: &What, place: &Place, format: Format) -> Result<Exit, Failure> {
    let began = Instant::now();
    let mut chosen = Chosen::of(what, place)?;
    let mut report = Report { directory: place.directory().display().to_string(), ..Report::default() };
    let removed = report.remove(place, &mut chosen);
    report.seconds = began.elapsed().as_secs_f64();
    if removed.as_ref().is_err_and(|failure| failure.exit != Exit::Interrupted) {
        return removed.map(|()| Exit::Done);
    }
    if format.json {
        output::json(&report)?;
    } else {
        let Report { directory, pieces, bytes, .. } = &report;
        output::text(&format!("forgot {pieces} pieces, {} in {directory}\n", Bytes(*bytes).rounded()))?;
    }
    removed?;
    match report.failed {
        0 => Ok(Exit::Done),
        failed => Err(Failure::new(Exit::Failed, format!("{failed} pieces could not be removed; try again"))),
    }
}

/// Which pieces go.
enum Chosen {
    /// Those that hang in certain roots, or in nothing that is known.
    Hanging(Box<Hanging>),
    /// Those that were stored so long ago.
    Old(Age),
}

/// Which pieces hang in what is to be forgotten.
struct Hanging {
    what: What,
    lineages: Lineages,
    /// What namespaces say of themselves, where it is asked for a tenant.
    described: HashMap<BlockKey, Value>,
}

impl Chosen {
    fn of(what: &What, place: &Place) -> Result<Self, Failure> {
        if let Some(age) = what.older_than {
            return Ok(Self::Old(age));
        }
        let mut lineages = Lineages::default();
        let mut descriptions = VecDeque::new();
        place.walk(|news| {
            if news.kind == NewsKind::FOUND {
                lineages.take(&news.record);
                if what.tenant.is_some() && is_description(&PieceId::from(news.record.piece)) {
                    descriptions.push_back(news.record);
                }
            }
            Ok(())
        })?;
        let described = description::read(place, descriptions)?;
        Ok(Self::Hanging(Box::new(Hanging { what: what.clone(), lineages, described })))
    }

    fn has(&mut self, record: &Record) -> bool {
        match self {
            Self::Old(age) => Age::since(record.stored_unix_s) >= *age,
            Self::Hanging(hanging) => hanging.has(record),
        }
    }
}

impl Hanging {
    fn has(&mut self, record: &Record) -> bool {
        let number = self.lineages.take(record);
        match (self.lineages.beginning(number), &self.what.tenant) {
            (Beginning::Nothing, _) => false,
            (Beginning::Elsewhere, _) => true,
            (Beginning::Namespace(root), None) => self.what.namespace == Some(root),
            // Whose it is that says nothing of itself, nobody knows.
            (Beginning::Namespace(root), Some(tenant)) => self
                .described
                .get(&root)
                .is_none_or(|described| described.get("tenant").and_then(Value::as_str) == Some(tenant)),
        }
    }
}

impl Report {
    /// Removes what is chosen, and syncs.
    fn remove(&mut self, place: &Place, chosen: &mut Chosen) -> Result<(), Failure> {
        let mut progress = Progress::over_bytes("forgot", 0);
        let mut store = place.open(Access::ReadWrite)?;
        let (mut news, mut waiting) = (Vec::new(), VecDeque::new());
        let mut lengths = HashMap::new();
        while !store.is_told() || !waiting.is_empty() || !lengths.is_empty() {
            news.clear();
            if waiting.len() < WAITING_MAX {
                store.hear(&mut news)?;
            }
            let found = news.iter().filter(|news| news.kind == NewsKind::FOUND).map(|news| news.record);
            waiting.extend(found.filter(|record| chosen.has(record)));
            while let Some(record) = waiting.front() {
                let Some(request) = store.ask(Action::Remove { extent: record.extent })? else { break };
                lengths.insert(request, record.length_bytes);
                waiting.pop_front();
            }
            for answer in store.answers()? {
                let bytes = lengths.remove(&answer.request_id).unwrap_or(0);
                match answer.status {
                    Status::OK => (self.pieces, self.bytes) = (self.pieces + 1, self.bytes + bytes),
                    // Somebody else was faster.
                    Status::NOT_FOUND => {}
                    _ => self.failed += 1,
                }
            }
            progress.bytes_at(self.bytes, format!("{} pieces", self.pieces));
            if news.is_empty() {
                store.rest()?;
            }
        }
        sync(&mut store)
    }
}

/// Waits until all that was done is durable.
fn sync(store: &mut Store<'_>) -> Result<(), Failure> {
    let mut asked = None;
    loop {
        if asked.is_none() {
            asked = store.ask(Action::Sync)?;
        }
        let answers = store.answers()?;
        match answers.iter().find(|answer| Some(answer.request_id) == asked).map(|answer| answer.status) {
            None => {}
            Some(Status::OK) => return Ok(()),
            Some(status) => {
                let said =
                    format!("what was removed may be back after a crash: the sync ended with {status}");
                return Err(Failure::new(Exit::Failed, said));
            }
        }
        store.look()?;
        store.rest()?;
    }
}
