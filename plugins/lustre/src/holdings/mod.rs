//! What a store holds, as far as we have read it.
//!
//! Invariants: names are asked for by one listing, however many containers there are; a line is taken in once, whichever
//! manifest it stands in by then. A read-only store is never written.

mod news;
mod pieces;

use crate::book::{Book, Change, Lines};
use crate::exchange::Exchange;
use crate::format::{ContainerId, FileName, LINE_BYTES, Line};
use crate::io::{Directory, FileKind};
use crate::keeper::Setup;
use crate::link::{Speaker, ToMover};
use crate::manifest::Manifest;
use crate::routes::Routes;
use crate::salvage;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::time::Instant;

/// What a store holds.
pub(crate) struct Holdings {
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) book: Book,
    pub(crate) manifests: Vec<Manifest>,
    /// Files that were seen being written, and when first: one that stays so for long was left by the dead.
    pub(crate) unfinished: HashMap<FileName, Instant>,
    /// Manifests that were folded and are there still: who folded them died over it.
    pub(crate) leftovers: BTreeSet<FileName>,
    exchange: Arc<Exchange>,
    mover: Speaker,
    routes: Arc<Routes>,
    /// Which of the host's stores it is.
    number: usize,
    /// Manifests that were opened.
    opened: HashSet<FileName>,
    /// Manifests that are in a folded one.
    folded: HashSet<FileName>,
    /// Writers that go on under these names: their manifests are to be opened.
    continued: Vec<u64>,
    /// The container whose lines are being read in a folded manifest, though they stand in another as well.
    moving: Option<(ContainerId, Lines)>,
    to_tell: BTreeSet<ContainerId>,
}

impl Holdings {
    pub(crate) fn new(directory: Arc<dyn Directory>, setup: &Setup) -> Holdings {
        Holdings {
            directory,
            book: Book::new(setup.config.container_bytes),
            manifests: Vec::new(),
            unfinished: HashMap::new(),
            leftovers: BTreeSet::new(),
            exchange: Arc::clone(&setup.exchange),
            mover: setup.mover.clone(),
            routes: Arc::clone(&setup.routes),
            number: setup.number,
            opened: HashSet::new(),
            folded: HashSet::new(),
            continued: Vec::new(),
            moving: None,
            to_tell: BTreeSet::new(),
        }
    }

    /// Lists the directory, and opens the manifests that are new.
    pub(crate) fn list(&mut self) -> io::Result<()> {
        let names = self.directory.list()?;
        let names: BTreeSet<FileName> = names.iter().filter_map(|name| FileName::parse(name)).collect();
        // Folded ones first: what is in them need not be opened.
        let mut has_all = true;
        for name in &names {
            if let FileName::Folded(writer) = *name {
                has_all &= self.open(*name, writer, true)?;
            }
        }
        self.read()?;
        for name in &names {
            if let FileName::Manifest(writer) = *name {
                has_all &= self.open(*name, writer, false)?;
            }
        }
        self.read()?;
        self.leftovers = names.intersection(&self.folded.iter().copied().collect()).copied().collect();
        self.unfinished.retain(|name, _| names.contains(name));
        for name in names.iter().filter(|name| matches!(name, FileName::Unfinished(_))) {
            self.unfinished.entry(*name).or_insert_with(Instant::now);
        }
        // What tells of a container may have been folded away since we listed: the next listing knows.
        if has_all { self.adopt_orphans(&names) } else { Ok(()) }
    }

