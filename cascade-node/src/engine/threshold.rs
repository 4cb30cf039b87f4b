//! The path on which the door listens: taken when nobody lives there, given back at the end.
//!
//! Two nodes may be given one `CASCADE_SOCKET`, and a job inside of `cascade-node run -- COMMAND` inherits its own.
//! Invariants: the socket of a living node is never removed, nor what is no socket; at the end only our own goes.

use std::fs::{Metadata, symlink_metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cascade_core::place::SOCKET_PATH_MAX_BYTES;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::EngineError;

/// How long whoever answers is given to go: a node that was killed lets go of its lock and its socket one by one.
const GOING: Duration = Duration::from_millis(300);
/// How often it is looked at; and how long a socket must stay silent: between its `bind` and `listen` a node that just
/// starts is silent, too.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// A path with our socket on it.
#[derive(Debug)]
pub(super) struct Threshold {
    path: PathBuf,
    /// Device and inode of the socket that we made.
    ours: (u64, u64),
}

/// What lies at a path.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Nothing,
    /// A socket on which nobody listens; its identity.
    Silent(Identity),
    /// Somebody listens.
    Alive,
}

/// Device, inode and time of the last change: an inode number alone may come back.
type Identity = (u64, u64, i64, i64);

impl Threshold {
    /// Listens at `path`, which only this user can then reach, replacing what a dead node left there.
    ///
    /// # Errors
    /// A living process listens there; it is something else than a socket; the path is too long or cannot be used.
    pub(super) fn take(path: &Path) -> Result<(UnixListener, Self), EngineError> {
        let said = path.display();
        if path.as_os_str().len() > SOCKET_PATH_MAX_BYTES {
            return Err(EngineError::Socket(format!(
                "the socket path {said} is longer than {SOCKET_PATH_MAX_BYTES} bytes: set CASCADE_SOCKET to a shorter one"
            )));
        }
        clear(path)?;
        let listener = UnixListener::bind(path).map_err(EngineError::io(format!("listen at {said}")))?;
        let ours = symlink_metadata(path).map_err(EngineError::io(format!("look at {said}")))?;
        let threshold = Self { path: path.to_owned(), ours: (ours.dev(), ours.ino()) };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
            .map_err(EngineError::io(format!("protect {said}")))?;
        listener.set_nonblocking(true).map_err(EngineError::io("listen"))?;
        Ok((listener, threshold))
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Threshold {
    fn drop(&mut self) {
        // Somebody may have removed ours and put another there: that one stays.
        if symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.ours) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Makes sure that nothing is at `path`, without harming whoever lives.
fn clear(path: &Path) -> Result<(), EngineError> {
    let said = path.display();
    let give_up = Instant::now() + GOING;
    let mut before = Found::Nothing;
    loop {
        let found = look(path).map_err(EngineError::io(format!("look who listens at {said}")))?;
        match &found {
            Found::Nothing => return Ok(()),
            // Twice silent, and the same: it is nobody's.
            Found::Silent(_) if found == before => {
                return match std::fs::remove_file(path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        Err(EngineError::io(format!("remove {said}, which a dead node left"))(error))
                    }
                    _ => Ok(()),
                };
            }
            Found::Silent(_) => {}
            Found::Alive if Instant::now() < give_up => {}
            Found::Alive => {
                return Err(EngineError::Socket(format!(
                    "a living node listens at {said}: unset CASCADE_SOCKET (a command inside of `cascade-node run` inherits \
                     it) and give this node another --instance, or set CASCADE_SOCKET to another path"
                )));
            }
        }
        before = found;
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn look(path: &Path) -> std::io::Result<Found> {
    let identity = |found: &Metadata| (found.dev(), found.ino(), found.ctime(), found.ctime_nsec());
    let found = match symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => identity(&found),
        Ok(_) => return Err(std::io::Error::other("it is no socket, and stays; choose another path")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(error),
    };
    // Non-blocking: a node that is stuck with a full backlog would make us wait for ever.
    let flags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match connect(&socket, &SocketAddrUnix::new(path)?) {
        Ok(()) | Err(Errno::AGAIN) => Ok(Found::Alive),
        Err(Errno::CONNREFUSED) => Ok(Found::Silent(found)),
        Err(Errno::NOENT) => Ok(Found::Nothing),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path in a folder that goes with the test.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let folder = PathBuf::from(format!("/dev/shm/cascade-threshold-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }

        fn socket(&self) -> PathBuf {
            self.0.join("node.sock")
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_living_nodes_socket_stays_its_own() {
        let scratch = Scratch::new("living");
        let (listener, living) = Threshold::take(&scratch.socket()).unwrap();
        let error = Threshold::take(&scratch.socket()).unwrap_err().to_string();
        assert!(error.contains("unset CASCADE_SOCKET"), "{error}");
        assert!(error.contains(living.path().to_str().unwrap()), "{error}");
        std::os::unix::net::UnixStream::connect(scratch.socket()).unwrap();
        drop(listener);
    }

    #[test]
    fn a_node_with_a_full_backlog_is_a_living_one() {
        let scratch = Scratch::new("backlog");
        let (_listener, living) = Threshold::take(&scratch.socket()).unwrap();
        let mut waiting = Vec::new();
        loop {
            let flags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);
            let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
            match connect(&socket, &SocketAddrUnix::new(living.path()).unwrap()) {
                Ok(()) => waiting.push(socket),
                Err(error) => break assert_eq!(error, Errno::AGAIN),
            }
        }
        assert_eq!(look(living.path()).unwrap(), Found::Alive);
    }

    #[test]
    fn what_a_dead_node_left_is_replaced() {
        let scratch = Scratch::new("dead");
        drop(UnixListener::bind(scratch.socket()).unwrap());
        assert!(scratch.socket().exists());
        let (_listener, ours) = Threshold::take(&scratch.socket()).unwrap();
        std::os::unix::net::UnixStream::connect(ours.path()).unwrap();
        drop(ours);
        assert!(!scratch.socket().exists());
    }

    #[test]
    fn what_is_no_socket_stays() {
        let scratch = Scratch::new("file");
        std::fs::write(scratch.socket(), "precious").unwrap();
        let error = Threshold::take(&scratch.socket()).unwrap_err().to_string();
        assert!(error.contains("no socket"), "{error}");
        assert_eq!(std::fs::read_to_string(scratch.socket()).unwrap(), "precious");
    }

    #[test]
    fn only_our_own_socket_goes_with_us() {
        let scratch = Scratch::new("other");
        let (_listener, ours) = Threshold::take(&scratch.socket()).unwrap();
        std::fs::rename(scratch.socket(), scratch.0.join("ours")).unwrap();
        let _other = UnixListener::bind(scratch.socket()).unwrap();
        drop(ours);
        assert!(scratch.socket().exists());
    }
}
