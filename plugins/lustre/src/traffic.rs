//! The transfers that are under way, and what each is for.
//! Invariant: what a transfer's parts lie in is kept here until the transfer is done.

use crate::io::{Direction, Done, Engine, Part, Transfer};
use crate::memory;
use crate::read::Reading;
use crate::write::{Sealing, Writing};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

/// So much memory of our own may be between the host's and files; more waits.
const STAGED_BYTES_MAX: u64 = 256 << 20;

/// What a transfer is for.
pub(crate) enum Flight {
    /// Pieces that are loaded.
    Read(Reading),
    /// A record that is stored.
    Write(Writing),
    /// The footer of a container.
    Seal(Sealing),
}

impl Flight {
    fn staged_bytes(&self) -> u64 {
        match self {
            Flight::Read(reading) => reading.staged_bytes,
            Flight::Write(writing) => writing.staged_bytes(),
            Flight::Seal(sealing) => sealing.staged_bytes(),
        }
    }
}

/// The transfers that are under way.
pub(crate) struct Traffic {
    engine: Box<dyn Engine>,
    unsent: VecDeque<Transfer>,
    flights: HashMap<u64, Flight>,
    done: Vec<Done>,
    last_token: u64,
    staged_bytes: u64,
}

impl Traffic {
    pub(crate) fn new(engine: Box<dyn Engine>) -> Traffic {
        Traffic {
            engine,
            unsent: VecDeque::new(),
            flights: HashMap::new(),
            done: Vec::new(),
            last_token: 0,
            staged_bytes: 0,
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.flights.is_empty()
    }

    /// Whether more may begin: a turn's worth waits already, or too much memory is out.
    pub(crate) fn is_full(&self) -> bool {
        self.staged_bytes > STAGED_BYTES_MAX || !self.unsent.is_empty()
    }

    pub(crate) fn start(
        &mut self,
        file: Arc<OwnedFd>,
        offset: u64,
        direction: Direction,
        parts: Vec<Part>,
        flight: Flight,
    ) {
        self.last_token += 1;
        let token = self.last_token;
        self.staged_bytes += flight.staged_bytes();
        self.flights.insert(token, flight);
        self.unsent.push_back(Transfer { token, file, offset, direction, parts });
    }

    /// Gives the engine what it takes.
    pub(crate) fn send(&mut self) {
        while let Some(transfer) = self.unsent.pop_front() {
            if let Err(transfer) = memory::submit(self.engine.as_mut(), transfer) {
                self.unsent.push_front(transfer);
                return;
            }
        }
    }

    /// What is done, and how it ended.
    pub(crate) fn reap(&mut self) -> Vec<(Flight, io::Result<u64>)> {
        self.engine.reap(&mut self.done);
        let landed: Vec<_> = self
            .done
            .drain(..)
            .filter_map(|done| Some((self.flights.remove(&done.token)?, done.result)))
            .collect();
        self.staged_bytes -= landed.iter().map(|(flight, _)| flight.staged_bytes()).sum::<u64>();
        landed
    }

    /// Readable when there is something to reap.
    pub(crate) fn event_fd(&self) -> BorrowedFd<'_> {
        self.engine.event_fd()
    }
}
