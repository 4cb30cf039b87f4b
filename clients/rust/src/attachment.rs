//! One attachment: a mapped segment, the page that is ours in it, and this process's book about both.
//!
//! It outlives the node (what is resident can be read without one) and even the client handle, as long as a view, a fill
//! or a hold uses it. Invariants: the lock on the page is held as long as the attachment lives, so the node takes nothing
//! back from under a claim; claims are released before the memory is unmapped, by the order of ownership.

use crate::cells::Cells;
use crate::error::Error;
use crate::mapping::{ForkMarker, Mapping, SegmentFiles, lock_page};
use crate::outbox::{Outbox, Written};
use crate::questions::Questions;
use crate::socket::Connection;
use crate::tickets::{Asked, Tickets};
use arc_swap::ArcSwap;
use cascade_core::bell::Bell;
use cascade_core::page::{HAZARD_CELLS, HOLD_CELLS, Page};
use cascade_core::piece::PieceId;
use cascade_core::request::{Request, Ticket};
use cascade_core::segment::{LayoutError, Segment};
use cascade_core::slot::SlotRef;
use cascade_core::sync::Ordering;
use cascade_core::wire::Frame;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Cells that only gets use, so that a client with all its pins out can still copy.
const CELLS_FOR_GETS: usize = 128;

/// What ties an attachment to a living node.
#[derive(Debug)]
pub(crate) struct Link {
    /// The epoch of the node.
    pub(crate) epoch: u64,
    /// Written to wake the node.
    pub(crate) node_bell: OwnedFd,
    /// Written by the node to wake us.
    pub(crate) client_bell: OwnedFd,
    /// Hangs up when the node goes.
    pub(crate) connection: Connection,
}

impl Link {
    /// Whether the other end of the socket is closed.
    pub(crate) fn has_hung_up(&self) -> bool {
        let gone = PollFlags::HUP | PollFlags::RDHUP | PollFlags::ERR;
        let mut ends = [PollFd::new(&self.connection, PollFlags::RDHUP)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        // A poll that fails tells nothing about the node.
        poll(&mut ends, Some(&at_once)).is_ok() && ends[0].revents().intersects(gone)
    }
}

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Attachment {
    mapping: Mapping,
    pub(crate) segment_id: u64,
    pub(crate) page_index: u16,
    pub(crate) owner: u64,
    pub(crate) pins: Cells,
    pub(crate) holds: Cells,
    pinned_bytes: AtomicU64,
    pinned_cells: AtomicUsize,
    outbox: Mutex<Outbox>,
    // How many commits the outbox knows, to leave it alone when there are none.
    written: AtomicUsize,
    tickets: Mutex<Tickets>,
    questions: Mutex<Questions>,
    // Before the link: when the socket hangs up, the node finds the lock gone.
    _lock: OwnedFd,
    pub(crate) link: ArcSwap<Link>,
}

/// What the node sent: who we are to it, and the descriptors.
pub(crate) struct Welcome {
    pub(crate) segment_id: u64,
    pub(crate) page_index: u16,
    pub(crate) owner: u64,
    pub(crate) link: Link,
    pub(crate) files: SegmentFiles,
}

impl Welcome {
    /// Takes the answer to [`Frame::Attach`] apart.
    pub(crate) fn new(
        frame: Frame,
        descriptors: Vec<OwnedFd>,
        connection: Connection,
    ) -> Result<Self, Error> {
        let Frame::Attached { segment_id, page, owner, epoch, arenas } = frame else {
            return Err(Error::Refused("the node answered another question".into()));
        };
        let numbers: Vec<usize> = (0..8).filter(|number| arenas & 1 << number != 0).collect();
        if descriptors.len() != 4 + numbers.len() {
            let count = descriptors.len();
            return Err(Error::Refused(format!("{count} descriptors came for {} arenas", numbers.len())));
        }
        let mut descriptors = descriptors.into_iter();
        let mut next = || descriptors.next().expect("counted above");
        let (node_bell, client_bell, pages, meta) = (next(), next(), next(), next());
        let arenas = numbers.into_iter().map(|number| (number, next())).collect();
        Ok(Self {
            segment_id,
            page_index: page,
            owner,
            link: Link { epoch, node_bell, client_bell, connection },
            files: SegmentFiles { pages, meta, arenas },
        })
    }
}

impl Attachment {
    /// Maps what the node sent and locks the page. `None` if the page was taken back meanwhile, or the segment closed:
    /// attach anew.
    ///
    /// Until the lock is held, a node takes us for dead if it waited long enough for the lock, or took the segment up
    /// after the one that answered was killed; then nobody scans the claims in this page. A node takes a page back with
    /// the lock in its hand, so what the page says under ours is final.
    pub(crate) fn new(welcome: Welcome, marker: Arc<ForkMarker>) -> Result<Option<Self>, Error> {
        let Welcome { segment_id, page_index, owner, link, files } = welcome;
        let mapping = match Mapping::open(&files, marker) {
            // Its node stops; the next one has another segment.
            Err(Error::Layout(LayoutError::Closed)) => return Ok(None),
            mapping => mapping?,
        };
        if mapping.segment().id() != segment_id || mapping.segment().page(page_index).is_none() {
            return Err(LayoutError::Geometry.into());
        }
        let Some(lock) = lock_page(files.pages.as_fd(), page_index)? else { return Ok(None) };
        let attachment = Self {
            segment_id,
            page_index,
            owner,
            pins: Cells::new(HAZARD_CELLS),
            holds: Cells::new(HOLD_CELLS),
            pinned_bytes: AtomicU64::new(0),
            pinned_cells: AtomicUsize::new(0),
            outbox: Mutex::new(Outbox::new()),
            written: AtomicUsize::new(0),
            tickets: Mutex::new(Tickets::new()),
            questions: Mutex::default(),
            _lock: lock,
            link: ArcSwap::from_pointee(link),
            mapping,
        };
        Ok(attachment.is_expected().then_some(attachment))
    }

