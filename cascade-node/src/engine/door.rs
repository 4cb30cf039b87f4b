//! The door: the Unix socket through which clients attach and people ask.
//!
//! Nothing hot goes this way. Frames are parsed by `cascade_core::wire`, which trusts nothing; who sends nonsense gets a
//! reason and the door shut. Invariants: only processes of the node's own user get past [`Door::accept`]; nobody can
//! make the node wait: what does not fit the socket's buffer ends the connection; nobody can keep others out by standing
//! in the door: when it is full, who has come first and is no client goes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use cascade_core::wire::{BODY_MAX_BYTES, Frame, HEADER_BYTES, Header, WireError};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg, sockopt};
use rustix::process::{Resource, getrlimit};

use super::EngineError;
use super::peer::Peer;
use super::threshold::Threshold;

/// Connections that may be open at once: more than clients, so that people get a word in.
const CONNECTIONS_MAX: u64 = 1536;
/// Descriptors that a client costs the node: its connection, its bell, its pidfd.
const CLIENT_DESCRIPTORS: u64 = 3;
/// Descriptors that the node needs for itself.
const OWN_DESCRIPTORS: u64 = 64;
/// What the socket may hold of answers that are not read yet, as far as the system lets us; clients read at once.
const SEND_BUFFER_BYTES: usize = BODY_MAX_BYTES;
/// How long a machine without any descriptors left is given: the listener would report the same at once.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(10);
/// Descriptors that one answer carries at most: two bells, pages, metadata, arenas.
const DESCRIPTORS_MAX: usize = 4 + cascade_core::segment::ARENAS_MAX;

/// One connection.
#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    pid: Option<i32>,
    inbox: Vec<u8>,
    /// A client with a page; the others only ask.
    is_attached: bool,
}

/// The listening socket and what came in through it.
#[derive(Debug)]
pub(super) struct Door {
    listener: UnixListener,
    threshold: Threshold,
    /// Numbered as they came.
    connections: BTreeMap<u64, Connection>,
    connections_max: usize,
    next: u64,
    /// Given up to let somebody in, and to tell them why they cannot stay, where there is no other descriptor.
    spare: Option<File>,
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
    /// Listens at `path`, replacing what a dead node left there.
    ///
    /// # Errors
    /// See [`Threshold::take`].
    pub(super) fn open(path: &Path) -> Result<Self, EngineError> {
        let (listener, threshold) = Threshold::take(path)?;
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let room = descriptors.saturating_sub(OWN_DESCRIPTORS) / CLIENT_DESCRIPTORS;
        Ok(Self {
            listener,
            threshold,
            connections: BTreeMap::new(),
            connections_max: room.clamp(1, CONNECTIONS_MAX) as usize,
            next: 1,
            spare: File::open("/dev/null").ok(),
        })
    }

    pub(super) fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Where it listens.
    pub(super) fn path(&self) -> &Path {
        self.threshold.path()
    }

    /// Lets in who waits, as (connection, its descriptor to watch).
    pub(super) fn accept(&mut self) -> Option<(u64, BorrowedFd<'_>)> {
        let (stream, pid) = loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error)
                    if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) =>
                {
                    continue;
                }
                Err(error) if is_exhaustion(&error) && (self.shut_oldest_asker() || self.turn_away()) => {
                    continue;
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot let anybody in for a moment");
                    std::thread::sleep(EXHAUSTED_PAUSE);
                    return None;
                }
            };
            let Ok(peer) = Peer::of(&stream) else { continue };
            if peer.uid != rustix::process::geteuid().as_raw() {
                tracing::warn!(uid = peer.uid, "refused a connection of another user");
                refuse(&stream, "this node serves its own user only");
                continue;
            }
            if self.connections.len() >= self.connections_max && !self.shut_oldest_asker() {
                refuse(
                    &stream,
                    "this node has all the clients that it can: raise `ulimit -n` where it starts",
                );
                continue;
            }
            if stream.set_nonblocking(true).is_ok() {
                break (stream, peer.pid);
            }
        };
        // The system may give less, and what it gives by itself is enough for all but the longest answers.
        let _ = sockopt::set_socket_send_buffer_size(&stream, SEND_BUFFER_BYTES);
        let id = self.next;
        self.next += 1;
        let connection = Connection { stream, pid, inbox: Vec::new(), is_attached: false };
        let connection = self.connections.entry(id).insert_entry(connection);
        Some((id, connection.into_mut().stream.as_fd()))
    }

    /// Makes room: of those who are no clients, the first that came goes. `false` if all are clients.
    fn shut_oldest_asker(&mut self) -> bool {
        let oldest = self.connections.iter().find(|(_, connection)| !connection.is_attached);
        let Some((&id, _)) = oldest else { return false };
        self.connections.remove(&id);
        true
    }

    /// Lets somebody in by the spare descriptor, to tell them that there is no other. `false` if that failed, too.
    fn turn_away(&mut self) -> bool {
        if self.spare.take().is_none() {
            return false;
        }
        let turned_away = match self.listener.accept() {
            Ok((stream, _)) => {
                refuse(&stream, "this node has no descriptor left: raise `ulimit -n` where it starts");
                true
            }
            Err(_) => false,
        };
        self.spare = File::open("/dev/null").ok();
        turned_away
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
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Knock::Nothing),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Ok(Knock::End),
            }
        }
    }

    /// The process at the other end, if it is of our PID namespace.
    pub(super) fn pid(&self, id: u64) -> Option<i32> {
        self.connections.get(&id)?.pid
    }

    /// Sends a frame with descriptors; `false` if it did not go out whole, which ends the connection. Who is sent
    /// descriptors is a client from then on.
    pub(super) fn send(&mut self, id: u64, frame: &Frame, descriptors: &[BorrowedFd<'_>]) -> bool {
        let Some(connection) = self.connections.get_mut(&id) else { return false };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            connection.is_attached = true;
            if !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
                return false;
            }
        }
        let bytes = whole(frame).encode();
        let sent =
            match sendmsg(&connection.stream, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL) {
                // What follows the first part carries no descriptors.
                Ok(sent) => connection.stream.write_all(&bytes[sent..]).is_ok(),
                Err(_) => false,
            };
        if !sent {
            // Half a frame is worse than none: the peer would wait for the rest. The pump sees the end as any other.
            let _ = connection.stream.shutdown(std::net::Shutdown::Both);
        }
        sent
    }

    /// Shuts a connection.
    pub(super) fn shut(&mut self, id: u64) {
        self.connections.remove(&id);
    }
}

