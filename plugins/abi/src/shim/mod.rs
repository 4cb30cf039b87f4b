//! The plugin's side of the boundary: a [`Vtable`] over any [`Tier`].
//! Invariants: no panic gets out, it becomes `PANICKED` and poisons the handle; every error leaves its words in
//! `last_error`. The only `unsafe` of a plugin's side is in this folder.

mod guard;
mod text;

use crate::vtable::{Handle, RawOperation, Text, TextBuffer, Vtable};
use crate::{
    ABI_VERSION, Capabilities, CloseMode, Completion, Memory, MemoryId, News, Operation, Status, Tier,
    TierError,
};
use guard::{Instance, caught, guarded, guarded_on, latest_error};
use std::os::fd::AsRawFd;
use std::slice;
use text::{read, report, write};

/// Exports a type as the tier of a name: `export_tier!(shm, ShmTier)` exports the symbol `cascade_tier_shm`, and for
/// statically linked hosts the function `entry`.
#[macro_export]
macro_rules! export_tier {
    ($name:ident, $tier:ty) => {
        #[cfg(panic = "abort")]
        compile_error!("a tier catches its panics: build it with panic = \"unwind\"");

        /// The entry of this tier: its function table, or null for a host that speaks another version of the ABI.
        #[unsafe(export_name = concat!("cascade_tier_", stringify!($name)))]
        pub extern "C" fn entry(host_abi_version: u32) -> *const $crate::vtable::Vtable {
            static VTABLE: $crate::vtable::Vtable =
                $crate::vtable::Vtable::of::<$tier>(stringify!($name), env!("CARGO_PKG_VERSION"));
            if host_abi_version == $crate::ABI_VERSION { &raw const VTABLE } else { ::core::ptr::null() }
        }
    };
}

impl Vtable {
    /// The table of a tier. [`export_tier!`](crate::export_tier) calls it.
    #[must_use]
    pub const fn of<T: Tier>(name: &'static str, version: &'static str) -> Vtable {
        Vtable {
            size_bytes: size_of::<Vtable>() as u64,
            abi_version: ABI_VERSION,
            reserved: 0,
            name: Text::new(name),
            version: Text::new(version),
            probe: probe::<T>,
            collect_garbage: collect_garbage::<T>,
            open: open::<T>,
            close: close::<T>,
            capabilities: capabilities::<T>,
            export_memory: export_memory::<T>,
            register_memory: register_memory::<T>,
            import_memory: import_memory::<T>,
            forget_memory: forget_memory::<T>,
            submit: submit::<T>,
            poll: poll::<T>,
            news: news::<T>,
            event_fd: event_fd::<T>,
            cancel: cancel::<T>,
            stats: stats::<T>,
            last_error: last_error::<T>,
        }
    }
}

/// Writes a result through a pointer of the host.
///
/// # Safety
/// `target` is null or valid for a write.
unsafe fn put<R>(target: *mut R, value: R) -> Result<(), TierError> {
    if target.is_null() {
        return Err(TierError::invalid("no place for the result was given"));
    }
    // SAFETY: the caller's promise, and not null.
    unsafe { target.write(value) };
    Ok(())
}

unsafe extern "C" fn probe<T: Tier>(config: Text, buffer: *mut TextBuffer) -> Status {
    // SAFETY: the host's promise, see `Vtable`.
    unsafe { report("probe", config, buffer, T::probe) }
}

unsafe extern "C" fn collect_garbage<T: Tier>(config: Text, buffer: *mut TextBuffer) -> Status {
    // SAFETY: the host's promise, see `Vtable`.
    unsafe { report("collect_garbage", config, buffer, T::collect_garbage) }
}

unsafe extern "C" fn open<T: Tier>(config: Text, handle: *mut Handle) -> Status {
    guarded(|| {
        if handle.is_null() {
            return Err(TierError::invalid("no place for the handle was given"));
        }
        // SAFETY: the host's promise, see `Vtable`.
        let tier = T::open(unsafe { read(config) }?)?;
        let instance = Box::into_raw(Box::new(Instance::new(tier)));
        // SAFETY: the host's promise, see `Vtable`.
        unsafe { put(handle, instance.cast()) }
    })
}

