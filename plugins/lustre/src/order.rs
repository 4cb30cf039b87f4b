//! One piece to be moved, and for whom.

use crate::exchange::Exchange;
use crate::format::Location;
use crate::memory::{HostBytes, Pages};
use cascade_tier::{Completion, Extent, NO_DEADLINE, PieceId, Record, Status};

/// For whom a piece is moved.
#[derive(Debug)]
pub(crate) enum Origin {
    /// The host, which waits for the completion.
    Host { request_id: u64, deadline_ns: u64 },
    /// Ourselves: the piece is worth keeping, and its container will go. The pages, which it is read into and written from,
    /// are only kept.
    Rewrite { record: Record, _pages: Pages },
}

impl Origin {
    pub(crate) fn request_id(&self) -> Option<u64> {
        match self {
            Origin::Host { request_id, .. } => Some(*request_id),
            Origin::Rewrite { .. } => None,
        }
    }

    pub(crate) fn deadline_ns(&self) -> u64 {
        match self {
            Origin::Host { deadline_ns, .. } => *deadline_ns,
            Origin::Rewrite { .. } => NO_DEADLINE,
        }
    }

    /// Tells whoever waits that it came to nothing.
    pub(crate) fn fail(&self, exchange: &Exchange, status: Status) {
        if let Some(request_id) = self.request_id() {
            exchange.complete(Completion::new(request_id, status, 0));
        }
    }

    /// The completion of a piece that was moved, if anybody waits for it.
    pub(crate) fn done(&self, bytes: u64, extent: Extent) -> Option<Completion> {
        let request_id = self.request_id()?;
        Some(Completion { extent, ..Completion::new(request_id, Status::OK, bytes) })
    }
}

/// A piece to be stored.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) origin: Origin,
    /// All about it; where it will lie is filled in when that is known.
    pub(crate) record: Record,
    pub(crate) source: HostBytes,
}

/// A piece to be loaded.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) origin: Origin,
    pub(crate) location: Location,
    pub(crate) piece: PieceId,
    pub(crate) checksum: u32,
    pub(crate) target: HostBytes,
}

/// What a failure of the file system is to the host: a miss, a tier that cannot be written, or trouble.
pub(crate) fn status_of(error: &std::io::Error) -> Status {
    use rustix::io::Errno;
    match Errno::from_io_error(error) {
        Some(Errno::NOENT | Errno::STALE) => Status::NOT_FOUND,
        Some(Errno::NOSPC | Errno::DQUOT | Errno::ROFS) => Status::READ_ONLY,
        _ => Status::IO,
    }
}
