//! Who is at the other end of a Unix socket, as the kernel knows it.
//!
//! rustix's `UCred` cannot say "a process of a PID namespace that is not ours": the kernel writes pid 0 for those, which
//! its type declares impossible. Engines in containers are such processes, so the answer is read here.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// The process that connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    /// Its effective user.
    pub(super) uid: u32,
    /// Its number, if it can be seen from our PID namespace.
    pub(super) pid: Option<i32>,
}

impl Peer {
    /// Asks the kernel who connected to `socket`.
    ///
    /// # Errors
    /// It is no Unix socket.
    pub(super) fn of(socket: impl AsFd) -> io::Result<Self> {
        let mut credentials = libc::ucred { pid: 0, uid: libc::uid_t::MAX, gid: libc::gid_t::MAX };
        let mut length = size_of::<libc::ucred>() as libc::socklen_t;
        // SAFETY: the kernel writes at most `length` bytes, which is the size of `credentials`; every byte pattern is one.
        let result = unsafe {
            libc::getsockopt(
                socket.as_fd().as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERCRED,
                (&raw mut credentials).cast(),
                &raw mut length,
            )
        };
        match result {
            0 => Ok(Self { uid: credentials.uid, pid: Some(credentials.pid).filter(|&pid| pid > 0) }),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn the_peer_of_a_pair_is_ourselves_and_a_file_has_none() {
        let (one, _other) = UnixStream::pair().unwrap();
        let pid = i32::try_from(std::process::id()).unwrap();
        assert_eq!(
            Peer::of(&one).unwrap(),
            Peer { uid: rustix::process::geteuid().as_raw(), pid: Some(pid) }
        );
        assert!(Peer::of(std::fs::File::open("/dev/null").unwrap()).is_err());
    }
}
