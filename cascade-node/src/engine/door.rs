//! The door: the Unix socket through which clients attach and people ask.
//!
//! Nothing hot goes this way. Frames are parsed by `cascade_core::wire`, which trusts nothing; who sends nonsense gets a
//! reason and the door shut. Invariants: only processes of the node's own user get past [`Door::accept`]; nobody can
//! make the node wait: what does not fit the socket's buffer ends the connection.

use std::collections::HashMap;
use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use cascade_core::place::SOCKET_PATH_MAX_BYTES;
use cascade_core::wire::{Frame, HEADER_BYTES, Header, WireError};
use rustix::net::sockopt::socket_peercred;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::EngineError;

/// Connections that may be open at once.
const CONNECTIONS_MAX: usize = 4096;
/// Descriptors that one answer carries at most: two bells, pages, metadata, arenas.
const DESCRIPTORS_MAX: usize = 4 + cascade_core::segment::ARENAS_MAX;

/// One connection.
#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    pid: Option<i32>,
    inbox: Vec<u8>,
}

/// The listening socket and what came in through it.
#[derive(Debug)]
pub(super) struct Door {
    listener: UnixListener,
    path: PathBuf,
    connections: HashMap<u64, Connection>,
    next: u64,
}

/// What a connection brought.
#[derive(Debug)]
pub(super) enum Knock {
    /// A whole frame.
    Frame(Frame),
    /// The end of the connection.
    End,
    /// No more for now.
    Nothing,
}

impl Door {
    /// Listens at `path`, replacing what a dead node left there. Only the owner of the segment calls this.
    pub(super) fn open(path: &Path) -> Result<Self, EngineError> {
        let said = path.display();
        if path.as_os_str().len() > SOCKET_PATH_MAX_BYTES {
            return Err(EngineError::Probe(format!(
                "the socket path {said} is longer than {SOCKET_PATH_MAX_BYTES} bytes: set CASCADE_SOCKET to a shorter one"
            )));
        }
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).map_err(EngineError::io(format!("listen at {said}")))?;
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(path, private).map_err(EngineError::io(format!("protect {said}")))?;
        listener.set_nonblocking(true).map_err(EngineError::io("listen"))?;
        Ok(Self { listener, path: path.to_owned(), connections: HashMap::new(), next: 1 })
    }

    pub(super) fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Where it listens.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Lets in who waits, as (connection, its descriptor to watch).
    pub(super) fn accept(&mut self) -> Option<(u64, BorrowedFd<'_>)> {
        loop {
            let (stream, _) = self.listener.accept().ok()?;
            let Ok(credentials) = socket_peercred(&stream) else { continue };
            if credentials.uid != rustix::process::geteuid() || self.connections.len() >= CONNECTIONS_MAX {
                let reason = "this node serves its own user only, and no more than it can";
                let _ = (&stream).write(&Frame::Refused(reason.into()).encode());
                tracing::warn!(uid = credentials.uid.as_raw(), "refused a connection");
                continue;
            }
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            let id = self.next;
            self.next += 1;
            // A pid of 0 is a process of another PID namespace.
            let pid = Some(credentials.pid.as_raw_nonzero().get()).filter(|&pid| pid > 0);
            let connection =
                self.connections.entry(id).insert_entry(Connection { stream, pid, inbox: Vec::new() });
            return Some((id, connection.into_mut().stream.as_fd()));
        }
    }

    /// Reads what came over a connection.
    pub(super) fn read(&mut self, id: u64) -> Result<Knock, WireError> {
        let Some(connection) = self.connections.get_mut(&id) else { return Ok(Knock::Nothing) };
        let mut buffer = [0; 4096];
        loop {
            if let Some(frame) = take_frame(&mut connection.inbox)? {
                return Ok(Knock::Frame(frame));
            }
            match connection.stream.read(&mut buffer) {
                Ok(0) => return Ok(Knock::End),
                Ok(count) => connection.inbox.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(Knock::Nothing),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return Ok(Knock::End),
            }
        }
    }

    /// The process at the other end, if it is of our PID namespace.
    pub(super) fn pid(&self, id: u64) -> Option<i32> {
        self.connections.get(&id)?.pid
    }

    /// Sends a frame with descriptors; `false` if it did not go out whole.
    pub(super) fn send(&mut self, id: u64, frame: &Frame, descriptors: &[BorrowedFd<'_>]) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else { return false };
        let bytes = frame.encode();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return false;
        }
        match sendmsg(&connection.stream, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL) {
            Ok(sent) if sent == bytes.len() => true,
            // What follows the first part carries no descriptors.
            Ok(sent) => connection.stream.write_all(&bytes[sent..]).is_ok(),
            Err(_) => false,
        }
    }

    /// Shuts a connection.
    pub(super) fn shut(&mut self, id: u64) {
        self.connections.remove(&id);
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn take_frame(inbox: &mut Vec<u8>) -> Result<Option<Frame>, WireError> {
    let Some(header) = inbox.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let header = Header::decode(header)?;
    let end = HEADER_BYTES + header.body_bytes;
    if inbox.len() < end {
        return Ok(None);
    }
    let frame = Frame::decode(header, &inbox[HEADER_BYTES..end])?;
    inbox.drain(..end);
    Ok(Some(frame))
}
