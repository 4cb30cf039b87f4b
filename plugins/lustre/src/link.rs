//! What the mover and a keeper say to each other. Neither waits for the other: the mover must not, for a keeper may hang in
//! the file system for minutes.

use crate::exchange::Exchange;
use crate::format::{ContainerId, Location};
use cascade_tier::{CloseMode, Completion, Record, Status};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::Sender;

/// What the mover asks of a keeper, or tells it.
pub(crate) enum ToKeeper {
    /// Open a container for reading.
    Open(ContainerId),
    /// Make a new container of our own.
    Acquire,
    /// The bytes of these pieces are in the file.
    Stored(Stored),
    /// A container of ours is as long as it will be.
    Sealed { container: ContainerId, bytes: u64, file: Arc<OwnedFd> },
    /// Make durable what was stored before.
    Sync { request_id: u64 },
    /// Drop a piece.
    Remove { request_id: u64, location: Location },
    /// A file is of no more use: to close it may take long.
    Drop(Arc<OwnedFd>),
    /// There is nothing more to come.
    Close(CloseMode),
}

/// Pieces that were written.
pub(crate) struct Stored {
    /// Of one container of ours, in the order in which they lie.
    pub(crate) records: Vec<Record>,
    /// Its file.
    pub(crate) file: Arc<OwnedFd>,
    /// What to answer when they are durable, where the host asked for that.
    pub(crate) answers: Vec<Completion>,
    /// The first so many of the records are the host's; it does not know of the others.
    pub(crate) news_from: usize,
}

/// What a keeper answers, or tells the mover.
#[derive(Debug)]
pub(crate) enum ToMover {
    /// The container is open, or is not to be had.
    Opened { container: ContainerId, file: Result<Arc<OwnedFd>, Status> },
    /// A new container is there, or there is none to be had.
    Acquired(Result<Acquired, Status>),
    /// The answer to a request.
    Answer(Completion),
    /// A piece is no more.
    Removed(Location),
    /// A container was deleted.
    Gone(ContainerId),
    /// Read these pieces and store them anew.
    Rewrite(Vec<Record>),
}

/// A container of ours to write to.
#[derive(Debug)]
pub(crate) struct Acquired {
    pub(crate) container: ContainerId,
    pub(crate) file: Arc<OwnedFd>,
    /// How long it may get.
    pub(crate) bytes: u64,
}

/// Speaks to the mover.
#[derive(Clone, Debug)]
pub(crate) struct Speaker {
    mover: Sender<ToMover>,
    exchange: Arc<Exchange>,
}

impl Speaker {
    pub(crate) fn new(mover: Sender<ToMover>, exchange: Arc<Exchange>) -> Speaker {
        Speaker { mover, exchange }
    }

    /// Tells the mover. One that has gone needs to know nothing.
    pub(crate) fn say(&self, message: ToMover) {
        if self.mover.send(message).is_ok() {
            self.exchange.mover_bell.ring();
        }
    }
}
