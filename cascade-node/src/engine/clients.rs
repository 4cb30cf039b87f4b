//! Who is attached, and how the node knows that it no longer is.
//!
//! A client is dead when its pidfd fires, or when the lock on its page is free; never by the end of its socket alone (a
//! forked child keeps that open). Pids are not compared across PID namespaces: without a pidfd the lock decides.

use std::collections::BTreeMap;
use std::os::fd::{OwnedFd, RawFd};
use std::time::{Duration, Instant};

use cascade_core::page::PAGE_BYTES;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::bell::Doorbell;

/// How long a client that just attached may take to lock its page.
const LOCK_GRACE: Duration = Duration::from_secs(2);

/// One client.
#[derive(Debug)]
pub(super) struct Client {
    /// What the owner word of its page says.
    pub(super) owner: u64,
    /// Its process, if it can be watched.
    pub(super) pidfd: Option<OwnedFd>,
    /// Its process id, for people.
    pub(super) pid: Option<i32>,
    /// Where it is woken; `None` until a client of a former node attaches again.
    pub(super) bell: Option<Doorbell>,
    /// Its connection, while that is open.
    pub(super) connection: Option<u64>,
    /// Position up to which its touches were read.
    pub(super) touches_seen: u64,
    /// It sent nonsense: nothing it says is heard any more, but what it may write stays its own until it is dead.
    pub(super) fenced: bool,
    attached: Instant,
}

/// All clients by page.
#[derive(Debug, Default)]
pub(super) struct Clients {
    by_page: BTreeMap<u16, Client>,
}

impl Clients {
    pub(super) fn insert(&mut self, page: u16, owner: u64) -> &mut Client {
        let client = Client {
            owner,
            pidfd: None,
            pid: None,
            bell: None,
            connection: None,
            touches_seen: 0,
            fenced: false,
            attached: Instant::now(),
        };
        self.by_page.entry(page).insert_entry(client).into_mut()
    }

    pub(super) fn get(&self, page: u16) -> Option<&Client> {
        self.by_page.get(&page)
    }

    pub(super) fn get_mut(&mut self, page: u16) -> Option<&mut Client> {
        self.by_page.get_mut(&page)
    }

    pub(super) fn remove(&mut self, page: u16) -> Option<Client> {
        self.by_page.remove(&page)
    }

    pub(super) fn pages(&self) -> Vec<u16> {
        self.by_page.keys().copied().collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u16, &Client)> {
        self.by_page.iter().map(|(&page, client)| (page, client))
    }

    pub(super) fn len(&self) -> usize {
        self.by_page.len()
    }

    /// Clients that nothing will report on: their locks must be looked at.
    pub(super) fn any_unwatched(&self) -> bool {
        self.by_page.values().any(|client| client.pidfd.is_none() || client.connection.is_none())
    }

    /// Clients of a former node that did not attach again yet: they cannot ring.
    pub(super) fn any_without_bell(&self) -> bool {
        self.by_page.values().any(|client| client.bell.is_none() && !client.fenced)
    }

    /// Pages whose clients are gone as far as the locks tell.
    pub(super) fn gone(&self, pages_fd: RawFd) -> Vec<u16> {
        let unwatched = |client: &Client| client.pidfd.is_none() || client.connection.is_none();
        self.by_page
            .iter()
            .filter(|(_, client)| unwatched(client) && client.attached.elapsed() > client.grace())
            .filter(|(page, _)| !is_locked(pages_fd, **page))
            .map(|(&page, _)| page)
            .collect()
    }
}

impl Client {
    /// Whether its process has ended, as far as its pidfd tells.
    pub(super) fn is_exited(&self) -> bool {
        let Some(pidfd) = &self.pidfd else { return false };
        let mut watched = [PollFd::new(pidfd, PollFlags::IN)];
        poll(&mut watched, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    fn grace(&self) -> Duration {
        // Only who still has a connection may be about to lock.
        if self.connection.is_some() { LOCK_GRACE } else { Duration::ZERO }
    }
}

/// Whether somebody holds the lock of a page.
pub(super) fn is_locked(pages_fd: RawFd, page: u16) -> bool {
    let mut lock = range_of(page, libc::F_WRLCK);
    // SAFETY: F_OFD_GETLK reads and writes the one `flock` that is passed, and the descriptor is the tier's.
    let result = unsafe { libc::fcntl(pages_fd, libc::F_OFD_GETLK, &raw mut lock) };
    // In doubt the client lives: its memory must not be reused under it.
    result != 0 || lock.l_type != libc::F_UNLCK as libc::c_short
}

/// The node's own hold on a page while it buries the client: a client that is only late, between its attach and its
/// lock, finds the page taken or its owner word gone, never half cleared.
#[derive(Debug)]
pub(super) struct PageLock {
    pages_fd: RawFd,
    page: u16,
}

impl PageLock {
    /// Takes the lock, or `None` if the client has it: then it lives.
    pub(super) fn take(pages_fd: RawFd, page: u16) -> Option<Self> {
        let lock = range_of(page, libc::F_WRLCK);
        // SAFETY: F_OFD_SETLK reads the one `flock` that is passed, and the descriptor is the tier's.
        let result = unsafe { libc::fcntl(pages_fd, libc::F_OFD_SETLK, &raw const lock) };
        (result == 0).then_some(Self { pages_fd, page })
    }
}

impl Drop for PageLock {
    fn drop(&mut self) {
        let unlock = range_of(self.page, libc::F_UNLCK);
        // SAFETY: as in `take`; the tier keeps the descriptor open longer than any burial takes.
        unsafe { libc::fcntl(self.pages_fd, libc::F_OFD_SETLK, &raw const unlock) };
    }
}

fn range_of(page: u16, kind: libc::c_int) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: i64::from(page) * PAGE_BYTES as i64,
        l_len: PAGE_BYTES as i64,
        l_pid: 0,
    }
}
