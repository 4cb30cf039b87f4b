//! Where the copies of one piece lie: in a slot of memory, in a lower tier, and on the way between the two.
//!
//! Invariants: a copy that is being read to make another does not leave; what a lower tier has, or is getting, is not
//! written to one again; a piece whose last copy leaves is [`Residency::Absent`] and goes out of the books.
//! Pinned by `core/tests/residency.rs` and `core/tests/snapshots/residency_transitions.snap`.
//!
//! ```text
//!                  in memory
//!   Absent ──publish──▶ Memory ──demote──▶ Demoting
//!    │  ▲ ◀───evict─────┘ │  ▲ ◀─not demoted─┘  │
//!  found withdraw     found withdraw         demoted
//!    ▼  │                 ▼  │                  │
//!   Below ──publish──▶  Both ◀──────────────────┘
//!    │  ▲ ◀───evict─────┘  ▲
//! promote not promoted     │
//!    ▼  │                  │
//!   Promoting ──publish────┘
//! ```
//!
//! One slot and one number below. A piece in several lower tiers has one number all the same: the node's book of stored
//! copies says behind it which tiers have it, with each tier's own extent, and the length and the checksum of that copy, which
//! may be another client's than the one in memory. The target of a promotion is its transfer's until it is published.

use crate::slot::SlotRef;
use core::mem::size_of;

/// A copy in lower tiers, by its number in the node's book of stored copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoredId(pub u32);

/// Where the copies of a piece lie.
#[doc(alias = "replica list")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Residency {
    /// Nowhere.
    #[default]
    Absent,
    /// In memory only.
    Memory {
        /// The slot.
        slot: SlotRef,
    },
    /// In memory, and being copied to a lower tier.
    Demoting {
        /// The slot.
        slot: SlotRef,
    },
    /// In memory and in a lower tier.
    Both {
        /// The slot.
        slot: SlotRef,
        /// The lower copy.
        stored: StoredId,
    },
    /// In a lower tier only.
    Below {
        /// The lower copy.
        stored: StoredId,
    },
    /// In a lower tier, and being copied to memory.
    Promoting {
        /// The lower copy.
        stored: StoredId,
    },
}

// Ten million pieces are 200 MB of this.
const _: () = assert!(size_of::<Residency>() == 20);

/// What may happen to the copies of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A slot holds it for all to read: a client's commit, or the end of a promotion.
    Publish {
        /// The slot.
        slot: SlotRef,
    },
    /// The copy in memory leaves.
    Evict,
    /// A copy to a lower tier begins.
    #[doc(alias = "offload")]
    Demote,
    /// The lower tier has it.
    Demoted {
        /// The lower copy.
        stored: StoredId,
    },
    /// The copy to the lower tier came to nothing.
    NotDemoted,
    /// A lower tier turns out to have it from before.
    Found {
        /// The lower copy.
        stored: StoredId,
    },
    /// A copy to memory begins.
    #[doc(alias = "onboard")]
    Promote,
    /// The copy to memory came to nothing.
    NotPromoted,
    /// The lower copy is gone: collected, purged, or not what it should be.
    Withdraw,
}

impl Residency {
    /// The slot that holds it.
    pub const fn slot(self) -> Option<SlotRef> {
        match self {
            Self::Memory { slot } | Self::Demoting { slot } | Self::Both { slot, .. } => Some(slot),
            Self::Absent | Self::Below { .. } | Self::Promoting { .. } => None,
        }
    }

    /// The copy in lower tiers.
    pub const fn stored(self) -> Option<StoredId> {
        match self {
            Self::Both { stored, .. } | Self::Below { stored } | Self::Promoting { stored } => Some(stored),
            Self::Absent | Self::Memory { .. } | Self::Demoting { .. } => None,
        }
    }
}

/// What becomes of a residency, or `None` where the event has no place: a commit of what is in memory (the first one
/// stays), an eviction of what is being demoted, a demotion of what is below already, a promotion that a commit overtook.
pub const fn next(found: Residency, event: Event) -> Option<Residency> {
    use Residency::{Absent, Below, Both, Demoting, Memory, Promoting};
    Some(match (found, event) {
        (Absent, Event::Publish { slot }) => Memory { slot },
        (Below { stored } | Promoting { stored }, Event::Publish { slot }) => Both { slot, stored },
        (Memory { .. }, Event::Evict) => Absent,
        (Both { stored, .. }, Event::Evict) => Below { stored },
        (Memory { slot }, Event::Demote) => Demoting { slot },
        (Demoting { slot }, Event::Demoted { stored }) => Both { slot, stored },
        (Demoting { slot }, Event::NotDemoted) => Memory { slot },
        (Absent, Event::Found { stored }) => Below { stored },
        (Memory { slot }, Event::Found { stored }) => Both { slot, stored },
        (Below { stored }, Event::Promote) => Promoting { stored },
        (Promoting { stored }, Event::NotPromoted) => Below { stored },
        (Both { slot, .. }, Event::Withdraw) => Memory { slot },
        (Below { .. }, Event::Withdraw) => Absent,
        _ => return None,
    })
}
