//! What we tell the others: our manifest, and when that is long, another one that we go on in.
//!
//! Invariants: lines about a container of ours stand in the manifest of the writer that it is named after; the others hear of a
//! new manifest in the old one, so that they know of what we take without listing. A manifest that is over is closed, and
//! folded like those of the dead.

use crate::book::State;
use crate::format::{ContainerId, Line};
use crate::holdings::Holdings;
use crate::io::Directory;
use crate::journal::Journal;
use crate::mover::unix_s;
use std::io;
use std::time::{Duration, Instant};

/// What we tell the others.
#[derive(Debug)]
pub(crate) struct Voice {
    journal: Journal,
    /// Manifests that we do not go on in, but that have containers which are still written.
    former: Vec<Journal>,
    next_sequence: u32,
    /// Since when the others can know of us.
    known_since: Option<Instant>,
    /// When we last said something, which is a sign of life.
    said_at: Instant,
    /// Names of manifests are not known to be durable.
    is_name_new: bool,
}

impl Voice {
    pub(crate) fn new() -> Voice {
        Voice {
            journal: Journal::new(),
            former: Vec::new(),
            next_sequence: 0,
            known_since: None,
            said_at: Instant::now(),
            is_name_new: false,
        }
    }

    /// Who we are.
    pub(crate) fn writer(&self) -> u64 {
        self.journal.writer()
    }

    /// Whether we have said anything.
    pub(crate) fn is_heard(&self) -> bool {
        self.journal.is_made()
    }

    /// For how long the others can have known of us.
    pub(crate) fn is_known_for(&self) -> Duration {
        self.known_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// For how long we have said nothing, if anybody listens.
    pub(crate) fn is_silent_for(&self) -> Duration {
        if self.is_heard() { self.said_at.elapsed() } else { Duration::ZERO }
    }

    /// The name of our next container.
    pub(crate) fn next_container(&mut self) -> ContainerId {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        ContainerId { writer: self.writer(), sequence }
    }

    /// Appends a line, at the next [`say`](Voice::say).
    pub(crate) fn push(&mut self, line: Line) {
        let is_made_by = |journal: &&mut Journal| {
            matches!(line, Line::Stored(_) | Line::Sealed { .. })
                && line.container().is_some_and(|id| id.writer == journal.writer())
        };
        self.former.iter_mut().find(is_made_by).unwrap_or(&mut self.journal).push(line);
    }

    /// Makes our manifest, if it is not there.
    pub(crate) fn make(&mut self, holdings: &mut Holdings) -> io::Result<()> {
        if let Some(manifest) = self.journal.make(holdings.directory.as_ref())? {
            holdings.own(manifest);
            self.known_since = self.known_since.or_else(|| Some(Instant::now()));
            self.is_name_new = true;
        }
        Ok(())
    }

    /// Writes what was appended.
    pub(crate) fn say(&mut self, holdings: &mut Holdings) -> io::Result<()> {
        if self.journal.has_pending() {
            self.make(holdings)?;
        }
        for journal in self.former.iter_mut().chain([&mut self.journal]) {
            let lines = journal.flush(holdings.directory.as_ref())?;
            if !lines.is_empty() {
                self.said_at = Instant::now();
                holdings.wrote(journal.writer(), &lines)?;
            }
        }
        Ok(())
    }

    /// Goes on in another manifest if ours is longer than this, and closes those that are over.
    pub(crate) fn go_on(&mut self, holdings: &mut Holdings, bytes_max: u64) -> io::Result<()> {
        if self.journal.written_bytes() >= bytes_max {
            let mut next = Journal::new();
            let made = next.make(holdings.directory.as_ref())?;
            // First it is there, then it is said.
            self.journal.push(Line::Continues { writer: next.writer() });
            made.into_iter().for_each(|manifest| holdings.own(manifest));
            self.is_name_new = true;
            self.former.push(std::mem::replace(&mut self.journal, next));
            self.next_sequence = 0;
        }
        for journal in &mut self.former {
            let mut ours = holdings.book.iter().filter(|(id, _)| id.writer == journal.writer());
            if ours.all(|(_, container)| container.state != State::Open) {
                journal.push(Line::Closed { unix_s: unix_s() });
            }
        }
        self.say(holdings)?;
        self.former.retain(|journal| !holdings.is_closed(journal.writer()));
        Ok(())
    }

    /// Makes durable what was said; whether names are durable is for the caller, who has others too.
    pub(crate) fn sync(&mut self, directory: &dyn Directory) -> io::Result<()> {
        self.former.iter_mut().chain([&mut self.journal]).try_for_each(|journal| journal.sync(directory))
    }

    /// Whether a manifest was made since the last time.
    pub(crate) fn takes_new_name(&mut self) -> bool {
        std::mem::take(&mut self.is_name_new)
    }

    /// We end.
    pub(crate) fn close(&mut self) {
        for journal in self.former.iter_mut().chain([&mut self.journal]).filter(|journal| journal.is_made()) {
            journal.push(Line::Closed { unix_s: unix_s() });
        }
    }
}
