//! The node's socket: finding it, and frames with descriptors over it. Nothing hot goes this way.

use crate::deadline::Deadline;
use crate::error::Error;
use cascade_core::place::{JOB_VARIABLES, segment_directories, socket_path};
use cascade_core::wire::{Frame, HEADER_BYTES, Header};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags,
    SocketAddrUnix, SocketFlags, SocketType, connect, recvmsg, send, socket_with,
};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Descriptors that a frame may bring: two bells, pages, meta, arenas, and some to notice too many.
const DESCRIPTORS_MAX: usize = 16;

/// Where a node of this user, job and `instance` may listen, best first: `CASCADE_SOCKET` alone if it is set; otherwise
/// the job's folder and those beside it, then the same without a job.
pub(crate) fn candidates(instance: &str) -> Vec<PathBuf> {
    if let Some(path) = std::env::var_os("CASCADE_SOCKET") {
        return vec![path.into()];
    }
    let uid = rustix::process::geteuid().as_raw();
    let job = JOB_VARIABLES.iter().find_map(|name| std::env::var(name).ok());
    let mut jobs = vec![job.as_deref()];
    if job.is_some() {
        jobs.push(None);
    }
    let folders = jobs.into_iter().flat_map(|job| segment_directories(uid, job, instance));
    folders.map(|folder| socket_path(&folder).into()).collect()
}

/// Asks the first of the nodes at `paths` that answers; errors name the paths tried.
///
/// A killed node that cannot exit may still have its socket, where nobody answers any more: while there are others left,
/// none gets more than its part of the time.
pub(crate) fn ask_first(
    paths: &[PathBuf],
    question: &Frame,
    deadline: Deadline,
) -> Result<(Connection, Frame, Vec<OwnedFd>), Error> {
    let mut left = paths.iter().filter(|path| path.exists()).count() as u32;
    let mut tried: Vec<(PathBuf, io::Error)> = Vec::new();
    for path in paths {
        let part = match left {
            0 | 1 => deadline,
            left => Deadline::after(deadline.left() / left),
        };
        left = left.saturating_sub(path.exists().into());
        let asked = match Connection::open(path, part) {
            Ok(connection) => {
                connection.ask(question, part).map(|(answer, descriptors)| (connection, answer, descriptors))
            }
            Err(error) => {
                if is_worth_telling(path, &tried) {
                    tried.push((path.clone(), error));
                }
                continue;
            }
        };
        match asked {
            Err(Error::Deadline | Error::Io { .. }) if left > 0 => {}
            asked => return asked,
        }
    }
    Err(Error::NoNode { tried })
}

/// A folder beside one that was tried is there only after an accident: without one, it is not worth a word.
fn is_worth_telling(path: &Path, tried: &[(PathBuf, io::Error)]) -> bool {
    let Some(folder) = path.parent() else { return true };
    let is_beside = |first: &Path| {
        let rest = folder.as_os_str().as_encoded_bytes().strip_prefix(first.as_os_str().as_encoded_bytes());
        rest.is_some_and(|rest| rest.starts_with(b"."))
    };
    folder.exists() || !tried.iter().filter_map(|(tried, _)| tried.parent()).any(is_beside)
}

/// A connection to a node.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: OwnedFd,
}

impl Connection {
    /// Connects to whoever listens there.
    fn open(path: &Path, deadline: Deadline) -> io::Result<Self> {
        let address = SocketAddrUnix::new(path)?;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        // A full backlog makes `connect` wait as long as a send may.
        set_socket_timeout(&socket, Timeout::Send, Some(patience(deadline)))?;
        connect(&socket, &address)?;
        Ok(Self { socket })
    }

    /// A node of another user is no node of ours.
    fn check_peer(&self) -> Result<(), Error> {
        let uid = peer_uid(self.as_fd()).map_err(Error::io("asking who the node is"))?;
        if uid != rustix::process::geteuid().as_raw() {
            return Err(Error::Refused(format!("the node belongs to user {uid}")));
        }
        Ok(())
    }

    /// Sends a frame and awaits the one that answers it, with its descriptors.
    fn ask(&self, question: &Frame, deadline: Deadline) -> Result<(Frame, Vec<OwnedFd>), Error> {
        self.check_peer()?;
        self.send(question, deadline)?;
        let mut descriptors = Vec::new();
        let mut header = [0; HEADER_BYTES];
        self.receive(&mut header, &mut descriptors, deadline)?;
        let malformed =
            |error| Error::Io { doing: "reading the node's answer", source: io::Error::other(error) };
        let header = Header::decode(&header).map_err(malformed)?;
        let mut body = vec![0; header.body_bytes];
        self.receive(&mut body, &mut descriptors, deadline)?;
        match Frame::decode(header, &body).map_err(malformed)? {
            Frame::Refused(text) => Err(Error::Refused(text)),
            frame => Ok((frame, descriptors)),
        }
    }

    fn send(&self, frame: &Frame, deadline: Deadline) -> Result<(), Error> {
        let bytes = frame.encode();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            set_socket_timeout(&self.socket, Timeout::Send, Some(patience(deadline)))
                .map_err(Error::io("asking the node"))?;
            // NOSIGNAL: a node that goes away is an error here, not the end of the process.
            match send(&self.socket, rest, SendFlags::NOSIGNAL) {
                Ok(sent) => rest = &rest[sent..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Err(Error::Deadline),
                Err(error) => return Err(Error::io("asking the node")(error)),
            }
        }
        Ok(())
    }

