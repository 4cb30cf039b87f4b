//! Folds the manifests of dead writers into one, so that a start opens few files, however many jobs came and went.
//!
//! Invariants: a folded manifest gets its name when it is whole; what it folds is taken away only then. Whoever reads both
//! takes nothing twice: the folded one names what is in it.

use crate::book::State;
use crate::format::{ContainerId, FileName, LINE_BYTES, Line};
use crate::io::FileKind;
use crate::journal::random_word;
use crate::keeper::Keeper;
use crate::manifest::CHUNK_BYTES;
use std::collections::BTreeSet;
use std::io;

/// So many manifests of the dead are folded.
const DEAD_MAX: usize = 8;

/// The manifests whose writers are dead, by index.
pub(crate) fn dead(keeper: &Keeper) -> Vec<usize> {
    let manifests = keeper.holdings.manifests.iter().enumerate();
    let is_dead = |(_, manifest): &(usize, &crate::manifest::Manifest)| {
        manifest.is_there() && (manifest.is_folded || !keeper.is_living(manifest.writer))
    };
    manifests.filter(is_dead).map(|(index, _)| index).collect()
}

/// Whether there are many manifests of the dead.
pub(crate) fn is_due(keeper: &Keeper) -> bool {
    dead(keeper).len() >= DEAD_MAX
}

/// Folds them, if there are many. For who holds the claim.
pub(crate) fn fold(keeper: &mut Keeper) -> io::Result<()> {
    if !is_due(keeper) {
        return Ok(());
    }
    let dead = dead(keeper);
    let directory = std::sync::Arc::clone(&keeper.holdings.directory);
    let writer = random_word();
    let unfinished = FileName::Unfinished(writer).to_string();
    let file = directory.create(&unfinished, FileKind::Records)?;
    let mut folded = Folded { bytes: Vec::new(), written: 0 };
    for &index in &dead {
        let manifest = &keeper.holdings.manifests[index];
        folded.push(&Line::Folds { writer: manifest.writer, bytes: manifest.read_bytes() });
    }
    let containers: Vec<ContainerId> = keeper
        .holdings
        .book
        .iter()
        .filter(|(_, container)| container.state != State::Gone)
        // One of which nothing is listed any more is named all the same: else its pieces would be taken from itself again.
        .filter(|(id, container)| match container.lines {
            Some(lines) => dead.contains(&lines.source),
            None => !keeper.is_living(id.writer),
        })
        .map(|(id, _)| id)
        .collect();
    for container in containers {
        let found = keeper.holdings.book.get(container).expect("it was just listed").clone();
        let (bytes, opened_unix_s) = (found.bytes, found.opened_unix_s);
        folded.push(&Line::Opened { container, reserved_bytes: bytes, opened_unix_s });
        for record in keeper.holdings.all_pieces(container)? {
            folded.push(&Line::Stored(record));
            folded.spill(|bytes, at| directory.write_at(&file, bytes, at))?;
        }
        folded.push(&Line::Sealed { container, bytes });
        if found.state == State::Condemned {
            folded.push(&Line::Condemned { container });
        }
    }
    // What the dead said of the containers of the living.
    for line in keeper.holdings.said_of_others(&dead)? {
        folded.push(&line);
    }
    folded.flush(|bytes, at| directory.write_at(&file, bytes, at))?;
    directory.sync(&file)?;
    let name = FileName::Folded(writer);
    directory.rename(&unfinished, &name.to_string())?;
    let names: BTreeSet<FileName> =
        dead.iter().map(|&index| keeper.holdings.manifests[index].name()).collect();
    for old in &names {
        directory.remove(&old.to_string())?;
    }
    keeper.count(|counts| counts.folded_manifests += names.len() as u64);
    // As everybody else: it is read in the place of those that it folds.
    keeper.list()
}

/// Lines on their way into the folded manifest.
struct Folded {
    bytes: Vec<u8>,
    written: u64,
}

impl Folded {
    fn push(&mut self, line: &Line) {
        self.bytes.extend_from_slice(&line.encode());
    }

    /// Writes when there is a chunk.
    fn spill(&mut self, write: impl FnOnce(&[u8], u64) -> io::Result<()>) -> io::Result<()> {
        if self.bytes.len() + LINE_BYTES < CHUNK_BYTES { Ok(()) } else { self.flush(write) }
    }

    fn flush(&mut self, write: impl FnOnce(&[u8], u64) -> io::Result<()>) -> io::Result<()> {
        write(&self.bytes, self.written)?;
        self.written += self.bytes.len() as u64;
        self.bytes.clear();
        Ok(())
    }
}
