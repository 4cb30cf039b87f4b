//! What the manifests of a store say: its containers, what they take, and where the lines of their pieces stand.
//!
//! Invariants: pure, no I/O; lines may come in any order and twice, for manifests are read side by side; what is gone stays
//! gone. Pieces are not kept, only where their lines are, so memory grows with containers and not with pieces.

use crate::format::{ContainerId, LINE_BYTES, Line, Location};
use cascade_tier::Record;
use std::collections::{BTreeMap, HashMap, HashSet};

const LINE: u64 = LINE_BYTES as u64;

/// Which manifest of those that were opened, by index.
pub(crate) type Source = usize;

/// A container as its store tells of it.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    pub(crate) state: State,
    /// What it takes of the capacity.
    pub(crate) bytes: u64,
    pub(crate) opened_unix_s: u32,
    /// Where its pieces are listed.
    pub(crate) lines: Option<Lines>,
    /// Up to where they were told.
    pub(crate) told: u64,
    /// Nothing told of it but itself: its manifest is lost. Once it was told so, `told` is not 0.
    pub(crate) is_orphan: bool,
}

/// How far a container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    Open,
    Sealed,
    Condemned,
    Gone,
}

/// A stretch of a manifest. Lines of other containers may stand in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lines {
    pub(crate) source: Source,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// What a line changed that others have to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing.
    None,
    /// There is more to tell of a container.
    Grown(ContainerId),
    /// A container's pieces are lost.
    Lost(ContainerId),
    /// One piece is lost.
    Removed(Record),
}

/// The containers of a store.
#[derive(Debug, Default)]
pub(crate) struct Book {
    containers: BTreeMap<ContainerId, Container>,
    removed: HashMap<ContainerId, HashSet<u64>>,
    /// What all containers take.
    bytes: u64,
    /// How many of them have a file.
    files: u64,
    /// What a container takes of which only pieces are known.
    container_bytes: u64,
}

impl Book {
    pub(crate) fn new(container_bytes: u64) -> Book {
        Book { container_bytes, ..Book::default() }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn files(&self) -> u64 {
        self.files
    }

    pub(crate) fn get(&self, id: ContainerId) -> Option<&Container> {
        self.containers.get(&id)
    }
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ContainerId, &Container)> {
        self.containers.iter().map(|(&id, container)| (id, container))
    }

    /// Whether a piece was removed.
    pub(crate) fn is_removed(&self, location: Location) -> bool {
        self.removed.get(&location.container).is_some_and(|offsets| offsets.contains(&location.offset))
    }

    /// How many removed pieces are kept in mind.
    pub(crate) fn removed_pieces(&self) -> usize {
        self.removed.values().map(HashSet::len).sum()
    }

    /// Takes in a line that stands at an offset of a manifest.
    pub(crate) fn apply(&mut self, source: Source, offset: u64, line: &Line) -> Change {
        match *line {
            Line::Opened { container, reserved_bytes, opened_unix_s } => {
                let entry = self.entry(container, reserved_bytes);
                entry.opened_unix_s = opened_unix_s;
                if entry.state == State::Open {
                    self.set(container, State::Open, reserved_bytes);
                }
                Change::None
            }
            Line::Stored(record) => {
                let Some(id) = line.container() else { return Change::None };
                let container = self.entry(id, self.container_bytes);
                container.opened_unix_s = container.opened_unix_s.max(record.stored_unix_s);
                let end = offset + LINE;
                let was_told_by_itself = container.is_orphan && container.told > 0;
                match &mut container.lines {
                    Some(lines) if lines.source == source => lines.end = lines.end.max(end),
                    // They stand in another manifest already.
                    Some(_) => return Change::None,
                    lines => {
                        *lines = Some(Lines { source, start: offset, end });
                        container.told = offset;
                    }
                }
                if was_told_by_itself {
                    container.told = end;
                }
                let is_leaving = container.state >= State::Condemned;
                if is_leaving || was_told_by_itself { Change::None } else { Change::Grown(id) }
            }
            Line::Removed(record) => {
                let Some(location) = Location::from_extent(record.extent) else { return Change::None };
                if self.state(location.container) == Some(State::Gone) {
                    return Change::None;
                }
                let is_new = self.removed.entry(location.container).or_default().insert(location.offset);
                if is_new { Change::Removed(record) } else { Change::None }
            }
            Line::Sealed { container, bytes: 0 } => self.change(container, State::Gone, 0),
            Line::Sealed { container, bytes } => {
                self.entry(container, bytes);
                let state = self.containers[&container].state;
                if state < State::Gone {
                    self.set(container, state.max(State::Sealed), bytes);
                }
                Change::None
            }
            Line::Condemned { container } => {
                let bytes = self.entry(container, 0).bytes;
                self.change(container, State::Condemned, bytes)
            }
            Line::Gone { container } => {
                self.entry(container, 0);
                self.removed.remove(&container);
                self.change(container, State::Gone, 0)
            }
            Line::Store { .. } | Line::Alive { .. } | Line::Closed { .. } | Line::Folds { .. } => {
                Change::None
            }
            Line::Head { .. } | Line::Footer { .. } | Line::Claim { .. } | Line::Continues { .. } => {
                Change::None
            }
        }
    }

    /// A container that no manifest tells of was found, so long.
    pub(crate) fn adopt(&mut self, id: ContainerId, bytes: u64) {
        let container = self.entry(id, bytes);
        container.is_orphan = true;
        if container.state == State::Open {
            self.set(id, State::Sealed, bytes);
        }
    }

