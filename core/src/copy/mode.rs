//! What one pass over the bytes does besides reading them once.
//!
//! A kernel is written once, generic over its mode; the constants vanish when it is compiled.

/// Where the bytes of a pass go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stores {
    /// Nowhere: the pass only reads, and leaves the target pointer alone.
    Nowhere,
    /// Into the caches, by ordinary stores.
    Cached,
    /// Past the caches, in whole lines where the target has them. Weakly ordered: a fence must follow.
    Streaming,
}

/// The job of a pass.
pub(super) trait Mode {
    /// Where the bytes go.
    const STORES: Stores;
    /// Whether the checksum register is advanced; otherwise it comes back as it went in.
    const CHECKS: bool;
}

/// Copy and checksum; the target is soon read.
pub(super) struct Cached;
/// Copy and checksum; the target is too large to stay in a cache.
pub(super) struct Streaming;
/// Checksum where the bytes lie.
pub(super) struct InPlace;
/// Streaming copy alone, the yardstick.
pub(super) struct Plain;

impl Mode for Cached {
    const STORES: Stores = Stores::Cached;
    const CHECKS: bool = true;
}

impl Mode for Streaming {
    const STORES: Stores = Stores::Streaming;
    const CHECKS: bool = true;
}

impl Mode for InPlace {
    const STORES: Stores = Stores::Nowhere;
    const CHECKS: bool = true;
}

impl Mode for Plain {
    const STORES: Stores = Stores::Streaming;
    const CHECKS: bool = false;
}
