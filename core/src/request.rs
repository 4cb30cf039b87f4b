//! What a client asks of the node through its ring, and how the node answers.
//!
//! A request is sixteen words, drawn in `core/docs/layout.md`. Decoding trusts nothing: words that are no request are
//! an error, and the node fences the client that sent them. A request that wants an answer carries a [`Ticket`], which
//! names the completion entry in the client's own page that it occupies until answered, so the node never waits for a
//! client.

use crate::chain::{CHAIN_BLOCKS_MAX, CHAIN_PIECES_MAX, Located};
use crate::key::BlockKey;
use crate::page::{CHAIN_KEYS, CHAIN_SHARES};
use crate::piece::{PieceId, PieceMeta};
use crate::slot::SlotRef;
use crate::sync::{AtomicU64, Ordering};

/// Words of a request.
pub const REQUEST_WORDS: usize = 16;
/// Words of a completion entry: one cache line.
pub const COMPLETION_WORDS: usize = 8;

/// Names one use of one completion entry; never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(u64);

impl Ticket {
    /// The `sequence`-th use of entry `index`. `sequence` counts from 1.
    pub const fn new(sequence: u64, index: u16) -> Self {
        Self(sequence << 16 | index as u64)
    }

    /// The completion entry.
    pub const fn index(self) -> u16 {
        self.0 as u16
    }

    const fn from_word(word: u64) -> Option<Self> {
        if word >> 16 == 0 { None } else { Some(Self(word)) }
    }
}

/// What a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Publish the slot that I filled.
    #[doc(alias = "PutEnd")]
    Commit {
        /// The filled slot, granted to this client.
        slot: SlotRef,
        /// What it holds.
        meta: PieceMeta,
        /// The block before this one in its chain; [`BlockKey::ROOT`] for the first.
        parent: BlockKey,
        /// Where the verdict goes, if somebody waits for it.
        ticket: Option<Ticket>,
    },
    /// Grant slots of this size, evicting if need be.
    #[doc(alias = "PutStart")]
    Reserve {
        /// Bytes that must fit.
        len_bytes: u64,
        /// The node gives up at this time, in nanoseconds of CLOCK_MONOTONIC.
        deadline_ns: u64,
        /// Where the answer goes.
        ticket: Ticket,
    },
    /// Take back a slot that I will not fill after all.
    Abort {
        /// The slot, granted to this client.
        slot: SlotRef,
    },
    /// The bytes of this Ready slot do not match their checksum; look for yourself.
    Suspect {
        /// The slot.
        slot: SlotRef,
    },
    /// The piece in this Ready slot is of no use to anybody: drop it.
    Discard {
        /// The slot.
        slot: SlotRef,
    },
    /// Nobody waits for this answer any more, nor needs what the node keeps for it.
    Cancel {
        /// The ticket of the request.
        ticket: Ticket,
    },
    /// Answer when everything before this is done.
    Flush {
        /// Where the answer goes.
        ticket: Ticket,
    },
    /// Take up this many keys of my chain area: the next of the chain that I am going to ask about.
    Keys {
        /// Where in the chain the first of them belongs: as many as were taken up before, or 0 to begin anew.
        first: u32,
        /// How many, at least one.
        count: u32,
    },
    /// How much of the chain that was taken up is usable, wherever it lies? Answered without waiting for any tier.
    #[doc(alias = "lookup")]
    Locate(Question),
    /// Bring what is usable of the chain that was taken up into memory, and keep it there until I cancel.
    #[doc(alias = "prefetch")]
    #[doc(alias = "onboard")]
    Promote(Question),
}

/// A question about the chain that was taken up; it ends the taking up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// Blocks of the chain. If that is not what was taken up (a node died in between), nothing of it is usable.
    pub blocks: u32,
    /// Shares in the chain area, at least one.
    pub shares: u32,
    /// When it comes too late, in nanoseconds of CLOCK_MONOTONIC.
    pub deadline_ns: u64,
    /// Where the answer goes.
    pub ticket: Ticket,
}

impl Question {
    fn is_sound(&self) -> bool {
        let (blocks, shares) = (self.blocks as usize, self.shares as usize);
        blocks <= CHAIN_BLOCKS_MAX
            && (1..=CHAIN_SHARES).contains(&shares)
            && blocks * shares <= CHAIN_PIECES_MAX
    }
}

/// Words that are no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The code found.
    pub code: u64,
}

