//! Results on standard output. Unlike `println!`, a reader that went away is an error to return, not a panic.

use std::io::{self, Write};

use serde::Serialize;

/// `--json`, for commands whose result a program may read.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Format {
    /// Print the result as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// For results of many lines: written in large pieces, the last of them by `flush`.
pub(super) fn lines() -> impl Write {
    io::BufWriter::with_capacity(64 << 10, io::stdout().lock())
}

/// Writes `text` as it is.
pub(super) fn text(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Writes `value` as indented JSON and a line end.
pub(super) fn json(value: &impl Serialize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)?;
    out.flush()
}
