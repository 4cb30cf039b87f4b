//! `ls`: the pieces in a store.

use std::io::{self, Write};

use cascade_client::BlockKey;
use cascade_core::piece::PieceId;
use cascade_tier::{NewsKind, Record};

use super::age::Age;
use super::lineages::{Beginning, Lineages};
use super::output::Format;
use super::store::StoreFlag;
use super::{Context, Exit, Failure, Run, output, reach};
use crate::config::Override;

/// List the pieces in a store on a file system
///
/// Reads the store by itself: no node is needed, and none is disturbed. One line a piece, in the order in which they
/// lie; with --json, one object a line. Ends with 3 if there is none.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cascade-node ls --store /scratch/me/cascade --limit 20
  cascade-node ls --json | jq -s 'map(.bytes) | add'
  cascade-node ls --namespace 5a1c…                   `du` shows the roots
")]
pub(super) struct Args {
    #[command(flatten)]
    store: StoreFlag,

    /// Only pieces of the namespace with this root: 64 hexadecimal digits, or @NAME
    #[arg(long, value_name = "ROOT", value_parser = reach::key)]
    namespace: Option<BlockKey>,

    /// Stop after so many
    #[arg(long, value_name = "PIECES")]
    limit: Option<u64>,

    #[command(flatten)]
    format: Format,
}

impl Run for Args {
    fn overrides(&self) -> Vec<Override> {
        self.store.overrides()
    }

    fn run(self, context: &Context) -> Result<Exit, Failure> {
        let place = self.store.place(context)?;
        let wanted = match self.namespace {
            None => None,
            Some(root) => {
                let mut lineages = Lineages::default();
                place.walk(|news| {
                    if news.kind == NewsKind::FOUND {
                        lineages.take(&news.record);
                    }
                    Ok(())
                })?;
                Some((Beginning::Namespace(root), lineages))
            }
        };
        let mut listing =
            Listing { out: output::lines(), json: self.format.json, wanted, left: self.limit, shown: 0 };
        let walked =
            place.walk(|news| if news.kind == NewsKind::FOUND { listing.take(&news.record) } else { Ok(()) });
        listing.out.flush()?;
        match walked {
            Err(Failure { exit: Exit::Done, .. }) => {}
            walked => drop(walked?),
        }
        if listing.shown > 0 {
            return Ok(Exit::Done);
        }
        let what = if self.namespace.is_some() { "nothing of this namespace" } else { "nothing" };
        Err(Failure::new(Exit::Miss, format!("{what} is in {}", place.directory().display())))
    }
}

/// What is written.
struct Listing<W> {
    out: W,
    json: bool,
    wanted: Option<(Beginning, Lineages)>,
    left: Option<u64>,
    shown: u64,
}

impl<W: Write> Listing<W> {
    /// Writes a piece, if it is wanted. Done is no failure, but ends the walk.
    fn take(&mut self, record: &Record) -> Result<(), Failure> {
        if self.left == Some(0) {
            return Err(Failure::new(Exit::Done, ""));
        }
        if let Some((namespace, lineages)) = &mut self.wanted {
            let number = lineages.take(record);
            if lineages.beginning(number) != *namespace {
                return Ok(());
            }
        }
        self.write(record)?;
        self.shown += 1;
        self.left = self.left.map(|left| left - 1);
        Ok(())
    }

    fn write(&mut self, record: &Record) -> io::Result<()> {
        let PieceId { key, rank, group } = record.piece.into();
        let (bytes, depth, age) = (record.length_bytes, record.place.depth, Age::since(record.stored_unix_s));
        if self.json {
            let parent =
                Some(BlockKey::from_bytes(record.place.parent)).filter(|parent| *parent != BlockKey::ROOT);
            let line = serde_json::json!({
                "key": key.to_string(),
                "rank": rank,
                "group": group,
                "bytes": bytes,
                "parent": parent.map(|parent| parent.to_string()),
                "depth": depth,
                "checksum": record.checksum,
                "stored_unix_s": record.stored_unix_s,
                "age_s": age.0,
            });
            return writeln!(self.out, "{line}");
        }
        if self.shown == 0 {
            writeln!(
                self.out,
                "{:64}  {:>5}  {:>5}  {:>12}  {:>7}  {:>6}",
                "KEY", "RANK", "GROUP", "BYTES", "DEPTH", "AGE"
            )?;
        }
        writeln!(self.out, "{key}  {rank:>5}  {group:>5}  {bytes:>12}  {depth:>7}  {age:>6}")
    }
}
