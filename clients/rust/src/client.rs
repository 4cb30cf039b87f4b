//! The handle of a node: connecting, and finding the node again.
//!
//! A hit only ever loads the current [`Attachment`]; who needs the node goes through [`Client::wait_for`], which looks
//! after the link too. Invariants: the attachment in force is replaced, never changed under a reader; one thread at a
//! time attaches; a forked child touches nothing.

use crate::attachment::{Attachment, Welcome};
use crate::deadline::{Deadline, coarse_now_ns, now_ns};
use crate::error::Error;
use crate::mapping::ForkMarker;
use crate::sleep::{SLICE, Sleep};
use crate::socket;
use crate::stats::Stats;
use arc_swap::{ArcSwap, Guard};
use cascade_core::place::DEFAULT_INSTANCE;
use cascade_core::tally::{Tally, Totals};
use cascade_core::wire::Frame;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Looks at shared memory before going to sleep: an answer of a node that is awake comes sooner than a sleep begins.
const SPINS: u32 = 256;
/// How long one attempt to attach anew may take: when somebody waits for the node or nobody does, and when somebody only
/// hands it something.
const ATTEMPT: Duration = Duration::from_millis(250);
const ATTEMPT_IN_PASSING: Duration = Duration::from_millis(10);
/// Pause after a failed attempt: doubled each time, from the first to the last.
const PAUSE_NS: (u64, u64) = (1_000_000, 50_000_000);

/// A handle of a node, for any thread. Clones share everything.
///
/// After `fork`, a child's handle answers [`Error::Forked`]; connect anew there.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    current: ArcSwap<Attachment>,
    marker: Arc<ForkMarker>,
    sleep: Sleep,
    /// What was counted in pages that were given up.
    former: Mutex<Totals>,
    paths: Vec<PathBuf>,
    retry: Mutex<Retry>,
    looked_ns: AtomicU64,
}

/// When to try again to attach.
#[derive(Debug)]
struct Retry {
    next_ns: u64,
    pause_ns: u64,
}

impl Client {
    /// Attaches to the node of this user and job: at `CASCADE_SOCKET` if that is set, otherwise in the place that client
    /// and node compute alike ([`cascade_core::place`]), with the job first, then without. A node whose predecessor was
    /// killed and cannot exit lives in a folder beside; those are looked at too, and while several sockets are there, none
    /// gets more than its part of the time.
    ///
    /// # Errors
    /// [`Error::NoNode`] with the paths tried, without the folders beside that do not exist; [`Error::Refused`], [`Error::Layout`], [`Error::Deadline`].
    pub fn connect(deadline: Deadline) -> Result<Self, Error> {
        Self::connect_to_instance(DEFAULT_INSTANCE, deadline)
    }

    /// [`Client::connect`] to a node that was given a name of its own.
    ///
    /// # Errors
    /// As for [`Client::connect`].
    pub fn connect_to_instance(instance: &str, deadline: Deadline) -> Result<Self, Error> {
        Self::connect_to(socket::candidates(instance), deadline)
    }

    /// Attaches to the first node that listens at one of these sockets.
    ///
    /// # Errors
    /// As for [`Client::connect`].
    pub fn connect_to(sockets: Vec<PathBuf>, deadline: Deadline) -> Result<Self, Error> {
        let marker = Arc::new(ForkMarker::new()?);
        let sleep = Sleep::new()?;
        let welcome = ask_in(&sockets, NOBODY, deadline)?;
        let attachment = settle_in(welcome, &sockets, &marker, deadline)?;
        sleep.watch(&attachment, &attachment.link.load())?;
        let shared = Shared {
            current: ArcSwap::from_pointee(attachment),
            marker,
            sleep,
            former: Mutex::default(),
            paths: sockets,
            retry: Mutex::new(Retry { next_ns: 0, pause_ns: PAUSE_NS.0 }),
            looked_ns: AtomicU64::new(0),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// What this client counted; in a forked child, nothing.
    pub fn stats(&self) -> Stats {
        if self.check_fork().is_err() {
            return Stats::default();
        }
        // In this order: who attaches anew swaps and adds up under the lock.
        let former = self.former();
        former.and(&self.shared.current.load().page().tallies().totals()).into()
    }

    /// What the node says of itself, as JSON.
    ///
    /// # Errors
    /// [`Error::Forked`], [`Error::NoNode`], [`Error::Deadline`], [`Error::Refused`].
    pub fn status(&self, deadline: Deadline) -> Result<String, Error> {
        self.query("status", deadline)
    }

    /// Asks the node a question by name, over a connection of its own; the answer is JSON.
    ///
    /// # Errors
    /// As for [`Client::status`]; a question that the node does not know is [`Error::Refused`].
    pub fn query(&self, name: &str, deadline: Deadline) -> Result<String, Error> {
        self.check_fork()?;
        query(&self.shared.paths, name, deadline)
    }

    /// The number of the segment that is mapped: another one means that the node began anew and holds other pieces.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn segment_id(&self) -> Result<u64, Error> {
        Ok(self.current()?.segment_id)
    }

    /// A descriptor that becomes readable when an answer came or the node has gone: poll [`crate::Pending`] then, after
    /// [`Client::clear_event`]. Once asked for, the node rings for every batch of answers. Stays the same over
    /// reconnects. Wait on it with a timeout, after which you poll too: a node that is gone rings nobody, and polling is
    /// what finds the next one.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn event_fd(&self) -> Result<BorrowedFd<'_>, Error> {
        let attachment = self.current()?;
        Ok(self.shared.sleep.event_fd(&attachment))
    }

