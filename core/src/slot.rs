//! Slot lifecycle, packed in one word, and the metadata line around it.
//!
//! Invariants: a hazard on (slot, generation) keeps it from Free; Free always advances the generation; what a line
//! says of its piece is constant while the slot is Ready.
//! Writers: the node alone. Readers: any process that maps the segment.
//!
//! ```text
//! Free ──grant──▶ Granted ──publish──▶ Ready ──drain──▶ Draining ──reclaim──▶ Free (generation + 1)
//!   └───load────▶ Loading ──publish──▶   ▲────restore──────┘
//!          Granted, Loading, Ready ──revoke──▶ Revoked ──reclaim──▶ Free (generation + 1)
//! ```

use crate::key::BlockKey;
use crate::piece::{PieceId, PieceMeta};
use crate::sync::{AtomicU64, Ordering, fence};

/// Words of a slot's line: one cache line.
pub const LINE_WORDS: usize = 8;
/// The last generation; a slot that would pass it retires, so a handle never comes true again.
pub const GENERATION_MAX: u32 = (1 << 24) - 1;

/// Where a slot is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// Nothing in it, nobody writes it.
    Free = 0,
    /// A client may fill it.
    Granted = 1,
    /// A tier is writing into it; after an unclean end its pages are punched before reuse.
    Loading = 2,
    /// Holds the piece that its line names.
    Ready = 3,
    /// Chosen as a victim; a hazard brings it back to Ready.
    Draining = 4,
    /// Its content was given up, published or not; waits until nobody reads it, and is never Ready again.
    Revoked = 5,
    /// Out of generations.
    Retired = 6,
}

impl State {
    /// All states, in the order of their codes.
    pub const ALL: [State; 7] = [
        State::Free,
        State::Granted,
        State::Loading,
        State::Ready,
        State::Draining,
        State::Revoked,
        State::Retired,
    ];
}

/// What may happen to a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Handed to a client to fill.
    Grant {
        /// Index of the client's page.
        client: u16,
    },
    /// Handed to a tier to fill.
    Load,
    /// Its line is written, readers may come.
    Publish,
    /// Chosen as a victim.
    Drain,
    /// Not evicted after all.
    Restore,
    /// The content is given up: a fill that will not be published, or a piece that is of no use. Claims that were made
    /// before keep the bytes.
    Revoke,
    /// Nobody reads it: back to the free slots.
    Reclaim,
}

/// The state word, unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Where the slot is in its life.
    pub state: State,
    /// How often the slot was reused, 1 ..= [`GENERATION_MAX`]; 0 only before its first use.
    #[doc(alias = "ABA tag")]
    pub generation: u32,
    /// The client that a Granted slot belongs to; 0 otherwise.
    pub client: u16,
}

impl Snapshot {
    const FRESH: Snapshot = Snapshot { state: State::Free, generation: 1, client: 0 };

    /// Packs state (8 bits), generation (24) and client (16).
    pub const fn pack(self) -> u64 {
        self.state as u64 | (self.generation as u64) << 8 | (self.client as u64) << 32
    }

    /// Unpacks a state word; `None` for a code that is no state. A word of zero is a slot never used.
    pub const fn unpack(word: u64) -> Option<Self> {
        if word == 0 {
            return Some(Self::FRESH);
        }
        let code = (word & 0xff) as usize;
        if code >= State::ALL.len() || word >> 48 != 0 {
            return None;
        }
        let generation = (word >> 8) as u32 & GENERATION_MAX;
        if generation == 0 {
            return None;
        }
        Some(Self { state: State::ALL[code], generation, client: (word >> 32) as u16 })
    }
}