/// The frame, or if its text would be cut a refusal: half a JSON value is no answer.
fn whole(frame: &Frame) -> Cow<'_, Frame> {
    match frame {
        Frame::Answer(text) if text.len() > BODY_MAX_BYTES => Cow::Owned(Frame::Refused(format!(
            "the answer has {} bytes, more than the {BODY_MAX_BYTES} that a frame carries: ask for less",
            text.len()
        ))),
        frame => Cow::Borrowed(frame),
    }
}

/// Says why, as far as the peer reads it, and hangs up.
fn refuse(mut stream: &UnixStream, reason: &str) {
    // A connection that was just made has room for a line; if it had none, nobody waits for it.
    let _ =
        stream.set_nonblocking(true).and_then(|()| stream.write_all(&Frame::Refused(reason.into()).encode()));
}

/// Whether this process, or the machine, has no descriptors left.
fn is_exhaustion(error: &std::io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    /// A door in a folder that goes with the test.
    struct House {
        folder: PathBuf,
        door: Door,
    }

    impl House {
        fn new(name: &str, connections_max: usize) -> Self {
            let folder = PathBuf::from(format!("/dev/shm/cascade-door-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            let mut door = Door::open(&folder.join("node.sock")).unwrap();
            door.connections_max = connections_max;
            Self { folder, door }
        }

        fn knock(&self) -> UnixStream {
            UnixStream::connect(self.door.path()).unwrap()
        }

        fn enter(&mut self) -> (UnixStream, u64) {
            let stream = self.knock();
            let id = self.door.accept().expect("somebody knocks").0;
            (stream, id)
        }
    }

    impl Drop for House {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }

    fn receive(stream: &mut UnixStream) -> Frame {
        let mut header = [0; HEADER_BYTES];
        stream.read_exact(&mut header).unwrap();
        let header = Header::decode(&header).unwrap();
        let mut body = vec![0; header.body_bytes];
        stream.read_exact(&mut body).unwrap();
        Frame::decode(header, &body).unwrap()
    }

    #[test]
    fn a_full_door_shuts_whom_it_owes_least_and_keeps_clients() {
        let mut house = House::new("full", 3);
        let (_client, client) = house.enter();
        let null = File::open("/dev/null").unwrap();
        assert!(house.door.send(client, &Frame::Query(String::new()), &[null.as_fd()]));
        let (mut first, _) = house.enter();
        let (_second, second) = house.enter();
        let (_third, third) = house.enter();
        assert_eq!(house.door.connections.keys().copied().collect::<Vec<_>>(), [client, second, third]);
        assert_eq!(first.read(&mut [0; 1]).unwrap(), 0, "the first to ask had to go");

        for id in [second, third] {
            assert!(house.door.send(id, &Frame::Query(String::new()), &[null.as_fd()]));
        }
        let mut late = house.knock();
        assert!(house.door.accept().is_none());
        let Frame::Refused(reason) = receive(&mut late) else { panic!("a full house") };
        assert!(reason.contains("ulimit -n"), "{reason}");
    }

    #[test]
    fn an_answer_that_a_frame_cannot_carry_is_refused_and_not_cut() {
        let mut house = House::new("long", 1);
        let (mut stream, id) = house.enter();
        assert!(house.door.send(id, &Frame::Answer("x".repeat(BODY_MAX_BYTES + 1)), &[]));
        let Frame::Refused(reason) = receive(&mut stream) else { panic!("half an answer") };
        assert!(reason.contains("more than"), "{reason}");
    }

    #[test]
    fn the_status_of_all_clients_that_there_can_be_waits_in_the_socket_until_it_is_read() {
        let mut house = House::new("status", 1);
        let (mut stream, id) = house.enter();
        // A client takes 82 bytes of a status, and there are 1,024 of them at most.
        let answer = Frame::Answer("x".repeat(128 << 10));
        assert!(house.door.send(id, &answer, &[]));
        assert_eq!(receive(&mut stream), answer);
    }

    #[test]
    fn who_does_not_read_is_hung_up_on() {
        let mut house = House::new("deaf", 1);
        let (mut stream, id) = house.enter();
        let answer = Frame::Answer("x".repeat(BODY_MAX_BYTES));
        while house.door.send(id, &answer, &[]) {}
        assert!(matches!(house.door.read(id), Ok(Knock::End)));
        std::io::copy(&mut stream, &mut std::io::sink()).expect("it ends");
    }
}
