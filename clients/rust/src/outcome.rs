//! What calls answer: hits and misses with their reasons, refusals with theirs.

use cascade_core::key::BlockKey;
use cascade_core::request::Verdict;

/// Where a block stands in its chain: what eviction goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lineage {
    /// The block before; [`BlockKey::ROOT`] for the first.
    pub parent: BlockKey,
    /// Blocks between this one and the root.
    pub depth: u32,
}

impl Lineage {
    /// The first block of a chain, or one that is in none.
    pub const FIRST: Lineage = Lineage { parent: BlockKey::ROOT, depth: 0 };

    /// The place of `keys[index]` in the chain `keys` of the namespace with this root ([`Namespace::root`]): the block of the
    /// root, where [`Client::describe`] puts the namespace's description, is the parent of every first block. Without a
    /// namespace it is [`BlockKey::ROOT`].
    ///
    /// # Panics
    /// If there is no such key.
    ///
    /// [`Namespace::root`]: cascade_core::key::Namespace::root
    /// [`Client::describe`]: crate::Client::describe
    pub fn in_chain(root: BlockKey, keys: &[BlockKey], index: usize) -> Self {
        assert!(index < keys.len());
        let parent = if index == 0 { root } else { keys[index - 1] };
        Self { parent, depth: index as u32 + u32::from(root != BlockKey::ROOT) }
    }
}

/// The answer of a read. After anything but a hit, the bytes of the destination are unspecified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Lookup<T> {
    /// It was there, and verified as far as the call says.
    Hit(T),
    /// It was not, and why.
    Miss(Reason),
}

impl<T> Lookup<T> {
    /// What was found, or `None` after a miss.
    pub fn hit(self) -> Option<T> {
        match self {
            Self::Hit(found) => Some(found),
            Self::Miss(_) => None,
        }
    }

    /// Whether it was there.
    pub fn is_hit(&self) -> bool {
        matches!(self, Self::Hit(_))
    }
}

/// Why a read missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Nowhere; for what only reads memory: not resident, or just being changed.
    Absent,
    /// The bytes did not match their checksum; the node was told and looks for itself.
    Corrupt,
    /// The client has as many bytes or slots pinned, or chains held, as it may; gets still work.
    PinBudget,
    /// It did not come from a lower tier before the deadline.
    Expired,
    /// It would come too late from a lower tier, or the node has too much to bring: it was not tried.
    Declined,
    /// It lies in a lower tier that the node has given up for now.
    Fenced,
    /// Resident, but longer than the destination.
    TooShort {
        /// Bytes that the destination must take.
        len_bytes: u64,
    },
}

/// Why the node did not take a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// Everything is pinned, or the segment is still growing. Later may be better.
    #[error("no room: everything is pinned or the segment is still growing")]
    NoRoom,
    /// Longer than the largest slot.
    #[error("the piece is longer than the largest slot")]
    TooLarge,
    /// The node gave up at the deadline of the request.
    #[error("no slot came free before the deadline")]
    Expired,
    /// The slot was taken back, or the length does not fit it.
    #[error("the slot is not this client's, or its length does not fit")]
    NotYours,
}

/// The answer to a put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Stored {
    /// Copied and on its way; this client reads it from now on, others soon.
    Posted,
    /// It was there before, nothing was copied. The first one stays.
    AlreadyPresent,
    /// Not stored.
    Refused(Refusal),
}

/// The answer to a reserve.
#[derive(Debug)]
#[must_use]
pub enum Reserved {
    /// A slot to fill.
    Fill(crate::Fill),
    /// No slot.
    Refused(Refusal),
}

/// The node's verdict on a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Committed {
    /// Published: every client of the node reads it.
    Fresh,
    /// The key was there before; the first one stays.
    AlreadyPresent,
    /// Not stored.
    Refused(Refusal),
}

impl From<Verdict> for Committed {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Fresh
            | Verdict::Granted
            | Verdict::Flushed
            | Verdict::Located
            | Verdict::Promoted
            | Verdict::Declined
            | Verdict::Fenced => Self::Fresh,
            Verdict::AlreadyPresent => Self::AlreadyPresent,
            Verdict::NoRoom => Self::Refused(Refusal::NoRoom),
            Verdict::TooLarge => Self::Refused(Refusal::TooLarge),
            Verdict::NotYours => Self::Refused(Refusal::NotYours),
            Verdict::Expired => Self::Refused(Refusal::Expired),
        }
    }
}