/// The whole life of a slot: the next snapshot, or `None` where the event has no place.
///
/// Pinned by `core/tests/snapshots/slot_transitions.snap`.
pub const fn next(s: Snapshot, e: Event) -> Option<Snapshot> {
    let state = match (s.state, e) {
        (State::Free, Event::Grant { client }) => {
            return Some(Snapshot { state: State::Granted, generation: s.generation, client });
        }
        (State::Free, Event::Load) => State::Loading,
        (State::Granted | State::Loading, Event::Publish) => State::Ready,
        (State::Granted | State::Loading | State::Ready, Event::Revoke) => State::Revoked,
        (State::Ready, Event::Drain) => State::Draining,
        (State::Draining, Event::Restore) => State::Ready,
        (State::Draining | State::Revoked, Event::Reclaim) => {
            return Some(if s.generation == GENERATION_MAX {
                Snapshot { state: State::Retired, generation: s.generation, client: 0 }
            } else {
                Snapshot { state: State::Free, generation: s.generation + 1, client: 0 }
            });
        }
        _ => return None,
    };
    Some(Snapshot { state, generation: s.generation, client: 0 })
}

/// A handle of one use of one slot: arena, slot and generation in one word.
#[doc(alias = "descriptor")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotRef {
    /// The arena.
    pub arena: u8,
    /// The slot within the arena.
    pub slot: u32,
    /// The use of the slot; never 0.
    pub generation: u32,
}

impl SlotRef {
    /// Packs slot (32 bits), generation (24) and arena (8). Never 0, which stands for no slot.
    pub const fn pack(self) -> u64 {
        self.slot as u64 | (self.generation as u64 & GENERATION_MAX as u64) << 32 | (self.arena as u64) << 56
    }

    /// Unpacks a handle; `None` for a word whose generation is 0.
    pub const fn unpack(word: u64) -> Option<Self> {
        let generation = (word >> 32) as u32 & GENERATION_MAX;
        if generation == 0 {
            return None;
        }
        Some(Self { arena: (word >> 56) as u8, slot: word as u32, generation })
    }
}

/// A transition that has no place, with what was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused(pub Option<Snapshot>);

/// One slot's line in shared memory: the state word and what the slot holds.
#[derive(Clone, Copy, Debug)]
pub struct Line<'m> {
    words: &'m [AtomicU64],
}

impl<'m> Line<'m> {
    /// Views the eight words of a line.
    ///
    /// # Panics
    /// If there are not exactly [`LINE_WORDS`] of them.
    pub fn new(words: &'m [AtomicU64]) -> Self {
        assert!(words.len() == LINE_WORDS);
        Self { words }
    }

