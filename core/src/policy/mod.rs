//! Eviction policies: which resident block leaves next.
//!
//! A policy knows handles, fingerprints and an order, nothing else: no keys, no bytes, no clock. The catalog owns the
//! truth about what is resident and what may leave; the live node and the dry run drive the same trait, so a hit ratio
//! found offline is the one that a node gives.
//!
//! # The tree, and why tails go first
//!
//! Blocks form a prefix tree. A block is of use only while all blocks above it are resident, so a parent must not
//! leave before its child. Every policy here is *tail first*: within one request the deeper block is the older one. A
//! touch walks the matched prefix from its tail to its root, and an arriving child takes the place right beside its
//! parent on the older side. So the oldest block of a list is a leaf nearly always, and the caller's leaf rule
//! (refuse a block that has a resident child) costs nothing.
//!
//! # How to drive a policy
//!
//! 1. A request came: [`Policy::touch`] with the prefix that it found resident (also when that is empty). Drain
//!    touches before the commits that follow them: a child is as young as its parent.
//! 2. Its new blocks arrive root first, in one go or one by one, mixed with those of other requests:
//!    [`Policy::insert`] each. One whose parent has left meanwhile is of no use: do not keep it.
//! 3. While [`Policy::excess`] is not zero: [`Policy::victim`], drop the block, [`Policy::remove`] it as
//!    [`Removal::Evicted`].
//!
//! So `len` passes `capacity` for a moment; set the capacity to the slots minus the headroom (granted and free ones)
//! that lets puts go on without waiting for an eviction. A caller that keeps a reserve free *before* it inserts may call
//! `victim` at any length; it hits as a cache of that length does. *Pinned by bench/src/cache.rs.*
//!
//! ```
//! use cascade_core::policy::{Arrival, BlockId, Policy, Removal, Request, by_name};
//!
//! let mut policy = by_name("lru", 2).expect("lru is one of NAMES");
//! let mut parent = None;
//! for (slot, fingerprint) in [(0, 0xa11ce), (1, 0xb0b), (2, 0xca51)] {
//!     policy.insert(Arrival { block: BlockId(slot), fingerprint, parent });
//!     parent = Some(BlockId(slot));
//! }
//! policy.touch(&Request { number: 1, matched: &[BlockId(0)], missing: &[], blocks: 1 });
//! assert_eq!(policy.excess(), 1);
//! let tail = policy.victim(&mut |_| true);
//! assert_eq!(tail, Some(BlockId(2)));
//! policy.remove(BlockId(2), Removal::Evicted);
//! ```
//!
//! # Request-level policies
//!
//! [`Cascade`] learns how sessions return, and needs no other trait: touched blocks tell it the segments of a chain, a parent
//! where a new block belongs, a fingerprint at [`Policy::insert`] which ghosts came back. It counts blocks, so it reads neither
//! [`Request::number`] nor the keys beyond the match, which a node does not know. Declining a request's own
//! deepest blocks needs no verb either: eviction follows insertion, so they are simply the next victims.
//!
//! # The order, told ahead
//!
//! [`Policy::coldest`] tells what is about to leave and [`Policy::hottest`] what is most worth keeping, without any effect. Tails
//! come before their parents in the one and after them in the other, so what is copied to a lower tier in the order of
//! either is of use as far as it got: children are there before their parents leave, or parents before their children.
//! Both are taken down now and worked off over a while; a caller skips what has left or changed since.
//!
//! # What holds for every policy
//!
//! - Deterministic: the same calls give the same victims, on every machine. No randomness; floats only in ARC's
//!   target and Cascade's estimates, added, multiplied and divided in a fixed order, which IEEE 754 fixes.
//! - O(1) amortised; memory grows with the highest handle and the ghosts, about 24 bytes a block and 50 a ghost; at most 64
//!   bytes a block for Cascade, ghosts included.
//! - A victim is resident and was accepted by the caller. *Pinned by core/tests/policy_invariants.rs.*
//!
//! Who may touch what: the node's pump owns its policy and calls it from one thread; clients never see it.

mod arc;
mod cascade;
mod ghost;
mod list;
mod lru;
mod resident;
mod s3fifo;
mod sketch;
#[cfg(test)]
mod testing;
mod wtinylfu;

use alloc::boxed::Box;
use alloc::vec::Vec;

pub use arc::Arc;
pub use cascade::Cascade;
pub use lru::Lru;
pub use s3fifo::S3Fifo;
pub use wtinylfu::WTinyLfu;

/// Dense handle that the catalog gives a resident block. Reused after the block left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId(pub u32);

/// 64 bits of a block's key. Names a block that is gone; two keys that share one only blur a policy's memory.
pub type Fingerprint = u64;

/// One request, as the catalog saw it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Clock: how many requests came before it.
    pub number: u64,
    /// The longest resident prefix of its chain, root first.
    pub matched: &'a [BlockId],
    /// The fingerprints that follow the match, root first, as many as the caller knows: none is allowed.
    pub missing: &'a [Fingerprint],
    /// Blocks of the whole chain, matched or not; the matched ones where no more is known.
    pub blocks: u32,
}