impl Request {
    /// The words of the request.
    pub fn encode(&self) -> [u64; REQUEST_WORDS] {
        let mut words = [0; REQUEST_WORDS];
        let ticket_word = |ticket: &Option<Ticket>| ticket.map_or(0, |t| t.0);
        match self {
            Request::Commit { slot, meta, parent, ticket } => {
                words[0] = 1 | u64::from(meta.id.rank) << 16 | u64::from(meta.id.group) << 32;
                words[1] = ticket_word(ticket);
                words[2] = slot.pack();
                words[3] = meta.len_bytes;
                words[4] = u64::from(meta.checksum) | u64::from(meta.depth) << 32;
                words[8..12].copy_from_slice(&meta.id.key.to_words());
                words[12..16].copy_from_slice(&parent.to_words());
            }
            Request::Reserve { len_bytes, deadline_ns, ticket } => {
                words[0] = 2;
                words[1] = ticket.0;
                words[2] = *deadline_ns;
                words[3] = *len_bytes;
            }
            Request::Abort { slot } => (words[0], words[2]) = (3, slot.pack()),
            Request::Suspect { slot } => (words[0], words[2]) = (4, slot.pack()),
            Request::Cancel { ticket } => (words[0], words[1]) = (5, ticket.0),
            Request::Flush { ticket } => (words[0], words[1]) = (6, ticket.0),
            Request::Discard { slot } => (words[0], words[2]) = (7, slot.pack()),
            Request::Keys { first, count } => {
                (words[0], words[3]) = (8, u64::from(*first) | u64::from(*count) << 32);
            }
            Request::Locate(question) | Request::Promote(question) => {
                words[0] = if matches!(self, Request::Locate(_)) { 9 } else { 10 };
                words[1] = question.ticket.0;
                words[2] = question.deadline_ns;
                words[3] = u64::from(question.blocks) | u64::from(question.shares) << 32;
            }
        }
        words
    }

    /// The request in these words.
    pub fn decode(words: &[u64; REQUEST_WORDS]) -> Result<Self, Malformed> {
        let malformed = Malformed { code: words[0] };
        let ticket = Ticket::from_word(words[1]);
        let slot = SlotRef::unpack(words[2]).ok_or(malformed);
        let key = |at: usize| BlockKey::from_words([words[at], words[at + 1], words[at + 2], words[at + 3]]);
        let (code, lane) = (words[0] & 0xffff, words[0] >> 16);
        if lane != 0 && code != 1 || lane >> 32 != 0 {
            return Err(malformed);
        }
        Ok(match code {
            1 => Request::Commit {
                slot: slot?,
                meta: PieceMeta {
                    id: PieceId { key: key(8), rank: lane as u16, group: (lane >> 16) as u16 },
                    len_bytes: words[3],
                    checksum: words[4] as u32,
                    depth: (words[4] >> 32) as u32,
                },
                parent: key(12),
                ticket,
            },
            2 => Request::Reserve {
                len_bytes: words[3],
                deadline_ns: words[2],
                ticket: ticket.ok_or(malformed)?,
            },
            3 => Request::Abort { slot: slot? },
            4 => Request::Suspect { slot: slot? },
            5 => Request::Cancel { ticket: ticket.ok_or(malformed)? },
            6 => Request::Flush { ticket: ticket.ok_or(malformed)? },
            7 => Request::Discard { slot: slot? },
            8 => {
                let (first, count) = (words[3] as u32, (words[3] >> 32) as u32);
                let is_sound = (1..=CHAIN_KEYS).contains(&(count as usize))
                    && first as usize + count as usize <= CHAIN_BLOCKS_MAX;
                is_sound.then_some(Request::Keys { first, count }).ok_or(malformed)?
            }
            9 | 10 => {
                let question = Question {
                    blocks: words[3] as u32,
                    shares: (words[3] >> 32) as u32,
                    deadline_ns: words[2],
                    ticket: ticket.ok_or(malformed)?,
                };
                let kind = if code == 9 { Request::Locate } else { Request::Promote };
                question.is_sound().then(|| kind(question)).ok_or(malformed)?
            }
            _ => return Err(malformed),
        })
    }
}