    /// The state word, to check a hazard against.
    pub fn state_word(&self) -> &'m AtomicU64 {
        &self.words[0]
    }

    /// The present snapshot, or `None` if the word holds no state.
    pub fn snapshot(&self) -> Option<Snapshot> {
        // Acquire: pairs with the Release in `step`, so that the line of a Ready slot is there.
        Snapshot::unpack(self.words[0].load(Ordering::Acquire))
    }

    /// Applies an event. Only the node calls this, and only from one thread.
    pub fn step(&self, event: Event) -> Result<Snapshot, Refused> {
        // Relaxed: the only writer reads its own last store.
        let found = Snapshot::unpack(self.words[0].load(Ordering::Relaxed));
        let Some(next) = found.and_then(|snapshot| next(snapshot, event)) else {
            return Err(Refused(found));
        };
        // Release: pairs with the Acquire in `snapshot` and `hazard::protect`; a published line is complete.
        self.words[0].store(next.pack(), Ordering::Release);
        Ok(next)
    }

    /// Writes what the slot holds. Only the node calls this, and only while nobody may read the line as Ready.
    pub fn describe(&self, meta: &PieceMeta) {
        // Release: a reader that sees any word below also sees that the slot is not Ready at its generation.
        fence(Ordering::Release);
        for (word, value) in self.words[1..5].iter().zip(meta.id.key.to_words()) {
            word.store(value, Ordering::Relaxed);
        }
        let lane = u64::from(meta.id.rank) | u64::from(meta.id.group) << 16;
        self.words[5].store(lane, Ordering::Relaxed);
        self.words[6].store(meta.len_bytes, Ordering::Relaxed);
        self.words[7].store(u64::from(meta.checksum) | u64::from(meta.depth) << 32, Ordering::Relaxed);
    }

    /// What the line says. Meaningful only while a hazard or the node itself keeps the slot Ready;
    /// [`Line::read`] checks that.
    pub fn meta(&self) -> PieceMeta {
        let word = |i: usize| self.words[i].load(Ordering::Relaxed);
        let lane = word(5);
        let tail = word(7);
        PieceMeta {
            id: PieceId {
                key: BlockKey::from_words([word(1), word(2), word(3), word(4)]),
                rank: lane as u16,
                group: (lane >> 16) as u16,
            },
            len_bytes: word(6),
            checksum: tail as u32,
            depth: (tail >> 32) as u32,
        }
    }

    /// Whether the line names `id`, four words of key and one of rank and group.
    pub fn names(&self, id: &PieceId) -> bool {
        let key = id.key.to_words();
        let lane = u64::from(id.rank) | u64::from(id.group) << 16;
        let same = |i: usize, value: u64| self.words[i].load(Ordering::Relaxed) == value;
        same(1, key[0]) && same(2, key[1]) && same(3, key[2]) && same(4, key[3]) && same(5, lane)
    }

    /// Whether the slot is Ready and names `id`, without a pin: the generation at which both held at once.
    pub fn ready_with(&self, id: &PieceId) -> Option<u32> {
        let before = self.snapshot()?;
        if before.state != State::Ready || !self.names(id) {
            return None;
        }
        // Acquire: the words above are read before the state is read again; pairs with the fence in `describe`.
        fence(Ordering::Acquire);
        (self.words[0].load(Ordering::Relaxed) == before.pack()).then_some(before.generation)
    }

    /// A consistent look without a pin: generation and metadata of a Ready slot, `None` if it is not Ready or changed
    /// under the reader. A reader never waits for a writer.
    pub fn read(&self) -> Option<(u32, PieceMeta)> {
        let before = self.snapshot()?;
        if before.state != State::Ready {
            return None;
        }
        let meta = self.meta();
        // Acquire: the words above are read before the state is read again; pairs with the fence in `describe`.
        fence(Ordering::Acquire);
        (self.words[0].load(Ordering::Relaxed) == before.pack()).then_some((before.generation, meta))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_packed_snapshot_unpacks_to_itself() {
        for state in State::ALL {
            for generation in [1, 2, GENERATION_MAX] {
                for client in [0, 1, u16::MAX] {
                    let snapshot = Snapshot { state, generation, client };
                    assert_eq!(Snapshot::unpack(snapshot.pack()), Some(snapshot));
                }
            }
        }
        assert_eq!(Snapshot::unpack(7 | 1 << 8), None);
        assert_eq!(Snapshot::unpack(u64::MAX), None);
    }

    #[test]
    fn a_slot_retires_before_its_generation_wraps() {
        let last = Snapshot { state: State::Draining, generation: GENERATION_MAX, client: 0 };
        let retired = next(last, Event::Reclaim).unwrap();
        assert_eq!(retired.state, State::Retired);
        assert_eq!(next(retired, Event::Grant { client: 1 }), None);
    }

    #[test]
    fn a_slot_reference_is_never_zero() {
        let reference = SlotRef { arena: 255, slot: u32::MAX, generation: GENERATION_MAX };
        assert_eq!(SlotRef::unpack(reference.pack()), Some(reference));
        assert_eq!(SlotRef::unpack(0), None);
        assert_eq!(SlotRef::unpack(u64::from(u32::MAX)), None);
    }

    #[test]
    fn a_line_reads_back_what_was_published() {
        let words = crate::sync::zeroed_words(LINE_WORDS);
        let line = Line::new(&words);
        let meta = PieceMeta {
            id: PieceId { key: BlockKey::from_bytes([3; 32]), rank: 4, group: 5 },
            len_bytes: 1 << 33,
            checksum: 0xdead_beef,
            depth: 17,
        };
        line.step(Event::Grant { client: 9 }).unwrap();
        assert_eq!(line.read(), None);
        line.describe(&meta);
        line.step(Event::Publish).unwrap();
        assert_eq!(line.read(), Some((1, meta)));
        assert_eq!(line.ready_with(&meta.id), Some(1));
        assert_eq!(line.ready_with(&PieceId { rank: 0, ..meta.id }), None);
        assert_eq!(line.step(Event::Grant { client: 1 }), Err(Refused(line.snapshot())));
    }
}
