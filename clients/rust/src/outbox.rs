//! The producer's side of the page's ring, and the commits that the node has not come to yet.
//!
//! Invariants: whoever has the outbox is the ring's one producer; a commit is in the table exactly while the ring's
//! consumer has not passed its position (cleaned lazily), so a client reads what it wrote before the node published it.
//! What must reach the node but found the ring full (aborts, cancels) is kept and goes first next time.

use cascade_core::page::RING_ENTRIES;
use cascade_core::piece::PieceId;
use cascade_core::request::Request;
use cascade_core::ring::Ring;
use cascade_core::slot::SlotRef;
use hashbrown::HashMap;
use std::collections::VecDeque;

/// A commit on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) slot: SlotRef,
    pub(crate) len_bytes: u64,
    pub(crate) checksum: u32,
    position: u64,
}

/// See the module's description.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    written: HashMap<PieceId, Written>,
    order: VecDeque<(u64, PieceId)>,
    kept: VecDeque<Request>,
}

impl Outbox {
    /// An outbox that does not allocate in steady state.
    pub(crate) fn new() -> Self {
        Self {
            written: HashMap::with_capacity(2 * RING_ENTRIES),
            order: VecDeque::with_capacity(RING_ENTRIES),
            kept: VecDeque::new(),
        }
    }

    /// Posts a request; its position, or `None` if the ring is full.
    pub(crate) fn post(&mut self, ring: Ring<'_>, request: &Request) -> Option<u64> {
        self.post_kept(ring);
        if !self.kept.is_empty() {
            return None;
        }
        let position = ring.push(&request.encode())?;
        if let Request::Commit { slot, meta, .. } = request {
            self.clean(ring);
            let written =
                Written { slot: *slot, len_bytes: meta.len_bytes, checksum: meta.checksum, position };
            self.written.insert(meta.id, written);
            self.order.push_back((position, meta.id));
        }
        Some(position)
    }

    /// Posts a request now or, if the ring is full, in front of the next one; the position that it has or will have.
    pub(crate) fn post_or_keep(&mut self, ring: Ring<'_>, request: Request) -> u64 {
        self.post(ring, &request).unwrap_or_else(|| {
            // What was kept before goes first, and nothing goes in between.
            let position = ring.posted() + self.kept.len() as u64;
            self.kept.push_back(request);
            position
        })
    }

    /// Posts what was kept, as far as there is room; `true` if there was any.
    pub(crate) fn post_kept(&mut self, ring: Ring<'_>) -> bool {
        let before = self.kept.len();
        while let Some(kept) = self.kept.front()
            && ring.push(&kept.encode()).is_some()
        {
            self.kept.pop_front();
        }
        self.kept.len() < before
    }

    /// The commit of `id` that the node has not come to yet.
    pub(crate) fn find(&mut self, ring: Ring<'_>, id: &PieceId) -> Option<Written> {
        let found = *self.written.get(id)?;
        if found.position < ring.processed() {
            self.clean(ring);
            return None;
        }
        Some(found)
    }

    /// Commits in the table, some of which the node may have come to.
    pub(crate) fn len(&self) -> usize {
        self.written.len()
    }

    fn clean(&mut self, ring: Ring<'_>) {
        let processed = ring.processed();
        while let Some(&(position, id)) = self.order.front()
            && position < processed
        {
            self.order.pop_front();
            // The same piece may have been written again since.
            if self.written.get(&id).is_some_and(|written| written.position == position) {
                self.written.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cascade_core::key::BlockKey;
    use cascade_core::page::{PAGE_WORDS, Page};
    use cascade_core::piece::PieceMeta;
    use cascade_core::request::Ticket;
    use cascade_core::sync::zeroed_words;

    fn commit(byte: u8) -> Request {
        let id = PieceId::sole(BlockKey::from_bytes([byte; 32]));
        Request::Commit {
            slot: SlotRef { arena: 0, slot: byte.into(), generation: 1 },
            meta: PieceMeta { id, len_bytes: 1, checksum: 2, depth: 0 },
            parent: BlockKey::ROOT,
            ticket: None,
        }
    }

    fn id(byte: u8) -> PieceId {
        PieceId::sole(BlockKey::from_bytes([byte; 32]))
    }

    #[test]
    fn a_commit_is_found_until_the_node_has_come_to_it() {
        let words = zeroed_words(PAGE_WORDS);
        let ring = Page::new(&words).ring();
        let mut outbox = Outbox::new();
        outbox.post(ring, &commit(1)).unwrap();
        outbox.post(ring, &commit(2)).unwrap();
        assert_eq!(outbox.find(ring, &id(1)).unwrap().slot.slot, 1);
        ring.done();
        assert_eq!(outbox.find(ring, &id(1)), None);
        assert_eq!(outbox.len(), 1);
        assert!(outbox.find(ring, &id(2)).is_some());
    }

    #[test]
    fn what_was_kept_goes_first() {
        let words = zeroed_words(PAGE_WORDS);
        let ring = Page::new(&words).ring();
        let mut outbox = Outbox::new();
        while outbox.post(ring, &commit(1)).is_some() {}
        let abort = Request::Abort { slot: SlotRef { arena: 0, slot: 9, generation: 1 } };
        let position = outbox.post_or_keep(ring, abort);
        let cancel = Request::Cancel { ticket: Ticket::new(1, 0) };
        assert_eq!(outbox.post_or_keep(ring, cancel), position + 1);
        ring.done();
        assert_eq!(outbox.post(ring, &commit(2)), None, "the one free entry is the abort's");
        while ring.processed() < position {
            ring.done();
        }
        assert_eq!(Request::decode(&ring.peek()), Ok(abort));
        assert!(outbox.post_kept(ring));
        ring.done();
        assert_eq!((ring.processed(), Request::decode(&ring.peek())), (position + 1, Ok(cancel)));
    }
}