    /// Whether the page is the one that was promised, in a segment that is served.
    fn is_expected(&self) -> bool {
        // Acquire: pairs with the Release of the node that cleared the page or gave it to somebody else.
        self.page().owner().load(Ordering::Acquire) == self.owner && self.segment().is_open()
    }

    #[inline]
    pub(crate) fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    #[inline]
    pub(crate) fn segment(&self) -> &Segment<'_> {
        self.mapping.segment()
    }

    #[inline]
    pub(crate) fn is_forked(&self) -> bool {
        self.mapping.is_forked()
    }

    #[inline]
    pub(crate) fn page(&self) -> Page<'_> {
        self.segment().page(self.page_index).expect("checked when attached")
    }

    /// The epoch in the header: who owns the segment now.
    pub(crate) fn epoch(&self) -> u64 {
        self.segment().epoch().load(Ordering::Acquire)
    }

    /// Whether shared memory says that the node we knew is no more. A killed one cannot say it; see [`Link`].
    pub(crate) fn is_stale(&self) -> bool {
        self.epoch() != self.link.load().epoch || !self.segment().is_open()
    }

    /// Reserves `len_bytes` of the pin budget; `false` if it is spent.
    pub(crate) fn take_pin_budget(&self, len_bytes: u64) -> bool {
        let budget = self.segment().geometry().pin_budget_bytes;
        let spend = |spent: u64| spent.checked_add(len_bytes).filter(|&spent| spent <= budget);
        if self.pinned_bytes.try_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_err() {
            return false;
        }
        if self.pinned_cells.fetch_add(1, Ordering::Relaxed) >= HAZARD_CELLS - CELLS_FOR_GETS {
            self.give_pin_budget(len_bytes);
            return false;
        }
        true
    }

    /// Gives back what [`Attachment::take_pin_budget`] took.
    pub(crate) fn give_pin_budget(&self, len_bytes: u64) {
        self.pinned_bytes.fetch_sub(len_bytes, Ordering::Relaxed);
        self.pinned_cells.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether this client may have commits that the node has not come to yet. If not, what it ever wrote can be found
    /// in the index.
    #[inline]
    pub(crate) fn has_written(&self) -> bool {
        // Acquire: pairs with the Release in `count`; who sees the outbox cleaned sees what the node published.
        self.written.load(Ordering::Acquire) != 0
    }

    /// The commit of `id` that the node has not come to yet.
    pub(crate) fn find_written(&self, id: &PieceId) -> Option<Written> {
        let mut outbox = self.outbox();
        let found = outbox.find(self.page().ring(), id);
        self.count(&outbox);
        found
    }

    // With the outbox locked, so that the count is that of its present state.
    fn count(&self, outbox: &Outbox) {
        self.written.store(outbox.len(), Ordering::Release);
    }

    /// Posts a request and wakes the node if it sleeps; its position, or `None` if the ring is full.
    pub(crate) fn post(&self, request: &Request) -> Option<u64> {
        let position = self.post_quietly(request)?;
        self.wake_node();
        Some(position)
    }

    /// [`Attachment::post`] without waking the node: several posts share one ring of the bell.
    pub(crate) fn post_quietly(&self, request: &Request) -> Option<u64> {
        let mut outbox = self.outbox();
        let position = outbox.post(self.page().ring(), request);
        self.count(&outbox);
        position
    }

    /// Posts what must reach the node but is not waited for; the position that it has or will have in the ring.
    pub(crate) fn post_surely(&self, request: Request) -> u64 {
        let position = self.outbox().post_or_keep(self.page().ring(), request);
        self.wake_node();
        position
    }

    /// A completion entry to ask with, or `None` if all await answers.
    pub(crate) fn take_ticket(&self) -> Option<Ticket> {
        let taken = self.tickets().take(self.page().ring());
        // A cancel that found the ring full may be what the entries wait for.
        if taken.is_none() && self.outbox().post_kept(self.page().ring()) {
            self.wake_node();
        }
        taken
    }

    /// Gives a completion entry back for when nothing can be answered there any more.
    pub(crate) fn retire(&self, asked: &Asked) {
        let ticket = asked.ticket;
        let cancel = || self.post_surely(Request::Cancel { ticket });
        let position = asked.last_answerable(&self.page(), self.segment().epoch()).unwrap_or_else(cancel);
        self.tickets().rest(ticket, position);
    }

    /// Tells the node that the bytes of a slot are not what they should be. Lost if the ring is full: it is a hint.
    pub(crate) fn post_suspicion(&self, slot: SlotRef) {
        let _ = self.post(&Request::Suspect { slot });
    }

    /// Rings the node's bell if it sleeps.
    pub(crate) fn wake_node(&self) {
        if Bell::new(self.segment().node_asleep()).must_ring() {
            // A write fails only when the counter is full, and then the node is being woken already.
            let _ = rustix::io::write(&self.link.load().node_bell, &1u64.to_ne_bytes());
        }
    }

    pub(crate) fn tickets(&self) -> MutexGuard<'_, Tickets> {
        // No code panics while it has the lock half done; a poisoned one is as good as any.
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Taken before the outbox and the tickets.
    pub(crate) fn questions(&self) -> MutexGuard<'_, Questions> {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
