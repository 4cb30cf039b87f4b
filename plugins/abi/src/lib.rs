//! The C ABI between a Cascade node and its tiers, with safe wrappers for both sides.
//!
//! A tier is a shared library with one exported function, `cascade_tier_<name>`, that returns a table of functions. The
//! host submits batches of [`Operation`]s and polls [`Completion`]s; memory is named by [`MemoryRange`], never by pointer.
//! No callback, future, `Vec` or `String` crosses, and no panic does.
//!
//! * A plugin implements [`Tier`] and says [`export_tier!`].
//! * A host loads a [`Library`] and works with an [`OpenTier`].
//! * What crosses, to the byte, is in [`vtable`]; [`later_tiers`] shows how tiers that are still to come use it.
//!
//! Absent on purpose: policies (the host's), threads (a tier starts its own, or none), and any way to call back.

#[cfg(not(target_os = "linux"))]
compile_error!("Cascade runs on Linux only");

pub mod capability;
mod clock;
mod elf;
mod error;
mod library;
pub mod memory;
mod news;
mod open_tier;
mod operation;
mod raw_operation;
mod shim;
mod status;
mod tier;
pub mod vtable;

#[doc = include_str!("../docs/later_tiers.md")]
pub mod later_tiers {}

pub use capability::Capabilities;
pub use clock::monotonic_ns;
pub use error::{LoadError, TierError};
pub use library::Library;
pub use memory::Memory;
pub use news::{News, NewsKind, Record};
pub use open_tier::OpenTier;
pub use operation::{
    Action, Completion, Extent, MemoryId, MemoryRange, NO_DEADLINE, Operation, PieceId, Place,
};
pub use status::Status;
pub use tier::{CloseMode, Tier};
pub use vtable::{ABI_VERSION, Entry};
