//! `du`: what takes the room in a store.

use std::collections::{HashMap, VecDeque};

use cascade_client::BlockKey;
use cascade_core::piece::PieceId;
use cascade_tier::{NewsKind, Record};
use serde::Serialize;
use serde_json::Value;

use super::age::Age;
use super::description;
use super::lineages::{Beginning, Lineages, is_description};
use super::output::Format;
use super::store::StoreFlag;
use super::{Context, Exit, Failure, Run, output};
use crate::config::{Bytes, Override};

/// Show what takes the room in a store, by namespace
///
/// A namespace is what may share blocks: a model with its weights, types and sizes, and a tenant. Reads the store by
/// itself: no node is needed, and none is disturbed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cascade-node du
  cascade-node du --store /scratch/me/cascade --json | jq .namespaces
")]
pub(super) struct Args {
    #[command(flatten)]
    store: StoreFlag,
    #[command(flatten)]
    format: Format,
}

/// What some pieces come to.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Sum {
    blocks: u64,
    pieces: u64,
    bytes: u64,
}

/// One line of the answer.
#[derive(Debug, Serialize)]
struct Line {
    /// The namespace's root.
    root: String,
    /// What the namespace says of itself, if that can be read.
    description: Option<Value>,
    #[serde(flatten)]
    sum: Sum,
    /// When its latest piece was stored, in seconds since 1970.
    latest_unix_s: u32,
}

/// The answer.
#[derive(Debug, Default, Serialize)]
struct Report {
    directory: String,
    /// The largest first.
    namespaces: Vec<Line>,
    /// Chains that belong to no namespace.
    without_namespace: Sum,
    /// Chains of which the first blocks are not in the store any more.
    beginning_elsewhere: Sum,
    total: Sum,
    containers: u64,
    files: u64,
    file_bytes: u64,
    warnings: Vec<String>,
}

/// What was told of a block.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    pieces: u32,
    bytes: u64,
    latest_unix_s: u32,
}

impl Run for Args {
    fn overrides(&self) -> Vec<Override> {
        self.store.overrides()
    }

    fn run(self, context: &Context) -> Result<Exit, Failure> {
        let place = self.store.place(context)?;
        let mut lineages = Lineages::default();
        let mut told: Vec<Told> = Vec::new();
        let mut descriptions: HashMap<BlockKey, Record> = HashMap::new();
        let condition = place.walk(|news| {
            let record = &news.record;
            if news.kind != NewsKind::FOUND && news.kind != NewsKind::LOST {
                return Ok(());
            }
            let number = lineages.take(record);
            told.resize(told.len().max(number + 1), Told::default());
            told[number].take(news.kind, record);
            let id = PieceId::from(record.piece);
            if is_description(&id) && descriptions.len() < description::COUNT_MAX {
                descriptions.insert(id.key, *record);
            }
            Ok(())
        })?;
        let mut said = description::read(&place, descriptions.into_values().collect::<VecDeque<_>>())?;
        let mut report = Report {
            directory: place.directory().display().to_string(),
            containers: condition.containers,
            files: condition.files,
            file_bytes: condition.bytes,
            warnings: condition.warnings,
            ..Report::default()
        };
        let mut lines: HashMap<BlockKey, Line> = HashMap::new();
        for (number, told) in told.iter().enumerate().filter(|(_, told)| told.pieces > 0) {
            report.total.add(told);
            match lineages.beginning(number) {
                Beginning::Namespace(root) => {
                    let line = lines.entry(root).or_insert_with(|| Line {
                        root: root.to_string(),
                        description: said.remove(&root),
                        sum: Sum::default(),
                        latest_unix_s: 0,
                    });
                    line.sum.add(told);
                    line.latest_unix_s = line.latest_unix_s.max(told.latest_unix_s);
                }
                Beginning::Nothing => report.without_namespace.add(told),
                Beginning::Elsewhere => report.beginning_elsewhere.add(told),
            }
        }
        report.namespaces = lines.into_values().collect();
        report.namespaces.sort_by(|a, b| b.sum.bytes.cmp(&a.sum.bytes).then_with(|| a.root.cmp(&b.root)));
        if self.format.json {
            output::json(&report)?;
        } else {
            output::text(&report.page())?;
        }
        Ok(Exit::Done)
    }
}

impl Told {
    fn take(&mut self, kind: NewsKind, record: &Record) {
        if kind == NewsKind::LOST {
            self.pieces = self.pieces.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(record.length_bytes);
            return;
        }
        self.pieces += 1;
        self.bytes += record.length_bytes;
        self.latest_unix_s = self.latest_unix_s.max(record.stored_unix_s);
    }
}

impl Sum {
    fn add(&mut self, told: &Told) {
        self.blocks += 1;
        self.pieces += u64::from(told.pieces);
        self.bytes += told.bytes;
    }

    fn line(&self, age: &str, what: &str) -> String {
        format!(
            "{:>10}  {:>10}  {:>10}  {age:>6}  {what}\n",
            Bytes(self.bytes).rounded(),
            self.blocks,
            self.pieces
        )
    }
}

impl Report {
    /// The answer for people.
    fn page(&self) -> String {
        let mut out =
            format!("{:>10}  {:>10}  {:>10}  {:>6}  NAMESPACE\n", "BYTES", "BLOCKS", "PIECES", "LATEST");
        for Line { root, description, sum, latest_unix_s } in &self.namespaces {
            let says = description.as_ref().map_or("(no description)".to_owned(), description::sentence);
            out += &sum.line(&Age::since(*latest_unix_s).to_string(), &format!("{root} {says}"));
        }
        for (sum, what) in [
            (&self.without_namespace, "no namespace"),
            (&self.beginning_elsewhere, "the beginning is not in the store any more"),
        ] {
            if sum.pieces > 0 {
                out += &sum.line("", what);
            }
        }
        let files = format!(
            "in all; {} containers, {} files, {} in {}",
            self.containers,
            self.files,
            Bytes(self.file_bytes).rounded(),
            self.directory
        );
        out += &self.total.line("", &files);
        for warning in &self.warnings {
            out += &format!("warning: {warning}\n");
        }
        out
    }
}