/// How the node answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Verdict {
    /// The piece is published.
    Fresh = 1,
    /// The key was there before; the first one stays (other bytes under the same key are normal with bf16 batches).
    AlreadyPresent = 2,
    /// There is no room: everything is pinned, or the segment is still growing.
    NoRoom = 3,
    /// Longer than the largest slot.
    TooLarge = 4,
    /// The slot was not granted to this client, or its length does not fit it.
    NotYours = 5,
    /// Slots were granted: look into the lane.
    Granted = 6,
    /// Given up at its deadline.
    Expired = 7,
    /// Everything before it is done.
    Flushed = 8,
    /// How much of the chain is usable stands in the answer.
    Located = 9,
    /// What could be brought of the chain is in memory and kept there.
    Promoted = 10,
    /// Not brought: it would come too late, or the node has too much to bring. What was in memory is kept.
    Declined = 11,
    /// Not brought: the tier that has it is given up for now. What was in memory is kept.
    Fenced = 12,
}

impl Verdict {
    const ALL: [Verdict; 12] = [
        Verdict::Fresh,
        Verdict::AlreadyPresent,
        Verdict::NoRoom,
        Verdict::TooLarge,
        Verdict::NotYours,
        Verdict::Granted,
        Verdict::Expired,
        Verdict::Flushed,
        Verdict::Located,
        Verdict::Promoted,
        Verdict::Declined,
        Verdict::Fenced,
    ];
}

/// The completion entry that a ticket names.
#[derive(Clone, Copy, Debug)]
pub struct Completion<'m> {
    words: &'m [AtomicU64],
}

impl<'m> Completion<'m> {
    /// Views an entry.
    ///
    /// # Panics
    /// If there are not exactly [`COMPLETION_WORDS`] words.
    pub fn new(words: &'m [AtomicU64]) -> Self {
        assert!(words.len() == COMPLETION_WORDS);
        Self { words }
    }

    /// Answers. Only the node calls this, once a ticket.
    pub fn answer(&self, ticket: Ticket, verdict: Verdict) {
        self.answer_with(ticket, verdict, Located::default());
    }

    /// [`Completion::answer`] to a question about a chain.
    pub fn answer_with(&self, ticket: Ticket, verdict: Verdict, located: Located) {
        let values = [verdict as u64, located.blocks as u64, located.memory_blocks as u64, located.tiers];
        for (word, value) in self.words[1..].iter().zip(values) {
            word.store(value, Ordering::Relaxed);
        }
        // Release: pairs with the Acquire in `poll`.
        self.words[0].store(ticket.0, Ordering::Release);
    }

    /// The answer to `ticket`, if it is there.
    pub fn poll(&self, ticket: Ticket) -> Option<Verdict> {
        // Acquire: pairs with the Release in `answer`.
        if self.words[0].load(Ordering::Acquire) != ticket.0 {
            return None;
        }
        let code = self.words[1].load(Ordering::Relaxed);
        Verdict::ALL.into_iter().find(|verdict| *verdict as u64 == code)
    }

