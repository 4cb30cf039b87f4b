//! Nothing gets out: panics become `PANICKED` and poison the handle, errors leave their words for `last_error`.

use crate::vtable::Handle;
use crate::{Operation, Status, Tier, TierError};
use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    /// Why the latest failing call without a handle failed.
    static ERROR: RefCell<String> = const { RefCell::new(String::new()) };
}

/// What a handle points to.
pub(super) struct Instance<T> {
    pub(super) tier: T,
    pub(super) poisoned: bool,
    pub(super) error: String,
    /// Stats that did not fit, kept for the next call.
    pub(super) stats: Option<String>,
    pub(super) operations: Vec<Operation>,
}

impl<T> Instance<T> {
    pub(super) fn new(tier: T) -> Instance<T> {
        Instance { tier, poisoned: false, error: String::new(), stats: None, operations: Vec::new() }
    }
}

/// Why this thread's latest failing call without a handle failed.
pub(super) fn latest_error() -> String {
    ERROR.with_borrow(String::clone)
}

/// The words of a panic.
fn words(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    format!("the tier panicked: {}; close it", text.unwrap_or("no message"))
}

/// Runs `body` so that neither a panic in it nor one in dropping the panic's payload gets out.
pub(super) fn caught<R>(body: impl FnOnce() -> Result<R, TierError>) -> Result<R, TierError> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        let error = TierError::new(Status::PANICKED, words(&*payload));
        // Its drop is foreign code as well and could panic again.
        std::mem::forget(payload);
        Err(error)
    })
}

/// Guards a call that has no handle.
pub(super) fn guarded(body: impl FnOnce() -> Result<(), TierError>) -> Status {
    match caught(body) {
        Ok(()) => Status::OK,
        Err(error) => {
            ERROR.with_borrow_mut(|last| *last = error.message);
            error.status
        }
    }
}

/// Guards a call on a handle.
///
/// # Safety
/// `handle` is null or came from `open::<T>`, was not closed, and no other thread uses it.
pub(super) unsafe fn guarded_on<T: Tier>(
    handle: Handle,
    body: impl FnOnce(&mut Instance<T>) -> Result<(), TierError>,
) -> Status {
    // SAFETY: the caller's promise; null gives `None`.
    let Some(instance) = (unsafe { handle.cast::<Instance<T>>().as_mut() }) else {
        return Status::INVALID;
    };
    if instance.poisoned {
        return Status::PANICKED;
    }
    match caught(|| body(&mut *instance)) {
        Ok(()) => Status::OK,
        Err(error) => {
            instance.poisoned = error.status == Status::PANICKED;
            instance.error = error.message;
            error.status
        }
    }
}
