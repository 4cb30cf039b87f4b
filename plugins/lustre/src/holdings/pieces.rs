//! The pieces of a store, read again from where their lines stand. Those that were removed are left out.

use super::Holdings;
use crate::book::{Lines, State};
use crate::format::{ContainerId, Line, Location};
use crate::salvage;
use cascade_tier::Record;
use std::io;

impl Holdings {
    /// The pieces of a container whose lines stand in a stretch, but for those that were removed.
    pub(super) fn pieces(&self, id: ContainerId, lines: Lines) -> io::Result<Vec<Record>> {
        let mut records = Vec::new();
        self.each_piece(id, lines, |record, _| {
            records.push(*record);
            true
        })?;
        Ok(records)
    }

    fn each_piece(
        &self,
        id: ContainerId,
        lines: Lines,
        mut take: impl FnMut(&Record, Location) -> bool,
    ) -> io::Result<()> {
        let Lines { source, start, end } = lines;
        let manifest = &self.manifests[source];
        manifest.reread(self.directory.as_ref(), start, end, |line| match line {
            Line::Stored(record) => match Location::from_extent(record.extent) {
                Some(location) if location.container == id && !self.book.is_removed(location) => {
                    take(record, location)
                }
                _ => true,
            },
            _ => true,
        })
    }

    /// The pieces that a container names itself, but for those that were removed.
    pub(super) fn salvaged(&self, id: ContainerId) -> io::Result<Vec<Record>> {
        let mut records = salvage::pieces(self.directory.as_ref(), id)?;
        records.retain(|record| {
            Location::from_extent(record.extent).is_some_and(|location| !self.book.is_removed(location))
        });
        Ok(records)
    }

    /// All pieces of a container that are not removed.
    pub(crate) fn all_pieces(&self, id: ContainerId) -> io::Result<Vec<Record>> {
        match self.book.get(id) {
            Some(container) => match container.lines {
                Some(lines) => self.pieces(id, lines),
                None if container.is_orphan => self.salvaged(id),
                None => Ok(Vec::new()),
            },
            None => Ok(Vec::new()),
        }
    }

    /// The piece at a location, if there is one.
    pub(crate) fn find(&self, location: Location) -> io::Result<Option<Record>> {
        let Some(container) = self.book.get(location.container) else { return Ok(None) };
        if container.state == State::Gone || self.book.is_removed(location) {
            return Ok(None);
        }
        let mut found = None;
        match container.lines {
            Some(lines) => self.each_piece(location.container, lines, |record, at| {
                if at == location {
                    found = Some(*record);
                }
                found.is_none()
            })?,
            None => {
                let records = self.all_pieces(location.container)?;
                found = records.into_iter().find(|record| record.extent == location.to_extent());
            }
        }
        Ok(found)
    }

    /// What manifests that are to be folded say of containers whose lines stand elsewhere.
    pub(crate) fn said_of_others(&self, sources: &[usize]) -> io::Result<Vec<Line>> {
        let is_elsewhere = |id: ContainerId| {
            let lines = self.book.get(id).and_then(|container| container.lines);
            lines.is_some_and(|lines| !sources.contains(&lines.source))
        };
        let mut said = Vec::new();
        for (id, container) in self.book.iter().filter(|(id, _)| is_elsewhere(*id)) {
            match container.state {
                State::Condemned => said.push(Line::Condemned { container: id }),
                State::Gone => said.push(Line::Gone { container: id }),
                State::Open | State::Sealed => {}
            }
        }
        for &source in sources {
            let manifest = &self.manifests[source];
            manifest.reread(self.directory.as_ref(), 0, manifest.read_bytes(), |line| {
                if matches!(line, Line::Removed(_)) && line.container().is_some_and(is_elsewhere) {
                    said.push(*line);
                }
                true
            })?;
        }
        Ok(said)
    }
}
