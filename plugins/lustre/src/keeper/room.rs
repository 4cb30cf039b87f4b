//! What a store takes, and whether there is room for one more container.
//!
//! Invariant: a container is made only after its room was announced and the others were read, so that of two who announce at
//! once one at least sees the other, and gives its room back.

use super::Keeper;
use crate::format::{ContainerId, FileName, Line};
use crate::io::{Access, FileKind};
use crate::link::Acquired;
use crate::manifest::Manifest;
use crate::mover::unix_s;
use crate::order::status_of;
use cascade_tier::Status;
use std::io;
use std::time::Duration;

/// The directory is listed every so many refreshes.
const REFRESHES_PER_LISTING: u32 = 5;

impl Keeper {
    /// What the store takes, with the manifests.
    pub(crate) fn bytes(&self) -> u64 {
        self.holdings.book.bytes() + self.manifests().map(Manifest::read_bytes).sum::<u64>()
    }

    /// How many files the store has: containers, manifests, the store's own, the collector's.
    pub(crate) fn files(&self) -> u64 {
        self.holdings.book.files() + self.manifests().count() as u64 + 2
    }

    fn manifests(&self) -> impl Iterator<Item = &Manifest> {
        self.holdings.manifests.iter().filter(|manifest| manifest.is_there())
    }

    /// Whether a writer may be at work: it has not ended, and gave a sign of life not long ago.
    pub(crate) fn is_living(&self, writer: u64) -> bool {
        let expiry = self.config().claim_expiry();
        self.holdings.manifests.iter().any(|manifest| {
            let is_heard = manifest.is_own || manifest.grown_at.elapsed() < expiry;
            manifest.writer == writer && !manifest.is_closed && is_heard
        })
    }

    /// After how long everybody who was there knows of a new writer.
    pub(crate) fn listing_interval(&self) -> Duration {
        self.config().refresh() * REFRESHES_PER_LISTING
    }

    /// Makes room for a container, and the container.
    pub(crate) fn acquire(&mut self) -> Result<Acquired, Status> {
        if self.access() == Access::ReadOnly {
            return Err(Status::READ_ONLY);
        }
        self.try_acquire().unwrap_or_else(|error| {
            let status = status_of(&error);
            self.note("make a container", Err::<(), _>(error));
            Err(status)
        })
    }

    fn try_acquire(&mut self) -> io::Result<Result<Acquired, Status>> {
        self.voice.make(&mut self.holdings)?;
        let manifest_bytes = self.config().manifest_bytes;
        self.voice.go_on(&mut self.holdings, manifest_bytes)?;
        // Writers who have been here for long know of all but the latest comers; a newcomer asks for the others each time,
        // and leaves half of the room to those who do not know it yet.
        let is_settled = self.voice.is_known_for() >= 2 * self.listing_interval();
        if !is_settled || self.listed_at.elapsed() >= self.listing_interval() {
            self.list()?;
        }
        let bytes = self.config().container_bytes;
        let capacity_bytes = self.config().capacity_bytes;
        let limit_bytes = if is_settled { capacity_bytes } else { capacity_bytes / 2 };
        if self.bytes() + bytes > limit_bytes || self.files() >= self.config().inodes_max {
            self.wants_room = true;
            return Ok(Err(Status::NO_SPACE));
        }
        let container = self.voice.next_container();
        self.voice.push(Line::Opened { container, reserved_bytes: bytes, opened_unix_s: unix_s() });
        self.say()?;
        self.holdings.read()?;
        if self.bytes() > limit_bytes || self.files() > self.config().inodes_max {
            self.wants_room = true;
            self.give_back(container)?;
            return Ok(Err(Status::NO_SPACE));
        }
        match self.directory().create(&FileName::Container(container).to_string(), FileKind::Container) {
            Ok(file) => {
                self.durable.made();
                Ok(Ok(Acquired { container, file, bytes }))
            }
            Err(error) => {
                self.give_back(container)?;
                Err(error)
            }
        }
    }

    fn give_back(&mut self, container: ContainerId) -> io::Result<()> {
        self.voice.push(Line::Sealed { container, bytes: 0 });
        self.say()
    }
}