unsafe extern "C" fn close<T: Tier>(handle: Handle, mode: u32) -> Status {
    if handle.is_null() {
        return Status::INVALID;
    }
    guarded(|| {
        // SAFETY: the handle came from `open`, and the host gives it up with this call.
        let instance = unsafe { Box::from_raw(handle.cast::<Instance<T>>()) };
        let Instance { tier, poisoned, error, .. } = *instance;
        if poisoned {
            drop(tier);
            return Err(TierError::new(Status::PANICKED, error));
        }
        let mode =
            CloseMode::from_raw(mode).ok_or_else(|| TierError::invalid(format!("no close mode {mode}")))?;
        tier.close(mode)
    })
}

unsafe extern "C" fn capabilities<T: Tier>(handle: Handle, target: *mut Capabilities) -> Status {
    // SAFETY: the host's promise, see `Vtable`.
    unsafe { guarded_on::<T>(handle, |instance| put(target, instance.tier.capabilities())) }
}

unsafe extern "C" fn export_memory<T: Tier>(handle: Handle, index: u64, target: *mut Memory) -> Status {
    let body = |instance: &mut Instance<T>| {
        let memory = usize::try_from(index).ok().and_then(|index| instance.tier.exports().get(index));
        let past = || TierError::new(Status::NOT_FOUND, format!("the tier exports no memory number {index}"));
        // SAFETY: the host's promise, see `Vtable`.
        unsafe { put(target, *memory.ok_or_else(past)?) }
    };
    // SAFETY: the host's promise, see `Vtable`.
    unsafe { guarded_on::<T>(handle, body) }
}

/// Makes memory known, by one of the two methods for it.
///
/// # Safety
/// The host's promise, see [`Vtable`].
unsafe fn make_known<T: Tier>(
    handle: Handle,
    memory: *const Memory,
    target: *mut MemoryId,
    method: fn(&mut T, &Memory) -> Result<MemoryId, TierError>,
) -> Status {
    let body = |instance: &mut Instance<T>| {
        // SAFETY: the caller's promise.
        let memory = unsafe { memory.as_ref() }.ok_or_else(|| TierError::invalid("no memory was given"))?;
        let id = method(&mut instance.tier, memory)?;
        // SAFETY: the caller's promise.
        unsafe { put(target, id) }
    };
    // SAFETY: the caller's promise.
    unsafe { guarded_on::<T>(handle, body) }
}

unsafe extern "C" fn register_memory<T: Tier>(
    handle: Handle,
    memory: *const Memory,
    target: *mut MemoryId,
) -> Status {
    // SAFETY: the host's promise, see `Vtable`.
    unsafe { make_known::<T>(handle, memory, target, T::register_memory) }
}

unsafe extern "C" fn import_memory<T: Tier>(
    handle: Handle,
    memory: *const Memory,
    target: *mut MemoryId,
) -> Status {
    // SAFETY: the host's promise, see `Vtable`.
    unsafe { make_known::<T>(handle, memory, target, T::import_memory) }
}

unsafe extern "C" fn forget_memory<T: Tier>(handle: Handle, id: MemoryId) -> Status {
    // SAFETY: the host's promise, see `Vtable`.
    unsafe { guarded_on::<T>(handle, |instance| instance.tier.forget_memory(id)) }
}

unsafe extern "C" fn submit<T: Tier>(
    handle: Handle,
    operations: *const RawOperation,
    count: u64,
    accepted: *mut u64,
) -> Status {
    let body = |instance: &mut Instance<T>| {
        let mut taken = 0;
        if !operations.is_null() && count > 0 {
            // SAFETY: the host lends `count` operations.
            let raw = unsafe { slice::from_raw_parts(operations, count as usize) };
            instance.operations.clear();
            instance.operations.extend(raw.iter().map(Operation::from));
            taken = instance.tier.submit(&instance.operations)?;
            assert!(taken <= raw.len(), "the tier took more operations than there were");
        }
        // SAFETY: the host's promise, see `Vtable`.
        unsafe { put(accepted, taken as u64) }
    };
    // SAFETY: the host's promise, see `Vtable`.
    unsafe { guarded_on::<T>(handle, body) }
}

