//! `get`: write one piece to a file or to standard output.

use std::io::Write;
use std::path::PathBuf;

use cascade_client::{Lookup, Reason};

use super::reach::Piece;
use super::{Context, Exit, Failure, Run, reach};

/// Write a piece to standard output or a file
///
/// The bytes are verified before they are written. Ends with 3 after a miss.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cascade-node get @greeting
  cascade-node get @noise --out noise.bin
")]
pub(super) struct Args {
    #[command(flatten)]
    piece: Piece,

    /// File to write; standard output if none is given
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    out: Option<PathBuf>,
}

impl Run for Args {
    fn run(self, context: &Context) -> Result<Exit, Failure> {
        let client = reach::client(context)?;
        let id = self.piece.id();
        // The first look tells the length; the piece may change in between, so the answer of the second one counts.
        let mut bytes = Vec::new();
        loop {
            match client.get_into(&id, &mut bytes)? {
                Lookup::Hit(len_bytes) => {
                    bytes.truncate(len_bytes);
                    break;
                }
                Lookup::Miss(Reason::TooShort { len_bytes }) => bytes.resize(len_bytes as usize, 0),
                Lookup::Miss(reason) => {
                    return Err(Failure::new(Exit::Miss, format!("miss: {}", said(reason))));
                }
            }
        }
        let Some(path) = self.out else {
            let mut out = std::io::stdout().lock();
            out.write_all(&bytes)?;
            out.flush()?;
            return Ok(Exit::Done);
        };
        std::fs::write(&path, &bytes)
            .map_err(|error| Failure::new(Exit::Failed, format!("cannot write {}: {error}", path.display())))?;
        Ok(Exit::Done)
    }
}

fn said(reason: Reason) -> &'static str {
    match reason {
        Reason::Absent => "not resident",
        Reason::Corrupt => "its bytes did not match their checksum; the node drops it",
        Reason::PinBudget => "too much is pinned",
        Reason::TooShort { .. } => "it changed while it was read",
    }
}