    /// What was told of a container has been told up to an offset of its manifest.
    pub(crate) fn told(&mut self, id: ContainerId, up_to: u64) {
        if let Some(container) = self.containers.get_mut(&id) {
            container.told = container.told.max(up_to);
        }
    }

    /// Its pieces stand in another manifest now, which tells no more and no less.
    pub(crate) fn moved(&mut self, id: ContainerId, lines: Lines) {
        if let Some(container) = self.containers.get_mut(&id) {
            let untold = container.lines.is_some_and(|lines| container.told < lines.end);
            container.told = if untold { lines.start } else { lines.end };
            container.lines = Some(lines);
        }
    }

    fn state(&self, id: ContainerId) -> Option<State> {
        self.containers.get(&id).map(|container| container.state)
    }

    fn entry(&mut self, id: ContainerId, bytes: u64) -> &mut Container {
        self.containers.entry(id).or_insert_with(|| {
            self.bytes += bytes;
            self.files += 1;
            let (state, opened_unix_s, lines, told, is_orphan) = (State::Open, 0, None, 0, false);
            Container { state, bytes, opened_unix_s, lines, told, is_orphan }
        })
    }

    /// Brings a container further; its pieces are lost if they were not before.
    fn change(&mut self, id: ContainerId, state: State, bytes: u64) -> Change {
        let before = self.entry(id, 0).state;
        if state <= before {
            return Change::None;
        }
        self.set(id, state, bytes);
        if before < State::Condemned { Change::Lost(id) } else { Change::None }
    }

    fn set(&mut self, id: ContainerId, state: State, bytes: u64) {
        let container = self.containers.get_mut(&id).expect("it was just looked at");
        if state == State::Gone && container.state != State::Gone {
            self.files -= 1;
        }
        self.bytes = self.bytes - container.bytes + bytes;
        container.state = state;
        container.bytes = bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cascade_tier::{PieceId, Place};

    const ID: ContainerId = ContainerId { writer: 7, sequence: 0 };

    fn stored(offset: u64) -> Record {
        Record {
            piece: PieceId { key: [1; 32], rank: 0, group: 0 },
            checksum: 9,
            length_bytes: 64,
            place: Place::default(),
            stored_unix_s: 5,
            extent: Location::checked(ID, offset, 64).unwrap().to_extent(),
        }
    }

    fn opened() -> Line {
        Line::Opened { container: ID, reserved_bytes: 1000, opened_unix_s: 1 }
    }

    #[test]
    fn a_container_takes_what_was_reserved_until_it_is_sealed_and_nothing_when_it_is_gone() {
        let mut book = Book::new(4096);
        book.apply(0, 0, &opened());
        assert_eq!((book.bytes(), book.files()), (1000, 1));
        assert_eq!(book.apply(0, 128, &Line::Stored(stored(4096))), Change::Grown(ID));
        book.apply(0, 256, &Line::Sealed { container: ID, bytes: 700 });
        assert_eq!((book.bytes(), book.files()), (700, 1));
        assert_eq!(book.apply(1, 0, &Line::Condemned { container: ID }), Change::Lost(ID));
        assert_eq!(book.bytes(), 700, "it is there until it is deleted");
        assert_eq!(book.apply(1, 128, &Line::Gone { container: ID }), Change::None, "that was told");
        assert_eq!((book.bytes(), book.files()), (0, 0));
    }

    #[test]
    fn room_that_was_given_back_takes_nothing() {
        let mut book = Book::new(4096);
        book.apply(0, 0, &opened());
        book.apply(0, 128, &Line::Sealed { container: ID, bytes: 0 });
        assert_eq!((book.bytes(), book.files()), (0, 0));
    }

    #[test]
    fn what_is_gone_stays_gone_in_whatever_order_the_lines_come() {
        let lines = [
            opened(),
            Line::Stored(stored(4096)),
            Line::Removed(stored(4096)),
            Line::Sealed { container: ID, bytes: 700 },
            Line::Condemned { container: ID },
            Line::Gone { container: ID },
        ];
        for start in 0..lines.len() {
            let mut book = Book::new(4096);
            for number in 0..2 * lines.len() {
                let line = &lines[(start + number) % lines.len()];
                book.apply(number % 2, 128 * number as u64, line);
            }
            assert_eq!((book.bytes(), book.files()), (0, 0), "from line {start} on");
            assert_eq!(book.get(ID).unwrap().state, State::Gone);
            assert_eq!(book.removed_pieces(), 0);
        }
    }

    #[test]
    fn a_removed_piece_is_lost_once() {
        let mut book = Book::new(4096);
        book.apply(0, 0, &Line::Stored(stored(4096)));
        assert_eq!(book.bytes(), 4096, "a container of which only pieces are known");
        let removed = Line::Removed(stored(4096));
        assert_eq!(book.apply(1, 0, &removed), Change::Removed(stored(4096)));
        assert_eq!(book.apply(1, 0, &removed), Change::None);
        assert!(book.is_removed(Location::from_extent(stored(4096).extent).unwrap()));
        assert!(!book.is_removed(Location::from_extent(stored(8192).extent).unwrap()));
    }

    #[test]
    fn the_lines_of_a_container_are_a_stretch_of_its_manifest() {
        let mut book = Book::new(4096);
        for (offset, piece) in [(128, 4096), (512, 8192)] {
            book.apply(3, offset, &Line::Stored(stored(piece)));
        }
        assert_eq!(book.get(ID).unwrap().lines, Some(Lines { source: 3, start: 128, end: 640 }));
    }
}
