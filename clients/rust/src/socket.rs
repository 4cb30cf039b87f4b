//! The node's socket: finding it, and frames with descriptors over it. Nothing hot goes this way.

use crate::deadline::Deadline;
use crate::error::Error;
use cascade_core::place::{JOB_VARIABLES, segment_directory, socket_path};
use cascade_core::wire::{Frame, HEADER_BYTES, Header};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_peercred};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags,
    SocketAddrUnix, SocketFlags, SocketType, connect, recvmsg, send, socket_with,
};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Descriptors that a frame may bring: two bells, pages, meta, arenas, and some to notice too many.
const DESCRIPTORS_MAX: usize = 16;

/// Where a node of this user, job and `instance` may listen, best first: `CASCADE_SOCKET` alone if it is set.
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
    jobs.into_iter().map(|job| socket_path(&segment_directory(uid, job, instance)).into()).collect()
}

/// A connection to a node.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: OwnedFd,
}

impl Connection {
    /// Connects to the first path where somebody listens; errors name every path tried.
    pub(crate) fn open(paths: &[PathBuf], deadline: Deadline) -> Result<Self, Error> {
        let mut tried = Vec::new();
        for path in paths {
            match Self::open_one(path, deadline) {
                Ok(connection) => return connection.checked(),
                Err(error) => tried.push((path.clone(), error.into())),
            }
        }
        Err(Error::NoNode { tried })
    }

    fn open_one(path: &Path, deadline: Deadline) -> rustix::io::Result<Self> {
        let address = SocketAddrUnix::new(path)?;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        // A full backlog makes `connect` wait as long as a send may.
        set_socket_timeout(&socket, Timeout::Send, Some(patience(deadline)))?;
        connect(&socket, &address)?;
        Ok(Self { socket })
    }

    /// A node of another user is no node of ours.
    fn checked(self) -> Result<Self, Error> {
        let peer = socket_peercred(&self.socket).map_err(Error::io("asking who the node is"))?;
        if peer.uid != rustix::process::geteuid() {
            return Err(Error::Refused(format!("the node belongs to user {}", peer.uid.as_raw())));
        }
        Ok(self)
    }

    /// Sends a frame and awaits the one that answers it, with its descriptors.
    pub(crate) fn ask(&self, question: &Frame, deadline: Deadline) -> Result<(Frame, Vec<OwnedFd>), Error> {
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