    /// What the answer that was polled says about the chain, if it was about one. The words are claims of the node's: a
    /// chain has no more blocks than were asked about.
    pub fn located(&self) -> Located {
        let value = |at: usize| self.words[at].load(Ordering::Relaxed);
        let blocks = value(2) as usize;
        Located { blocks, memory_blocks: (value(3) as usize).min(blocks), tiers: value(4) }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn requests() -> impl Strategy<Value = Request> {
        let slot = (any::<u8>(), any::<u32>(), 1u32..1 << 24).prop_map(|(arena, slot, generation)| SlotRef {
            arena,
            slot,
            generation,
        });
        let ticket = (1u64..1 << 40, any::<u16>()).prop_map(|(s, i)| Ticket::new(s, i));
        let id = (any::<[u8; 32]>(), any::<u16>(), any::<u16>()).prop_map(|(key, rank, group)| PieceId {
            key: BlockKey::from_bytes(key),
            rank,
            group,
        });
        let meta = (id, any::<u64>(), any::<u32>(), any::<u32>())
            .prop_map(|(id, len_bytes, checksum, depth)| PieceMeta { id, len_bytes, checksum, depth });
        prop_oneof![
            (slot.clone(), meta, any::<[u8; 32]>(), proptest::option::of(ticket.clone())).prop_map(
                |(slot, meta, parent, ticket)| {
                    Request::Commit { slot, meta, parent: BlockKey::from_bytes(parent), ticket }
                }
            ),
            (any::<u64>(), any::<u64>(), ticket.clone()).prop_map(|(len_bytes, deadline_ns, ticket)| {
                Request::Reserve { len_bytes, deadline_ns, ticket }
            }),
            slot.clone().prop_map(|slot| Request::Abort { slot }),
            slot.clone().prop_map(|slot| Request::Suspect { slot }),
            slot.prop_map(|slot| Request::Discard { slot }),
            ticket.clone().prop_map(|ticket| Request::Cancel { ticket }),
            ticket.clone().prop_map(|ticket| Request::Flush { ticket }),
            (0..CHAIN_BLOCKS_MAX - CHAIN_KEYS, 1..=CHAIN_KEYS)
                .prop_map(|(first, count)| Request::Keys { first: first as u32, count: count as u32 }),
            (questions(ticket), any::<bool>()).prop_map(|(question, promotes)| {
                if promotes { Request::Promote(question) } else { Request::Locate(question) }
            }),
        ]
    }

    fn questions(ticket: impl Strategy<Value = Ticket>) -> impl Strategy<Value = Question> {
        (0..=CHAIN_BLOCKS_MAX, 1..=CHAIN_SHARES, any::<u64>(), ticket).prop_map(
            |(blocks, shares, deadline_ns, ticket)| Question {
                blocks: blocks.min(CHAIN_PIECES_MAX / shares) as u32,
                shares: shares as u32,
                deadline_ns,
                ticket,
            },
        )
    }

    #[test]
    fn a_question_beyond_the_bounds_is_refused() {
        let ticket = Ticket::new(1, 0);
        let is_refused = |request: Request| Request::decode(&request.encode()).is_err();
        let question = |blocks: usize, shares: usize| Question {
            blocks: blocks as u32,
            shares: shares as u32,
            deadline_ns: 0,
            ticket,
        };
        for kind in [Request::Locate, Request::Promote] {
            assert!(!is_refused(kind(question(CHAIN_BLOCKS_MAX, 1))));
            assert!(!is_refused(kind(question(CHAIN_PIECES_MAX / CHAIN_SHARES, CHAIN_SHARES))));
            assert!(is_refused(kind(question(CHAIN_BLOCKS_MAX + 1, 1))));
            assert!(is_refused(kind(question(CHAIN_PIECES_MAX / CHAIN_SHARES + 1, CHAIN_SHARES))));
            assert!(is_refused(kind(question(1, CHAIN_SHARES + 1))));
            assert!(is_refused(kind(question(1, 0))));
            assert!(is_refused(kind(question(u32::MAX as usize, u32::MAX as usize))));
        }
        let keys = |first: usize, count: usize| Request::Keys { first: first as u32, count: count as u32 };
        assert!(!is_refused(keys(CHAIN_BLOCKS_MAX - CHAIN_KEYS, CHAIN_KEYS)));
        assert!(is_refused(keys(CHAIN_BLOCKS_MAX - CHAIN_KEYS + 1, CHAIN_KEYS)));
        assert!(is_refused(keys(0, CHAIN_KEYS + 1)));
        assert!(is_refused(keys(0, 0)));
        assert!(is_refused(keys(u32::MAX as usize, 1)));
    }

    #[test]
    fn an_answer_about_a_chain_brings_what_is_usable_of_it() {
        let words = crate::sync::zeroed_words(COMPLETION_WORDS);
        let entry = Completion::new(&words);
        let located = Located { blocks: 7, memory_blocks: 3, tiers: 0b10 };
        entry.answer_with(Ticket::new(1, 0), Verdict::Located, located);
        assert_eq!(entry.poll(Ticket::new(1, 0)), Some(Verdict::Located));
        assert_eq!(entry.located(), located);
        entry.answer(Ticket::new(2, 0), Verdict::Fresh);
        assert_eq!(
            (entry.poll(Ticket::new(2, 0)), entry.located()),
            (Some(Verdict::Fresh), Located::default())
        );
        entry.answer_with(Ticket::new(3, 0), Verdict::Promoted, Located { memory_blocks: 9, ..located });
        assert_eq!(entry.located().memory_blocks, 7, "a word that was overwritten by somebody");
    }

    proptest! {
        #[test]
        fn a_request_survives_the_ring(request in requests()) {
            prop_assert_eq!(Request::decode(&request.encode()), Ok(request));
        }

        #[test]
        fn words_that_are_no_request_are_refused(words in any::<[u64; REQUEST_WORDS]>()) {
            if let Ok(request) = Request::decode(&words) {
                prop_assert_eq!(Request::decode(&request.encode()), Ok(request));
            }
        }
    }
}