    /// Makes [`Client::event_fd`] unreadable until the node rings again. Call it before polling, not after.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn clear_event(&self) -> Result<(), Error> {
        self.check_fork()?;
        self.shared.sleep.clear();
        Ok(())
    }

    fn former(&self) -> MutexGuard<'_, Totals> {
        self.shared.former.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    pub(crate) fn check_fork(&self) -> Result<(), Error> {
        if self.shared.marker.is_child() { Err(Error::Forked) } else { Ok(()) }
    }

    /// The attachment in force, for the length of a call.
    #[inline]
    pub(crate) fn current(&self) -> Result<Guard<Arc<Attachment>>, Error> {
        self.check_fork()?;
        Ok(self.shared.current.load())
    }

    /// Whether `attachment` is no longer in force: its node began anew with another segment.
    pub(crate) fn has_replaced(&self, attachment: &Arc<Attachment>) -> bool {
        !Arc::ptr_eq(&self.shared.current.load(), attachment)
    }

    /// Looks until there is something, sleeping in between, and attaches anew if the node went.
    ///
    /// # Errors
    /// [`Error::Deadline`]; [`Error::NodeLost`] if there is no node at the deadline, or the one there is has another
    /// segment, so that what is waited for never comes.
    pub(crate) fn wait_for<T>(
        &self,
        attachment: &Arc<Attachment>,
        deadline: Deadline,
        mut look: impl FnMut() -> Option<T>,
    ) -> Result<T, Error> {
        for _ in 0..SPINS {
            if let Some(found) = look() {
                return Ok(found);
            }
            std::hint::spin_loop();
        }
        attachment.tally(Tally::Waits, 1);
        let mut found = None;
        loop {
            let stale = attachment.is_stale() || attachment.link.load().has_hung_up();
            if stale && !self.reattach(ATTEMPT.min(deadline.left())) && deadline.has_passed() {
                return Err(Error::NodeLost);
            }
            if self.has_replaced(attachment) {
                return look().ok_or(Error::NodeLost);
            }
            let left = deadline.left();
            if left.is_zero() {
                return look().ok_or(Error::Deadline);
            }
            // A node that is gone rings nobody: come back soon to see whether it is there again.
            let longest = if stale { left.min(Duration::from_millis(2)) } else { left };
            self.shared.sleep.sleep(attachment, longest, || {
                found = look();
                found.is_some()
            });
            if let Some(found) = found.take().or_else(&mut look) {
                return Ok(found);
            }
        }
    }

    /// For calls that found little, now and then: looks whether the node is still there. If not, a thread of its own
    /// attaches anew, since these calls never wait.
    pub(crate) fn look_around(&self, attachment: &Attachment) {
        let now = coarse_now_ns();
        let looked = self.shared.looked_ns.load(Ordering::Relaxed);
        let turn = now.saturating_sub(looked) >= SLICE.as_nanos() as u64
            && self
                .shared
                .looked_ns
                .compare_exchange(looked, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if turn && (attachment.is_stale() || attachment.link.load().has_hung_up()) {
            let client = self.clone();
            let attempt = move || {
                client.reattach(ATTEMPT);
            };
            // Without a thread it is not tried: a later call comes this way again.
            let _ = std::thread::Builder::new().name("cascade-attach".into()).spawn(attempt);
        }
    }

    /// For calls that hand something to the node: makes sure that its bell is that of the living node.
    pub(crate) fn refresh_link(&self, attachment: &Attachment, deadline: Deadline) {
        if attachment.is_stale() {
            self.reattach(ATTEMPT_IN_PASSING.min(deadline.left()));
        }
    }

    /// Attaches anew, unless another thread is at it or it was tried just now. `true` if the link is good again.
    fn reattach(&self, patience: Duration) -> bool {
        let shared = &*self.shared;
        let Ok(mut retry) = shared.retry.try_lock() else { return false };
        let attachment = shared.current.load_full();
        if !attachment.is_stale() && !attachment.link.load().has_hung_up() {
            return true;
        }
        if now_ns() < retry.next_ns {
            return false;
        }
        let attached = self.attach_again(&attachment, Deadline::after(patience));
        if attached.is_ok() {
            retry.pause_ns = PAUSE_NS.0;
            shared.current.load().tally(Tally::Reattaches, 1);
        } else {
            retry.next_ns = now_ns() + retry.pause_ns;
            retry.pause_ns = (2 * retry.pause_ns).min(PAUSE_NS.1);
        }
        attached.is_ok()
    }

    fn attach_again(&self, attachment: &Attachment, deadline: Deadline) -> Result<(), Error> {
        let shared = &*self.shared;
        let known = (attachment.segment_id, attachment.page_index, attachment.owner);
        let welcome = ask_in(&shared.paths, known, deadline)?;
        if (welcome.segment_id, welcome.page_index, welcome.owner) == known {
            shared.sleep.watch(attachment, &welcome.link)?;
            shared.sleep.unwatch(&attachment.link.swap(Arc::new(welcome.link)));
            // Requests posted while nobody listened.
            attachment.wake_node();
        } else {
            let next = settle_in(welcome, &shared.paths, &shared.marker, deadline)?;
            shared.sleep.watch(&next, &next.link.load())?;
            let mut former = self.former();
            let before = shared.current.swap(Arc::new(next));
            *former = former.and(&before.page().tallies().totals());
            drop(former);
            shared.sleep.unwatch(&before.link.load());
        }
        Ok(())
    }
}

