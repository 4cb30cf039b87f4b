//! `verify`: every piece in a store is read and compared with its checksum.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use cascade_core::piece::PieceId;
use cascade_tier::{Extent, NewsKind, Record, Status};
use serde::Serialize;

use super::output::Format;
use super::progress::Progress;
use super::store::{Access, Condition, Place, StoreFlag};
use super::{Context, Exit, Failure, Run, output};
use crate::config::{Bytes, Override};

/// Pieces that wait to be read; more are not taken from the store.
const WAITING_MAX: usize = 1024;
/// Damaged pieces that are named.
const NAMED_MAX: usize = 1000;
/// Of these, so many are named for people.
const NAMED_FOR_PEOPLE: usize = 20;

/// Read every piece in a store and compare it with its checksum
///
/// Reads the store by itself and changes nothing, so it may run beside nodes that use it. Shows how far it is. What is
/// collected or forgotten meanwhile is not damage. Ends with 1 if anything is damaged: those pieces are misses, and
/// nothing else is lost.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cascade-node verify
  cascade-node verify --store /scratch/me/cascade --json
  srun --ntasks=1 cascade-node verify                 reads at the speed of the file system: mind your neighbours
")]
pub(super) struct Args {
    #[command(flatten)]
    store: StoreFlag,
    #[command(flatten)]
    format: Format,
}

/// What became of the pieces.
#[derive(Debug, Default, Serialize)]
struct Report {
    directory: String,
    pieces: u64,
    bytes: u64,
    good: u64,
    /// The bytes are there, and are not those that were stored.
    corrupt: u64,
    /// The file is not there, or ends before.
    missing: u64,
    /// The file system refuses.
    unreadable: u64,
    /// Lines of manifests that could not be read: what they name cannot be looked for.
    damaged_lines: u64,
    /// Collected or forgotten while it was looked at.
    gone: u64,
    /// The first of the damaged pieces.
    damaged: Vec<Damaged>,
    warnings: Vec<String>,
    seconds: f64,
    /// It was asked to stop before all was read.
    interrupted: bool,
}

#[derive(Debug, Serialize)]
struct Damaged {
    key: String,
    rank: u16,
    group: u16,
    bytes: u64,
    status: String,
}

impl Run for Args {
    fn overrides(&self) -> Vec<Override> {
        self.store.overrides()
    }

    fn run(self, context: &Context) -> Result<Exit, Failure> {
        let place = self.store.place(context)?;
        let mut report = Report { directory: place.directory().display().to_string(), ..Report::default() };
        let verified = report.verify(&place);
        report.interrupted = matches!(verified, Err(Failure { exit: Exit::Interrupted, .. }));
        if !report.interrupted {
            verified?;
        }
        if self.format.json {
            output::json(&report)?;
        } else {
            output::text(&report.page())?;
        }
        Ok(match (report.interrupted, report.is_sound()) {
            (true, _) => Exit::Interrupted,
            (false, true) => Exit::Done,
            (false, false) => Exit::Failed,
        })
    }
}

impl Report {
    fn verify(&mut self, place: &Place) -> Result<(), Failure> {
        let began = Instant::now();
        // First only the names, so that it can be shown how far it is.
        let mut total_bytes = 0;
        place.walk(|news| {
            total_bytes += if news.kind == NewsKind::FOUND { news.record.length_bytes } else { 0 };
            Ok(())
        })?;
        let mut suspects = HashMap::new();
        let read = self.read(place, total_bytes, &mut suspects);
        let judged = read.and_then(|condition| {
            self.damaged_lines = condition.bad_lines;
            self.warnings = condition.warnings;
            self.judge(place, &suspects)
        });
        self.seconds = began.elapsed().as_secs_f64();
        judged
    }