    /// Opens a manifest, if it is there still.
    fn open(&mut self, name: FileName, writer: u64, is_folded: bool) -> io::Result<bool> {
        if self.opened.contains(&name) || self.folded.contains(&name) {
            return Ok(true);
        }
        match self.directory.open(&name.to_string(), FileKind::Records) {
            Ok(file) => {
                self.manifests.push(Manifest::new(writer, is_folded, file));
                self.opened.insert(name);
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether a writer has ended.
    pub(crate) fn is_closed(&self, writer: u64) -> bool {
        self.manifests.iter().any(|manifest| manifest.writer == writer && manifest.is_closed)
    }

    /// Our own manifest is one of them.
    pub(crate) fn own(&mut self, manifest: Manifest) {
        self.opened.insert(manifest.name());
        self.manifests.push(manifest);
    }

    /// Reads what was appended since.
    pub(crate) fn read(&mut self) -> io::Result<()> {
        let mut source = 0;
        while source < self.manifests.len() {
            self.read_one(source)?;
            // As if we had listed: nobody waits for a listing to know what a known writer takes.
            for writer in std::mem::take(&mut self.continued) {
                self.open(FileName::Manifest(writer), writer, false)?;
            }
            source += 1;
        }
        Ok(())
    }

    fn read_one(&mut self, source: usize) -> io::Result<()> {
        let manifest = &self.manifests[source];
        if manifest.is_own || (manifest.is_folded && manifest.is_closed) {
            return Ok(());
        }
        while let Some(lines) = self.manifests[source].read_on(self.directory.as_ref())? {
            self.exchange.count(|counts| counts.bad_lines += lines.bad);
            for (offset, line) in lines.sound {
                self.take(source, offset, &line)?;
            }
        }
        let manifest = &mut self.manifests[source];
        if manifest.is_folded {
            manifest.is_closed = true;
            self.retire_folded();
        }
        Ok(())
    }

    /// Lets go of manifests that are in a folded one.
    fn retire_folded(&mut self) {
        let folded = &self.folded;
        let manifests = self.manifests.iter_mut();
        manifests.filter(|manifest| folded.contains(&manifest.name())).for_each(Manifest::retire);
    }

    fn take(&mut self, source: usize, offset: u64, line: &Line) -> io::Result<()> {
        let manifest = &mut self.manifests[source];
        let writer = manifest.writer;
        match line {
            Line::Closed { .. } => manifest.is_closed = true,
            Line::Continues { writer } => self.continued.push(*writer),
            Line::Folds { writer, .. } if manifest.is_folded => {
                self.folded.insert(FileName::Manifest(*writer));
                self.folded.insert(FileName::Folded(*writer));
            }
            _ => {}
        }
        if self.moves(source, offset, line) {
            return Ok(());
        }
        // Only a writer itself tells of what it made; of the rest anybody may.
        let makes = matches!(line, Line::Opened { .. } | Line::Stored(_));
        let is_foreign = line.container().is_some_and(|id| id.writer != writer);
        if makes && is_foreign && !self.manifests[source].is_folded {
            self.exchange.count(|counts| counts.bad_lines += 1);
            return Ok(());
        }
        if self.number > 0
            && let Some(id) = line.container().filter(|_| makes)
        {
            self.routes.learn(id.writer, self.number);
        }
        let change = self.book.apply(source, offset, line);
        if let Line::Gone { container } = *line {
            self.mover.say(ToMover::Gone(container));
        }
        self.react(change)
    }

    /// Whether a line of a folded manifest is one of a container whose lines we have read elsewhere: they only move.
    fn moves(&mut self, source: usize, offset: u64, line: &Line) -> bool {
        let end = offset + LINE_BYTES as u64;
        if !self.manifests[source].is_folded {
            return false;
        }
        match *line {
            Line::Stored(_) => {
                let Some(id) = line.container() else { return false };
                let elsewhere = |lines: Lines| lines.source != source;
                if !self.book.get(id).and_then(|container| container.lines).is_some_and(elsewhere) {
                    return false;
                }
                match &mut self.moving {
                    Some((moving, lines)) if *moving == id => lines.end = end,
                    moving => *moving = Some((id, Lines { source, start: offset, end })),
                }
                true
            }
            Line::Sealed { container, .. } => {
                if let Some((id, lines)) = self.moving.take_if(|(id, _)| *id == container) {
                    self.book.moved(id, lines);
                }
                false
            }
            _ => false,
        }
    }

    /// Takes in lines that we have written ourselves: what we stored is no news, nor what we were asked to remove.
    pub(crate) fn wrote(&mut self, writer: u64, lines: &[(u64, Line)]) -> io::Result<()> {
        let is_meant = |manifest: &Manifest| manifest.is_own && manifest.writer == writer;
        let source = self.manifests.iter().position(is_meant).expect("ours is known");
        for (offset, line) in lines {
            let change = self.book.apply(source, *offset, line);
            let end = offset + LINE_BYTES as u64;
            self.manifests[source].set_read_bytes(end);
            self.manifests[source].is_closed |= matches!(line, Line::Closed { .. });
            if let Line::Gone { container } = *line {
                self.mover.say(ToMover::Gone(container));
            }
            match change {
                Change::Grown(id) => self.book.told(id, end),
                Change::Removed(record) => self.forget(&record),
                change => self.react(change)?,
            }
        }
        Ok(())
    }

    /// Takes in the containers that no manifest tells of: their manifests are lost.
    fn adopt_orphans(&mut self, names: &BTreeSet<FileName>) -> io::Result<()> {
        for name in names {
            let FileName::Container(id) = *name else { continue };
            // One that a manifest tells of was announced there before it was made, and so before we listed.
            if self.book.get(id).is_some() {
                continue;
            }
            if let Some(bytes) = salvage::length(self.directory.as_ref(), id)? {
                self.book.adopt(id, bytes);
                self.to_tell.insert(id);
            }
        }
        Ok(())
    }
}