/// Asks a node, which need not be attached to, a question by name; the answer is JSON.
///
/// # Errors
/// [`Error::NoNode`], [`Error::Deadline`], [`Error::Refused`].
pub fn query(sockets: &[PathBuf], name: &str, deadline: Deadline) -> Result<String, Error> {
    match socket::ask_first(sockets, &Frame::Query(name.into()), deadline)?.1 {
        Frame::Answer(json) => Ok(json),
        _ => Err(Error::Refused("the node answered another question".into())),
    }
}

/// The sockets where a node of this user, job and `instance` may listen, in the order in which they are tried.
pub fn sockets(instance: &str) -> Vec<PathBuf> {
    socket::candidates(instance)
}

/// Who was not attached before.
const NOBODY: (u64, u16, u64) = (0, 0, 0);

/// Takes up what the node sent; asks anew as long as the page is taken back before it could be locked.
fn settle_in(
    mut welcome: Welcome,
    sockets: &[PathBuf],
    marker: &Arc<ForkMarker>,
    deadline: Deadline,
) -> Result<Attachment, Error> {
    loop {
        if let Some(attachment) = Attachment::new(welcome, marker.clone())? {
            return Ok(attachment);
        }
        if deadline.has_passed() {
            return Err(Error::Deadline);
        }
        // A node that closes answers until it is gone.
        std::thread::sleep(Duration::from_millis(1));
        welcome = ask_in(sockets, NOBODY, deadline)?;
    }
}

/// Asks to be let in, as who one was before: (segment, page, owner).
fn ask_in(sockets: &[PathBuf], known: (u64, u16, u64), deadline: Deadline) -> Result<Welcome, Error> {
    let (segment_id, page, owner) = known;
    let question = Frame::Attach { segment_id, page, owner };
    let (connection, frame, descriptors) = socket::ask_first(sockets, &question, deadline)?;
    Welcome::new(frame, descriptors, connection)
}
