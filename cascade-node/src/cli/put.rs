//! `put`: store a file as one piece.

use std::io::Read;
use std::path::PathBuf;

use cascade_client::{BlockKey, Committed, Lineage};

use super::reach::Piece;
use super::{Context, Exit, Failure, Run, output, reach};

/// Store a file as one piece
///
/// Waits until the node has published it: from then on every client reads it. A key that is there already keeps its
/// first bytes.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cascade-node put @greeting hello.txt
  head -c 2M /dev/urandom | cascade-node put @noise -
")]
pub(super) struct Args {
    #[command(flatten)]
    piece: Piece,

    /// File with the bytes; `-` for standard input
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,

    /// Key of the block before this one in its chain: 64 hexadecimal digits, or @NAME
    #[arg(long, value_name = "KEY", value_parser = reach::key)]
    parent: Option<BlockKey>,

    /// Blocks between this one and the root of its chain
    #[arg(long, default_value_t = 0)]
    depth: u32,
}

impl Run for Args {
    fn run(self, context: &Context) -> Result<Exit, Failure> {
        let bytes = self.bytes()?;
        let client = reach::client(context)?;
        let lineage = Lineage { parent: self.parent.unwrap_or(BlockKey::ROOT), depth: self.depth };
        match client.put_wait(&self.piece.id(), lineage, &bytes, reach::deadline())? {
            Committed::Fresh => output::text(&format!("{} {} bytes\n", self.piece.key, bytes.len()))?,
            Committed::AlreadyPresent => {
                output::text(&format!("{} was there already; its first bytes stay\n", self.piece.key))?;
            }
            Committed::Refused(refusal) => return Err(Failure::new(Exit::Failed, refusal.to_string())),
        }
        Ok(Exit::Done)
    }
}

impl Args {
    fn bytes(&self) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        let read = match self.file.as_os_str() == "-" {
            true => std::io::stdin().lock().read_to_end(&mut bytes).map(|_| ()),
            false => std::fs::read(&self.file).map(|read| bytes = read),
        };
        let unreadable =
            |error| Failure::new(Exit::Usage, format!("cannot read {}: {error}", self.file.display()));
        read.map(|()| bytes).map_err(unreadable)
    }
}
