//! What the host is told of a store.
//!
//! Invariants: pieces are told as they stand in manifests, and no memory of each is kept; one is told as lost only if it was told as
//! found, or is our own. The mover knows before the host does.

use super::Holdings;
use crate::book::{Change, Lines, State};
use crate::format::{ContainerId, LINE_BYTES, Line, Location};
use crate::link::ToMover;
use cascade_tier::{News, NewsKind, Record};
use std::io;

/// So many lines of a container are told at once.
const TOLD_LINES: u64 = 8192;

impl Holdings {
    pub(super) fn react(&mut self, change: Change) -> io::Result<()> {
        match change {
            Change::None => {}
            Change::Grown(id) => {
                self.to_tell.insert(id);
            }
            Change::Lost(id) => {
                self.to_tell.remove(&id);
                self.lose(id)?;
            }
            Change::Removed(record) => {
                self.forget(&record);
                if self.was_told(&record)? {
                    self.tell(NewsKind::LOST, [record]);
                }
            }
        }
        Ok(())
    }

    /// Lets the mover know that a piece is no more, before the host hears of it.
    pub(super) fn forget(&self, record: &Record) {
        if let Some(location) = Location::from_extent(record.extent) {
            self.mover.say(ToMover::Removed(location));
        }
    }

    /// Whether the host knows of a piece.
    fn was_told(&self, record: &Record) -> io::Result<bool> {
        let container = Line::Removed(*record).container().and_then(|id| self.book.get(id));
        let Some((lines, told)) = container.and_then(|container| Some((container.lines?, container.told)))
        else {
            // What a container tells itself is told at once.
            return Ok(container.is_some_and(|container| container.is_orphan));
        };
        let mut was_told = false;
        self.manifests[lines.source].reread(self.directory.as_ref(), lines.start, told, |line| {
            was_told |= matches!(line, Line::Stored(stored) if stored.extent == record.extent);
            !was_told
        })?;
        Ok(was_told)
    }

    fn tell(&self, kind: NewsKind, records: impl IntoIterator<Item = Record>) {
        let mut count = 0;
        self.exchange.tell(records.into_iter().inspect(|_| count += 1).map(|record| News { kind, record }));
        self.exchange.count(|counts| match kind {
            NewsKind::FOUND => counts.found_pieces += count,
            _ => counts.lost_pieces += count,
        });
    }

    /// Tells pieces that the host does not know of though they are our own.
    pub(crate) fn tell_found(&self, records: &[Record]) {
        self.tell(NewsKind::FOUND, records.iter().copied());
    }

    /// Tells what is new as far as there is room; whether there is more.
    pub(crate) fn tell_some(&mut self) -> io::Result<bool> {
        while self.exchange.has_room() {
            let Some(id) = self.to_tell.pop_first() else { return Ok(false) };
            let Some(container) = self.book.get(id).filter(|container| container.state < State::Condemned)
            else {
                continue;
            };
            let (told, lines, is_orphan) = (container.told, container.lines, container.is_orphan);
            let Some(lines) = lines else {
                if is_orphan {
                    self.tell(NewsKind::FOUND, self.salvaged(id)?);
                    self.book.told(id, 1);
                }
                continue;
            };
            let end = lines.end.min(told + TOLD_LINES * LINE_BYTES as u64);
            let records = self.pieces(id, Lines { start: told, end, ..lines })?;
            self.tell(NewsKind::FOUND, records);
            self.book.told(id, end);
            if end < lines.end {
                self.to_tell.insert(id);
            }
        }
        Ok(!self.to_tell.is_empty())
    }

    /// Tells the pieces of a container as lost that were told as found.
    fn lose(&self, id: ContainerId) -> io::Result<()> {
        let Some(container) = self.book.get(id) else { return Ok(()) };
        let records = match container.lines {
            Some(lines) => self.pieces(id, Lines { end: container.told, ..lines })?,
            None if container.is_orphan && container.told > 0 => self.salvaged(id)?,
            None => Vec::new(),
        };
        self.tell(NewsKind::LOST, records);
        Ok(())
    }

    /// A container is not there any more, though nobody said so: it was purged.
    pub(crate) fn vanished(&mut self, id: ContainerId) -> io::Result<()> {
        if self.book.get(id).is_none() {
            return Ok(());
        }
        let change = self.book.apply(0, 0, &Line::Gone { container: id });
        self.react(change)
    }
}
