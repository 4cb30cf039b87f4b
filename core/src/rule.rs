//! What a match requires of a chain, and the longest part of the chain that fulfils it.
//!
//! Not every KV group needs every block: full attention does, a sliding window needs the last few, a recurrent layer the
//! state after the last one. In each case a part of the chain is usable if a number of blocks up to its end are there,
//! all of them or fewer; so one walk serves all rules, and mixes of them (hybrid models).
//!
//! [`Walk`] acts on nothing: it names the piece to look for next and is told when that is missing. Invariants: its
//! length is the one that trying every length would find; no piece is looked for twice. Pinned by `core/tests/rule.rs`.
//!
//! ```
//! use cascade_core::rule::{Rule, Share, Walk};
//!
//! // Ten blocks with full attention and a window of three; of the windowed group, block 8 is missing.
//! let shares = [Share::new(0, 0), Share::new(0, 1).under(Rule::Window { blocks: 3 })];
//! let is_there = |block: usize, share: usize| (block, share) != (8, 1);
//! let mut walk = Walk::new(10, &shares);
//! while let Some(probe) = walk.next() {
//!     if !is_there(probe.block, probe.share) {
//!         walk.missing(probe);
//!     }
//! }
//! assert_eq!(walk.length(), 8, "whatever comes before block 5 of the window, nobody reads it");
//! ```

use crate::key::BlockKey;
use crate::piece::PieceId;

/// Which blocks of a KV group must be there for the part of a chain that ends at a boundary to be usable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// All of them: full attention.
    #[default]
    #[doc(alias = "full attention")]
    Prefix,
    /// The last few before the boundary, fewer where the chain begins: sliding-window and chunked attention.
    #[doc(alias = "sliding window")]
    Window {
        /// How many; none counts as one, since the block at the boundary is always required.
        blocks: u32,
    },
    /// The last one, whose piece is the state after it: recurrent layers.
    #[doc(alias = "mamba")]
    LastState,
}

impl Rule {
    /// How many blocks back from the boundary must be there, as far as the chain has so many. At least one.
    pub const fn reach_blocks(self) -> usize {
        match self {
            Rule::Prefix => usize::MAX,
            Rule::Window { blocks: 0 } | Rule::LastState => 1,
            Rule::Window { blocks } => blocks as usize,
        }
    }
}

/// One rank's, one KV group's share of every block, and the rule by which a match requires it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share {
    /// Tensor-parallel rank.
    pub rank: u16,
    /// KV group.
    pub group: u16,
    /// Which blocks of it are required.
    pub rule: Rule,
}

impl Share {
    /// All blocks of a rank and group: [`Rule::Prefix`].
    pub const fn new(rank: u16, group: u16) -> Self {
        Self { rank, group, rule: Rule::Prefix }
    }

    /// The same share under another rule.
    pub const fn under(self, rule: Rule) -> Self {
        Self { rule, ..self }
    }

    /// The share as a word of the chain area. Of its rule only the reach is kept: a window of one block stands for the last
    /// state.
    pub const fn to_word(self) -> u64 {
        let reach = match self.rule {
            Rule::Prefix => 0,
            rule => rule.reach_blocks() as u64,
        };
        self.rank as u64 | (self.group as u64) << 16 | reach << 32
    }

    /// The share in a word; every word is one.
    pub const fn from_word(word: u64) -> Self {
        let rule = match (word >> 32) as u32 {
            0 => Rule::Prefix,
            blocks => Rule::Window { blocks },
        };
        Self { rank: word as u16, group: (word >> 16) as u16, rule }
    }

    /// Its piece of a block.
    pub const fn piece(&self, key: BlockKey) -> PieceId {
        PieceId { key, rank: self.rank, group: self.group }
    }
}

/// A piece that a [`Walk`] asks about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// Which block of the chain, the first being 0.
    pub block: usize,
    /// Which of the shares.
    pub share: usize,
}