    /// Reads all pieces; `suspects` gets those that did not come.
    fn read(
        &mut self,
        place: &Place,
        total_bytes: u64,
        suspects: &mut HashMap<Extent, (Record, Status)>,
    ) -> Result<Condition, Failure> {
        let mut progress = Progress::over_bytes("verified", total_bytes);
        let mut store = place.open(Access::ReadOnly)?;
        let (mut news, mut waiting) = (Vec::new(), VecDeque::new());
        while !store.is_told() || !waiting.is_empty() || store.under_way() > 0 {
            news.clear();
            if waiting.len() < WAITING_MAX {
                store.hear(&mut news)?;
            }
            let found = news.iter().filter(|news| news.kind == NewsKind::FOUND);
            waiting.extend(found.map(|news| news.record));
            let mut count = |record: &Record, status: Status, _: &[u8]| {
                self.pieces += 1;
                self.bytes += record.length_bytes;
                if status.is_ok() {
                    self.good += 1;
                } else {
                    suspects.insert(record.extent, (*record, status));
                }
            };
            store.load(&mut waiting, &mut count)?;
            store.landed(&mut count)?;
            let damage =
                if suspects.is_empty() { String::new() } else { format!("{} suspect", suspects.len()) };
            progress.bytes_at(self.bytes, damage);
            if news.is_empty() {
                store.rest()?;
            }
        }
        store.condition()
    }

    /// What did not come is damaged if the store still names it; else it was collected or forgotten since.
    fn judge(&mut self, place: &Place, suspects: &HashMap<Extent, (Record, Status)>) -> Result<(), Failure> {
        if suspects.is_empty() {
            return Ok(());
        }
        let mut confirmed = 0;
        place.walk(|news| {
            let suspect =
                suspects.get(&news.record.extent).filter(|(suspect, _)| suspect.piece == news.record.piece);
            if let Some((record, status)) = suspect.filter(|_| news.kind == NewsKind::FOUND) {
                confirmed += 1;
                self.count(record, *status);
            }
            Ok(())
        })?;
        self.gone = (suspects.len() as u64).saturating_sub(confirmed);
        Ok(())
    }

    fn count(&mut self, record: &Record, status: Status) {
        match status {
            Status::CORRUPT => self.corrupt += 1,
            Status::NOT_FOUND => self.missing += 1,
            _ => self.unreadable += 1,
        }
        if self.damaged.len() < NAMED_MAX {
            let PieceId { key, rank, group } = record.piece.into();
            let status = match status {
                Status::CORRUPT => "corrupt".to_owned(),
                Status::NOT_FOUND => "missing".to_owned(),
                status => format!("unreadable ({status})"),
            };
            self.damaged.push(Damaged {
                key: key.to_string(),
                rank,
                group,
                bytes: record.length_bytes,
                status,
            });
        }
    }

    fn is_sound(&self) -> bool {
        self.corrupt + self.missing + self.unreadable + self.damaged_lines == 0
    }

    /// The report for people.
    fn page(&self) -> String {
        let Self { pieces, good, corrupt, missing, unreadable, gone, .. } = self;
        let rate = Bytes((self.bytes as f64 / self.seconds.max(1e-9)) as u64).rounded();
        let mut out = format!(
            "{pieces} pieces, {} in {}: {good} good, {corrupt} corrupt, {missing} missing, {unreadable} unreadable ({rate}/s)\n",
            Bytes(self.bytes).rounded(),
            self.directory,
        );
        if *gone > 0 {
            out += &format!("{gone} were collected or forgotten meanwhile\n");
        }
        if self.damaged_lines > 0 {
            out += &format!(
                "{} lines of manifests are damaged; what they name is not found any more\n",
                self.damaged_lines
            );
        }
        for Damaged { key, rank, group, bytes, status } in self.damaged.iter().take(NAMED_FOR_PEOPLE) {
            out += &format!("  {status}: {key} rank {rank} group {group}, {bytes} bytes\n");
        }
        let named = self.damaged.len().min(NAMED_FOR_PEOPLE) as u64;
        let rest = (corrupt + missing + unreadable).saturating_sub(named);
        if rest > 0 {
            out += &format!("  and {rest} more; --json names up to {NAMED_MAX}\n");
        }
        for warning in &self.warnings {
            out += &format!("warning: {warning}\n");
        }
        if self.interrupted {
            out += "stopped before the end\n";
        }
        out
    }
}