/// Has a method fill the room that the host lends, and tells how much of it.
///
/// # Safety
/// The host's promise, see [`Vtable`]: `room` is null or has `capacity` initialised items.
unsafe fn fill<T: Tier, I>(
    handle: Handle,
    room: *mut I,
    capacity: u64,
    count: *mut u64,
    method: fn(&mut T, &mut [I]) -> Result<usize, TierError>,
) -> Status {
    let body = |instance: &mut Instance<T>| {
        let mut filled = 0;
        if !room.is_null() && capacity > 0 {
            // SAFETY: the caller's promise.
            let room = unsafe { slice::from_raw_parts_mut(room, capacity as usize) };
            filled = method(&mut instance.tier, room)?;
            assert!(filled <= room.len(), "the tier wrote more than there was room for");
        }
        // SAFETY: the caller's promise.
        unsafe { put(count, filled as u64) }
    };
    // SAFETY: the caller's promise.
    unsafe { guarded_on::<T>(handle, body) }
}

unsafe extern "C" fn poll<T: Tier>(
    handle: Handle,
    completions: *mut Completion,
    capacity: u64,
    count: *mut u64,
) -> Status {
    // SAFETY: the host's promise, see `Vtable`.
    unsafe { fill::<T, _>(handle, completions, capacity, count, T::poll) }
}

unsafe extern "C" fn news<T: Tier>(
    handle: Handle,
    news: *mut News,
    capacity: u64,
    count: *mut u64,
) -> Status {
    // SAFETY: the host's promise, see `Vtable`.
    unsafe { fill::<T, _>(handle, news, capacity, count, T::news) }
}

unsafe extern "C" fn event_fd<T: Tier>(handle: Handle, target: *mut i32) -> Status {
    let body = |instance: &mut Instance<T>| {
        let fd =
            instance.tier.event_fd().ok_or_else(|| TierError::unsupported("have an event descriptor"))?;
        // SAFETY: the host's promise, see `Vtable`.
        unsafe { put(target, fd.as_raw_fd()) }
    };
    // SAFETY: the host's promise, see `Vtable`.
    unsafe { guarded_on::<T>(handle, body) }
}

unsafe extern "C" fn cancel<T: Tier>(handle: Handle, request_id: u64) -> Status {
    // SAFETY: the host's promise, see `Vtable`.
    unsafe { guarded_on::<T>(handle, |instance| instance.tier.cancel(request_id)) }
}

unsafe extern "C" fn stats<T: Tier>(handle: Handle, buffer: *mut TextBuffer) -> Status {
    let body = |instance: &mut Instance<T>| {
        let text = instance.stats.take().unwrap_or_else(|| instance.tier.stats());
        // SAFETY: the host's promise, see `Vtable`.
        let written = unsafe { write(buffer, &text) };
        if written.is_err() {
            instance.stats = Some(text);
        }
        written
    };
    // SAFETY: the host's promise, see `Vtable`.
    unsafe { guarded_on::<T>(handle, body) }
}

unsafe extern "C" fn last_error<T: Tier>(handle: Handle, buffer: *mut TextBuffer) -> Status {
    // SAFETY: the host's promise, see `Vtable`; null stands for this thread's calls without a handle.
    let text = match unsafe { handle.cast::<Instance<T>>().as_ref() } {
        Some(instance) => instance.error.clone(),
        None => latest_error(),
    };
    // Not `guarded`: reading an error must not replace it.
    // SAFETY: the host's promise, see `Vtable`.
    match caught(|| unsafe { write(buffer, &text) }) {
        Ok(()) => Status::OK,
        Err(error) => error.status,
    }
}