/// The search for the longest usable part of a chain.
///
/// It yields the pieces to look for, under the assumption that those before are there; who finds one missing says so, and
/// the walk goes on from there. So a caller may draw some ahead of looking, to fetch memory early, and forgets what it drew
/// beyond a missing one.
///
/// First it goes forwards over the shares that need every block, up to the first that is missing; then backwards from there
/// over the others, until each has what it needs. A piece that is missing in a window rules out every length
/// whose window has it, so the search for a full one goes on before it: each piece is looked for once at most.
///
/// The shares are borrowed, or its own where a walk outlasts a call.
#[derive(Clone, Debug)]
#[must_use]
pub struct Walk<S> {
    shares: S,
    /// The longest length that nothing speaks against so far.
    length: usize,
    /// Blocks back from the end that the way backwards goes.
    reach: usize,
    leg: Leg,
    /// Blocks that this leg has behind it.
    step: usize,
    /// The share to ask about next.
    share: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leg {
    /// Forwards from the first block, over the shares that need every block.
    Prefixes,
    /// Backwards from the end, over the other shares.
    Windows,
    /// Backwards from the end, over all shares.
    All,
}

impl<S: AsRef<[Share]>> Walk<S> {
    /// A search in a chain of so many blocks. Without shares nothing is usable.
    pub fn new(blocks: usize, shares: S) -> Self {
        Self::start(blocks, shares, Leg::Prefixes)
    }

    /// The same search from the end, for who has claimed the last block. No block is evicted before its children, so one that
    /// is seen after its child was seen stays as long as that does; one that is seen before may go until the child comes.
    pub fn backwards(blocks: usize, shares: S) -> Self {
        Self::start(blocks, shares, Leg::All)
    }

    fn start(blocks: usize, shares: S, leg: Leg) -> Self {
        let all = shares.as_ref();
        let length = if all.is_empty() { 0 } else { blocks };
        let back = all.iter().filter(|share| leg == Leg::All || share.rule != Rule::Prefix);
        let reach = back.map(|share| share.rule.reach_blocks()).max().unwrap_or(0);
        Self { shares, length, reach, leg, step: 0, share: 0 }
    }

    /// What was asked about is not there.
    pub fn missing(&mut self, probe: Probe) {
        let leg = if self.leg == Leg::All { Leg::All } else { Leg::Windows };
        (self.length, self.leg, self.step, self.share) = (probe.block, leg, 0, 0);
    }

    /// The longest usable length, in blocks, once there is nothing more to ask.
    pub fn length(&self) -> usize {
        self.length
    }

    /// The shares that it goes by.
    pub fn shares(&self) -> &[Share] {
        self.shares.as_ref()
    }

    /// Gives the shares back, for the next walk.
    pub fn into_shares(self) -> S {
        self.shares
    }

    /// Whether the block that the walk stands at is required of a share on this leg.
    fn requires(&self, share: usize) -> bool {
        match (self.leg, self.shares.as_ref()[share].rule) {
            (Leg::Prefixes, rule) => rule == Rule::Prefix,
            (Leg::Windows, Rule::Prefix) => false,
            (Leg::Windows | Leg::All, rule) => self.step < rule.reach_blocks(),
        }
    }
}

impl<S: AsRef<[Share]>> Iterator for Walk<S> {
    type Item = Probe;

    #[inline]
    fn next(&mut self) -> Option<Probe> {
        loop {
            let (steps, block) = match self.leg {
                Leg::Prefixes => (self.length, self.step),
                Leg::Windows | Leg::All => {
                    (self.reach.min(self.length), self.length.wrapping_sub(self.step + 1))
                }
            };
            if self.step == steps {
                if self.leg != Leg::Prefixes {
                    return None;
                }
                (self.leg, self.step) = (Leg::Windows, 0);
            } else if self.share == self.shares.as_ref().len() {
                (self.step, self.share) = (self.step + 1, 0);
            } else {
                let share = self.share;
                self.share += 1;
                if self.requires(share) {
                    return Some(Probe { block, share });
                }
            }
        }
    }
}
