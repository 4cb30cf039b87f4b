//! What an open tier can do.

/// Bits of [`Capabilities::operations`].
pub mod operation {
    /// `Action::Allocate`.
    pub const ALLOCATE: u64 = 1;
    /// `Action::Release`.
    pub const RELEASE: u64 = 1 << 1;
    /// `Action::Copy`.
    pub const COPY: u64 = 1 << 2;
    /// `Action::Store`.
    pub const STORE: u64 = 1 << 3;
    /// `Action::Load`.
    pub const LOAD: u64 = 1 << 4;
    /// `Action::Remove`.
    pub const REMOVE: u64 = 1 << 5;
    /// `Action::Sync`.
    pub const SYNC: u64 = 1 << 6;
}

/// Bits of [`Capabilities::features`].
pub mod feature {
    /// Host memory may be registered.
    pub const REGISTER: u64 = 1;
    /// Memory of other tiers may be imported.
    pub const IMPORT: u64 = 1 << 1;
    /// There is an event descriptor.
    pub const EVENT_FD: u64 = 1 << 2;
    /// What `close(Leave)` leaves can be opened again with its content.
    pub const PERSISTENT: u64 = 1 << 3;
    /// This handle was opened on content that somebody left, and holds it.
    pub const ADOPTED: u64 = 1 << 4;
    /// The storage may hold pieces that this handle did not store, and may lose some: there are [`News`](crate::News).
    pub const NEWS: u64 = 1 << 5;
}

/// What an open tier can do. Constant while it is open.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Bits of [`operation`].
    pub operations: u64,
    /// Bits of [`feature`].
    pub features: u64,
    /// How many operations may be under way; more are not accepted.
    pub queue_depth: u64,
    /// What ranges to allocate and release are multiples of, at both ends.
    pub alignment_bytes: u64,
    /// The largest piece that can be stored, or 0 where none can.
    pub piece_bytes_max: u64,
}

impl Capabilities {
    /// Whether all of these operations are there.
    #[must_use]
    pub const fn can(&self, operations: u64) -> bool {
        self.operations & operations == operations
    }

    /// Whether all of these features are there.
    #[must_use]
    pub const fn has(&self, features: u64) -> bool {
        self.features & features == features
    }
}