    fn receive(
        &self,
        bytes: &mut [u8],
        descriptors: &mut Vec<OwnedFd>,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let doing = "reading the node's answer";
        let mut got = 0;
        while got < bytes.len() {
            set_socket_timeout(&self.socket, Timeout::Recv, Some(patience(deadline)))
                .map_err(Error::io(doing))?;
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut iov = [IoSliceMut::new(&mut bytes[got..])];
            let message = match recvmsg(&self.socket, &mut iov, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Ok(message) => message,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return Err(Error::Deadline),
                Err(error) => return Err(Error::io(doing)(error)),
            };
            for part in control.drain() {
                if let RecvAncillaryMessage::ScmRights(received) = part {
                    descriptors.extend(received);
                }
            }
            if message.bytes == 0 {
                return Err(Error::io(doing)(io::Error::from(io::ErrorKind::UnexpectedEof)));
            }
            if message.flags.contains(ReturnFlags::CTRUNC) {
                return Err(Error::io(doing)(io::Error::other("descriptors were lost: raise RLIMIT_NOFILE")));
            }
            got += message.bytes;
        }
        Ok(())
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What is left until the deadline, as a socket takes it: zero would mean for ever.
fn patience(deadline: Deadline) -> Duration {
    deadline.left().max(Duration::from_millis(1))
}

/// The user at the other end of a Unix socket.
///
/// Not through rustix, whose credentials have a pid that is never 0: the kernel reports 0 for a process of a PID namespace
/// that is not ours or within ours (a container beside this one).
fn peer_uid(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the descriptor is open; the kernel writes at most `len` bytes to `peer`, whose fields take any value.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut len,
        )
    };
    if result != 0 { Err(io::Error::last_os_error()) } else { Ok(peer.uid) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::{UnixListener, UnixStream};

    /// Three folders of one instance, of which the first and the third exist, and their sockets.
    fn folders(name: &str) -> (PathBuf, Vec<PathBuf>) {
        let root = std::env::temp_dir().join(format!("cascade-client-{name}-{}", std::process::id()));
        let sockets = ["job.a", "job.a.2", "job.a.3"].map(|folder| root.join(folder).join("node.sock"));
        for socket in [&sockets[0], &sockets[2]] {
            std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
        }
        (root, sockets.into())
    }

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(20))
    }

    fn answer_one(listener: &UnixListener) {
        let mut stream = listener.accept().unwrap().0;
        let mut header = [0; HEADER_BYTES];
        stream.read_exact(&mut header).unwrap();
        let mut body = vec![0; Header::decode(&header).unwrap().body_bytes];
        stream.read_exact(&mut body).unwrap();
        stream.write_all(&Frame::Answer("here".into()).encode()).unwrap();
    }

    #[test]
    fn the_folders_beside_are_looked_at_before_those_without_a_job() {
        let of = |job: Option<&str>| {
            segment_directories(rustix::process::geteuid().as_raw(), job, "beside").collect::<Vec<_>>()
        };
        let without_job: Vec<PathBuf> = of(None).iter().map(|folder| socket_path(folder).into()).collect();
        let candidates = candidates("beside");
        assert!(candidates.ends_with(&without_job), "{candidates:?}");
    }

    #[test]
    fn a_node_beside_one_that_cannot_exit_is_found() {
        let (root, sockets) = folders("beside");
        // It was killed: its socket is there, and nobody answers.
        let _mute = UnixListener::bind(&sockets[0]).unwrap();
        let living = UnixListener::bind(&sockets[2]).unwrap();
        let node = std::thread::spawn(move || answer_one(&living));
        let deadline = Deadline::after(Duration::from_secs(2));
        let (_, answer, _) = ask_first(&sockets, &Frame::Query("status".into()), deadline).unwrap();
        assert_eq!(answer, Frame::Answer("here".into()));
        node.join().unwrap();
        std::fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_folder_beside_that_is_not_there_is_not_listed() {
        let (root, sockets) = folders("list");
        let error = ask_first(&sockets, &Frame::Query("status".into()), soon()).unwrap_err();
        let Error::NoNode { tried } = error else { panic!("{error}") };
        let tried: Vec<_> = tried.into_iter().map(|(path, _)| path).collect();
        assert_eq!(tried, [sockets[0].clone(), sockets[2].clone()]);
        std::fs::remove_dir_all(root).unwrap();
        let error = ask_first(&sockets, &Frame::Query("status".into()), soon()).unwrap_err();
        assert!(matches!(&error, Error::NoNode { tried } if tried.len() == 1), "{error}");
    }

    /// The pid of such a peer reads 0.
    #[test]
    fn a_peer_of_another_pid_namespace_has_a_user_all_the_same() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        // SAFETY: the children make system calls only, and `_exit`.
        let status = unsafe {
            let child = libc::fork();
            assert!(child >= 0);
            if child == 0 {
                // Without the right to make namespaces there is no such peer either: 2.
                if libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWPID) != 0 {
                    libc::_exit(2);
                }
                let within = libc::fork();
                if within == 0 {
                    let found = peer_uid(ours.as_fd());
                    libc::_exit(i32::from(found.ok() != Some(libc::geteuid())));
                }
                let mut status = 0;
                libc::waitpid(within, &raw mut status, 0);
                libc::_exit(i32::from(status != 0));
            }
            let mut status = 0;
            assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
            libc::WEXITSTATUS(status)
        };
        assert_ne!(status, 1, "the peer's user was not found");
    }
}
