//! The lines that a child prints, as they come.

use std::io::{BufRead, BufReader, Read};
use std::process::Child;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

/// Where a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Out,
    Err,
}

/// The lines of a child's piped streams, until both are closed. They arrive in no promised order among each other.
pub(crate) fn of(child: &mut Child) -> Receiver<(Stream, String)> {
    let (sender, lines) = mpsc::channel();
    if let Some(pipe) = child.stdout.take() {
        forward(pipe, Stream::Out, sender.clone());
    }
    if let Some(pipe) = child.stderr.take() {
        forward(pipe, Stream::Err, sender);
    }
    lines
}

/// Reads in a thread that ends with the pipe, or when nobody listens any more.
fn forward(pipe: impl Read + Send + 'static, stream: Stream, lines: Sender<(Stream, String)>) {
    thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        // Bytes, not `lines()`: a test may print what is not UTF-8, and must not end our reading by it.
        while pipe.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned();
            if lines.send((stream, text)).is_err() {
                return;
            }
            line.clear();
        }
    });
}