/// A block that became resident.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Its handle; not resident until now.
    pub block: BlockId,
    /// Its key's fingerprint.
    pub fingerprint: Fingerprint,
    /// The block before it in its chain, where that one is resident.
    pub parent: Option<BlockId>,
}

/// Why a block leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// For want of room: the policy may remember it as a ghost.
    Evicted,
    /// Forgotten, damaged or moved: nothing to learn from.
    Dropped,
}

/// How many blocks one [`Policy::victim`] may offer in vain.
pub const REFUSALS_MAX: usize = 128;

/// Orders resident blocks for eviction. See the [module](self) for how to drive one.
#[doc(alias = "evictor")]
#[doc(alias = "replacement")]
pub trait Policy: Send {
    /// The name that configuration and reports use: one of [`NAMES`].
    fn name(&self) -> &'static str;

    /// Resident blocks.
    fn len(&self) -> usize;

    /// Resident blocks to aim at.
    fn capacity(&self) -> usize;

    /// Changes the capacity. Shares and ghosts follow at once; the caller evicts the [`excess`](Policy::excess).
    fn set_capacity(&mut self, blocks: usize);

    /// Whether `block` is resident.
    fn contains(&self, block: BlockId) -> bool;

    /// A request found `matched` resident. Blocks that left since are ignored: touches come through a lossy ring.
    #[doc(alias = "access")]
    fn touch(&mut self, request: &Request<'_>);

    /// A block became resident. Its place is beside its parent where they share a list.
    ///
    /// # Panics
    /// When the block is resident already.
    #[doc(alias = "admit")]
    fn insert(&mut self, arrival: Arrival);

    /// The block to evict next, among those that `evictable` accepts. It stays resident until [`remove`](Policy::remove).
    ///
    /// A refused block counts as in use and goes behind the others, so at most [`REFUSALS_MAX`] are asked about in one call
    /// and the next call looks further. `None`: nothing acceptable was met this time.
    fn victim(&mut self, evictable: &mut dyn FnMut(BlockId) -> bool) -> Option<BlockId>;

    /// Replaces `out` by the blocks that would leave first if nothing more happened, in that order: `limit` of them, or
    /// all. Each is listed once.
    ///
    /// Only the policy's own order is told. What a caller would refuse is the caller's to know, and changes what follows where
    /// a refused block goes behind others: exact for LRU all the same, nearly so for Cascade, which knows the tree, and for the
    /// others as long as nothing is refused. O(limit), and O(limit log limit) for Cascade: some 0.3 µs a block among a million.
    /// Ask for some thousands and work them off.
    ///
    /// *Agreement with the victims: pinned by core/tests/policy_order.rs.*
    #[doc(alias = "peek")]
    fn coldest(&self, limit: usize, out: &mut Vec<BlockId>);

    /// Replaces `out` by the blocks most worth keeping, best first: `limit` of them, or all. Each is listed once.
    ///
    /// What is to be saved first when time is short. The other end of the order; but where a policy tries new blocks out for
    /// a while (window, small queue, `recent`), those that were asked for again come before those on trial.
    fn hottest(&self, limit: usize, out: &mut Vec<BlockId>);

    /// A block left. Ignored when it is not resident.
    fn remove(&mut self, block: BlockId, removal: Removal);

    /// Whether no block is resident.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Blocks to evict until `len` is within `capacity`.
    fn excess(&self) -> usize {
        self.len().saturating_sub(self.capacity())
    }
}

/// The names that [`by_name`] knows.
pub const NAMES: [&str; 5] = ["lru", "arc", "s3fifo", "wtinylfu", "cascade"];

/// An empty policy by its name, or `None` for a name outside of [`NAMES`].
///
/// # Panics
/// When `capacity_blocks` is zero or beyond `u32::MAX - 1`, the number of handles.
pub fn by_name(name: &str, capacity_blocks: usize) -> Option<Box<dyn Policy>> {
    Some(match name {
        "lru" => Box::new(Lru::new(capacity_blocks)),
        "arc" => Box::new(Arc::new(capacity_blocks)),
        "s3fifo" => Box::new(S3Fifo::new(capacity_blocks)),
        "wtinylfu" => Box::new(WTinyLfu::new(capacity_blocks)),
        "cascade" => Box::new(Cascade::new(capacity_blocks)),
        _ => return None,
    })
}

/// Puts an order of blocks in place of what `out` held.
fn refill(out: &mut Vec<BlockId>, order: impl Iterator<Item = BlockId>) {
    out.clear();
    out.extend(order);
}

/// Asserts what every policy asks of its capacity, and returns it.
fn checked_capacity(blocks: usize) -> usize {
    assert!(blocks > 0, "a policy of no blocks has no victim to give");
    assert!(blocks < u32::MAX as usize, "block handles are 32 bits");
    blocks
}
