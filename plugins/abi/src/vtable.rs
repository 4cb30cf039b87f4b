//! What crosses the boundary, to the byte: the function table and the structures that only it uses.
//! Invariants: nothing here is reordered or resized within a version; functions are appended only. No function unwinds,
//! keeps a pointer that it was given (registered memory apart), or is called by two threads on one handle at once.

use crate::{Capabilities, Completion, Extent, Memory, MemoryId, MemoryRange, News, PieceId, Place, Status};
use std::ffi::c_void;
use std::mem::offset_of;

/// The version of the ABI described here. It changes when a structure or the meaning of a function does.
pub const ABI_VERSION: u32 = 2;

/// The start of the name of every entry; the tier's name follows.
pub const ENTRY_PREFIX: &str = "cascade_tier_";

/// The one function that a plugin exports, as `cascade_tier_<name>`: given the host's [`ABI_VERSION`] it returns a table
/// that lives for ever, or null if it does not speak that version.
pub type Entry = extern "C" fn(host_abi_version: u32) -> *const Vtable;

/// An open tier, as only the tier knows it.
pub type Handle = *mut c_void;

/// Text that is lent for the length of a call (or for ever, in the table). UTF-8.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Text {
    /// The first byte.
    pub data: *const u8,
    /// How many bytes.
    pub length: u64,
}

impl Text {
    /// Lends a text.
    #[must_use]
    pub const fn new(text: &str) -> Text {
        Text { data: text.as_ptr(), length: text.len() as u64 }
    }
}

/// Where a call writes text. If it does not fit, the call ends with `TRUNCATED`: the buffer holds the beginning, `length`
/// says how much room it takes, and the same call on the same thread hands the same text over without doing the work again.
#[repr(C)]
#[derive(Debug)]
pub struct TextBuffer {
    /// Where to write.
    pub data: *mut u8,
    /// How many bytes there are.
    pub capacity: u64,
    /// Set by the call: how long the text is.
    pub length: u64,
}

/// An operation, flat. Fields that its kind does not use are zeros.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RawOperation {
    /// [`Operation::request_id`](crate::Operation::request_id).
    pub request_id: u64,
    /// [`Operation::deadline_ns`](crate::Operation::deadline_ns).
    pub deadline_ns: u64,
    /// Allocate 1, release 2, copy 3, store 4, load 5, remove 6, sync 7.
    pub kind: u32,
    /// The checksum of the piece to store or load.
    pub checksum: u32,
    /// What a copy or a store reads.
    pub source: MemoryRange,
    /// What a copy or a load writes, and what is allocated or released.
    pub target: MemoryRange,
    /// What is stored or loaded.
    pub piece: PieceId,
    /// Where the block of what is stored stands in its chain.
    pub place: Place,
    /// What is loaded or removed.
    pub extent: Extent,
}

/// How to close a tier, see [`CloseMode`](crate::CloseMode).
pub type RawCloseMode = u32;

/// The functions of a tier. All of them are there.
#[repr(C)]
pub struct Vtable {
    /// The size of the table as the plugin was built, in bytes. First, so that it can be read whatever follows.
    pub size_bytes: u64,
    /// The version that the plugin speaks.
    pub abi_version: u32,
    /// Zero.
    pub reserved: u32,
    /// The tier's name.
    pub name: Text,
    /// The plugin's own version.
    pub version: Text,
    /// Looks at the machine without opening anything: JSON.
    pub probe: unsafe extern "C" fn(config: Text, report: *mut TextBuffer) -> Status,
    /// Removes what dead owners left: JSON of what went, what stayed and why.
    pub collect_garbage: unsafe extern "C" fn(config: Text, report: *mut TextBuffer) -> Status,
    /// Opens the tier.
    pub open: unsafe extern "C" fn(config: Text, handle: *mut Handle) -> Status,
    /// Ends everything under way and the handle; its memory is the host's again. The reason of a failure is under the null
    /// handle; the handle is gone in any case.
    pub close: unsafe extern "C" fn(handle: Handle, mode: RawCloseMode) -> Status,
    /// What the tier can do.
    pub capabilities: unsafe extern "C" fn(handle: Handle, capabilities: *mut Capabilities) -> Status,
    /// The memory number `index` that the tier has; `NOT_FOUND` past the last.
    pub export_memory: unsafe extern "C" fn(handle: Handle, index: u64, memory: *mut Memory) -> Status,
    /// Makes memory of the host known.
    pub register_memory:
        unsafe extern "C" fn(handle: Handle, memory: *const Memory, id: *mut MemoryId) -> Status,
    /// Makes memory that another tier exported known.
    pub import_memory:
        unsafe extern "C" fn(handle: Handle, memory: *const Memory, id: *mut MemoryId) -> Status,
    /// Forgets registered or imported memory. `INVALID` while an operation uses it.
    pub forget_memory: unsafe extern "C" fn(handle: Handle, id: MemoryId) -> Status,
    /// Takes the first `accepted` of `count` operations; fewer than all is back-pressure.
    pub submit: unsafe extern "C" fn(
        handle: Handle,
        operations: *const RawOperation,
        count: u64,
        accepted: *mut u64,
    ) -> Status,
    /// Writes up to `capacity` completions and how many they are. Never waits.
    pub poll: unsafe extern "C" fn(
        handle: Handle,
        completions: *mut Completion,
        capacity: u64,
        count: *mut u64,
    ) -> Status,
    /// Writes up to `capacity` news and how many they are. Never waits. `UNSUPPORTED` where there never are any.
    pub news: unsafe extern "C" fn(handle: Handle, news: *mut News, capacity: u64, count: *mut u64) -> Status,
    /// A descriptor that is readable while completions wait; the tier's, open until close. `UNSUPPORTED` without one.
    pub event_fd: unsafe extern "C" fn(handle: Handle, fd: *mut i32) -> Status,
    /// Withdraws a request if that is still possible; it completes in any case. `NOT_FOUND` if it is not under way.
    pub cancel: unsafe extern "C" fn(handle: Handle, request_id: u64) -> Status,
    /// The state of the tier and what it counted: a JSON object.
    pub stats: unsafe extern "C" fn(handle: Handle, stats: *mut TextBuffer) -> Status,
    /// Why the latest failing call failed: on this handle, or for null, of those calls on this thread that have no handle.
    pub last_error: unsafe extern "C" fn(handle: Handle, reason: *mut TextBuffer) -> Status,
}

// SAFETY: the table is constant, and its texts are constants of the plugin, which stays mapped.
unsafe impl Sync for Vtable {}
// SAFETY: as above.
unsafe impl Send for Vtable {}

const _: () = {
    assert!(size_of::<MemoryRange>() == 24);
    assert!(size_of::<PieceId>() == 36);
    assert!(size_of::<Extent>() == 32);
    assert!(size_of::<Place>() == 36);
    assert!(size_of::<News>() == 128);
    assert!(size_of::<RawOperation>() == 176);
    assert!(size_of::<Completion>() == 56);
    assert!(size_of::<Capabilities>() == 40);
    assert!(size_of::<Memory>() == 144);
    assert!(offset_of!(Vtable, probe) == 48);
    assert!(size_of::<Vtable>() == 48 + 16 * 8);
};
