//! `get`: write one piece to a file or to standard output.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use cascade_client::{Deadline, Lookup, Reason};

use super::reach::Piece;
use super::{Context, Exit, Failure, Run, reach};

/// Write a piece to standard output or a file
///
/// What is not in memory is brought there from lower tiers first. The bytes are verified before they are written. Ends with
/// 3 after a miss.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cascade-node get @greeting
  cascade-node get @noise --out noise.bin
  cascade-node get @noise --within 0      only if it is in memory
")]
pub(super) struct Args {
    #[command(flatten)]
    piece: Piece,

    /// File to write; standard output if none is given
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    out: Option<PathBuf>,

    /// Seconds that lower tiers may take
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = reach::seconds)]
    within: f64,
}

impl Run for Args {
    fn run(self, context: &Context) -> Result<Exit, Failure> {
        let client = reach::client(context)?;
        let deadline = Deadline::after(Duration::from_secs_f64(self.within));
        let id = self.piece.id();
        // The first look tells the length; the piece may change in between, so the answer of the second one counts.
        let mut bytes = Vec::new();
        loop {
            match client.get_within(&id, &mut bytes, deadline)? {
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
        Reason::Absent => "it is not there",
        Reason::Corrupt => "its bytes did not match their checksum; the node drops it",
        Reason::PinBudget => "too much is pinned",
        Reason::Expired => "it did not come from a lower tier in time: see --within",
        Reason::Declined => "it would come too late from a lower tier: see --within",
        Reason::Fenced => "the lower tier that has it does not answer: see `cascade-node status`",
        Reason::TooShort { .. } => "it changed while it was read",
    }
}
