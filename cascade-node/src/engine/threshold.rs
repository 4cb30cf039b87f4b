//! The path on which the door listens: taken when nobody lives there, given back at the end.
//!
//! Two nodes may be given one `CASCADE_SOCKET`, and a job inside of `cascade-node run -- COMMAND` inherits its own.
//! Invariants: the socket of a living node is never removed, nor what is no socket; at the end only our own goes. Who looks
//! and then removes or binds has the lock of the socket's folder meanwhile, so of nodes that start at once one serves.

use std::fs::{File, Metadata, symlink_metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cascade_core::place::SOCKET_PATH_MAX_BYTES;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::EngineError;
use super::peer::Peer;

/// How long whoever answers is given to go: a node that was killed lets go of its lock and its socket one by one.
const GOING: Duration = Duration::from_millis(300);
/// How often it is looked at; and how long a socket must stay silent: between its `bind` and `listen` any program that just
/// starts is silent, too.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// How long the folder's lock is waited for. Nodes have it for microseconds.
const LOCK_WAIT: Duration = Duration::from_secs(5);

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
    /// Somebody listens; its process, where it can be seen.
    Alive(Option<i32>),
}

/// Device, inode and time of the last change: an inode number alone may come back.
type Identity = (u64, u64, i64, i64);

impl Threshold {
    /// Listens at `path`, which only this user can then reach, replacing what a dead node left there.
    ///
    /// # Errors
    /// A living process listens there; it is something else than a socket; the path is too long or cannot be used.
    pub(super) fn take(path: &Path) -> Result<(UnixListener, Self), EngineError> {
        Self::take_within(path, GOING)
    }

    fn take_within(path: &Path, going: Duration) -> Result<(UnixListener, Self), EngineError> {
        let said = path.display();
        if path.as_os_str().len() > SOCKET_PATH_MAX_BYTES {
            return Err(EngineError::Socket(format!(
                "the socket path {said} is longer than {SOCKET_PATH_MAX_BYTES} bytes: set CASCADE_SOCKET to a shorter one"
            )));
        }
        let listener = listen(path, going)?;
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
        // Somebody may have removed ours and put another there: that one stays. The lock, so that nobody does in between.
        let _lock = FolderLock::take(&self.path);
        if symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.ours) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Listens at `path`, in place of what a dead node left there, without harming whoever lives.
fn listen(path: &Path, going: Duration) -> Result<UnixListener, EngineError> {
    let said = path.display();
    let give_up = Instant::now() + going;
    let mut before = Found::Nothing;
    loop {
        let lock = FolderLock::take(path)?;
        let found = look(path).map_err(EngineError::io(format!("look who listens at {said}")))?;
        // Twice silent, and the same: it is nobody's.
        let is_free = match &found {
            Found::Nothing => true,
            Found::Silent(_) => found == before,
            Found::Alive(pid) if Instant::now() >= give_up => return Err(taken(path, *pid)),
            Found::Alive(_) => false,
        };
        if is_free {
            if found != Found::Nothing {
                std::fs::remove_file(path)
                    .map_err(EngineError::io(format!("remove {said}, which a dead node left")))?;
            }
            return UnixListener::bind(path).map_err(EngineError::io(format!("listen at {said}")));
        }
        drop(lock);
        before = found;
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn taken(path: &Path, pid: Option<i32>) -> EngineError {
    let owner = pid
        .map_or_else(|| "another PID namespace, or too busy to say".to_owned(), |pid| format!("pid {pid}"));
    EngineError::Socket(format!(
        "a living node ({owner}) listens at {}: unset CASCADE_SOCKET (a command inside of `cascade-node run` inherits it) \
         and give this node another --instance, or set CASCADE_SOCKET to another path",
        path.display()
    ))
}

/// The lock of the folder that a socket is in, for as long as it takes to look and act. Goes with its holder.
#[derive(Debug)]
struct FolderLock {
    /// The folder, while we have its lock: closing it lets go.
    _locked: Option<File>,
}

impl FolderLock {
    /// Waits for the lock. Where the file system has none, or the folder may not be read, nobody gets one: that leaves the
    /// race between nodes that are given one path in the same instant.
    fn take(socket: &Path) -> Result<Self, EngineError> {
        let folder =
            socket.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let Ok(file) = File::open(folder) else { return Ok(Self { _locked: None }) };
        let give_up = Instant::now() + LOCK_WAIT;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { _locked: Some(file) }),
                Err(Errno::WOULDBLOCK) if Instant::now() < give_up => std::thread::sleep(LOOK_AGAIN),
                Err(Errno::WOULDBLOCK) => {
                    return Err(EngineError::Socket(format!(
                        "another program keeps the folder {} locked: set CASCADE_SOCKET to a path elsewhere",
                        folder.display()
                    )));
                }
                Err(_) => return Ok(Self { _locked: None }),
            }
        }
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
        Ok(()) => Ok(Found::Alive(Peer::of(&socket)?.pid)),
        Err(Errno::AGAIN) => Ok(Found::Alive(None)),
        Err(Errno::CONNREFUSED) => Ok(Found::Silent(found)),
        Err(Errno::NOENT) => Ok(Found::Nothing),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;
    use std::sync::Barrier;
    use std::thread;

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
        assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
        assert!(error.contains(living.path().to_str().unwrap()), "{error}");
        UnixStream::connect(scratch.socket()).unwrap();
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
        assert_eq!(look(living.path()).unwrap(), Found::Alive(None));
    }

    #[test]
    fn what_a_dead_node_left_is_replaced() {
        let scratch = Scratch::new("dead");
        drop(UnixListener::bind(scratch.socket()).unwrap());
        assert!(scratch.socket().exists());
        let (_listener, ours) = Threshold::take(&scratch.socket()).unwrap();
        UnixStream::connect(ours.path()).unwrap();
        drop(ours);
        assert!(!scratch.socket().exists());
    }

    #[test]
    fn of_many_that_come_at_once_one_gets_in() {
        let scratch = Scratch::new("race");
        for _ in 0..100 {
            // What a dead node left.
            drop(UnixListener::bind(scratch.socket()));
            let start = Barrier::new(8);
            let taken: Vec<_> = thread::scope(|scope| {
                let takers: Vec<_> = (0..8)
                    .map(|_| {
                        scope.spawn(|| {
                            start.wait();
                            Threshold::take_within(&scratch.socket(), Duration::ZERO)
                        })
                    })
                    .collect();
                takers.into_iter().map(|taker| taker.join().unwrap()).filter_map(Result::ok).collect()
            });
            assert_eq!(taken.len(), 1);
            UnixStream::connect(scratch.socket()).expect("the one who got in is who is found");
        }
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
