//! The host's side of an open tier.
//! Invariants: one thread at a time (`&mut`, and not `Sync`); the handle is closed exactly once. The only `unsafe` of the
//! host's side is here and in `library.rs`.

use crate::vtable::{RawOperation, Text, TextBuffer};
use crate::{
    Capabilities, CloseMode, Completion, Library, Memory, MemoryId, News, Operation, Status, TierError,
};
use std::ffi::c_void;
use std::os::fd::{BorrowedFd, RawFd};
use std::ptr::NonNull;

/// How many completions one [`OpenTier::poll`] takes at most.
const POLL_BATCH: usize = 256;

/// An open tier. Dropping it closes it as [`CloseMode::Leave`] does.
#[derive(Debug)]
pub struct OpenTier {
    library: Library,
    handle: NonNull<c_void>,
    operations: Vec<RawOperation>,
    completions: Box<[Completion]>,
    closed: bool,
}

// `Sync` it is not: the ABI promises a tier that no two threads call it at once.
// SAFETY: a `Tier` is `Send`, and the ABI asks the same of a tier in another language: any thread may call, one at a time.
unsafe impl Send for OpenTier {}

impl OpenTier {
    pub(crate) fn new(library: Library, handle: NonNull<c_void>) -> OpenTier {
        let completions = vec![Completion::new(0, Status::OK, 0); POLL_BATCH].into_boxed_slice();
        OpenTier { library, handle, operations: Vec::new(), completions, closed: false }
    }

    /// The code that this tier runs.
    #[must_use]
    pub fn library(&self) -> &Library {
        &self.library
    }

    /// What the tier can do. Constant while it is open.
    ///
    /// # Errors
    /// `PANICKED`.
    pub fn capabilities(&self) -> Result<Capabilities, TierError> {
        let mut capabilities = Capabilities::default();
        // SAFETY: the handle is open and ours, and the result lives through the call.
        let status =
            unsafe { (self.library.vtable().capabilities)(self.handle.as_ptr(), &raw mut capabilities) };
        self.done(status).map(|()| capabilities)
    }

    /// The memories that the tier has. Their pointers and descriptors are valid until the tier is closed.
    ///
    /// # Errors
    /// `PANICKED`.
    pub fn exports(&self) -> Result<Vec<Memory>, TierError> {
        let mut exports = Vec::new();
        loop {
            let mut memory = Memory::new("?", 0);
            // SAFETY: the handle is open and ours, and the result lives through the call.
            let status = unsafe {
                (self.library.vtable().export_memory)(
                    self.handle.as_ptr(),
                    exports.len() as u64,
                    &raw mut memory,
                )
            };
            if status == Status::NOT_FOUND {
                return Ok(exports);
            }
            self.done(status)?;
            exports.push(memory);
        }
    }

    /// Makes memory of the host known to the tier, which may read and write it from then on.
    ///
    /// # Safety
    /// What `memory` describes is there, and is accessed by others only as a concurrent writer allows, until
    /// [`forget_memory`](OpenTier::forget_memory) succeeded or the tier is closed.
    ///
    /// # Errors
    /// `UNSUPPORTED`; `INVALID` if the tier cannot reach it.
    pub unsafe fn register_memory(&mut self, memory: &Memory) -> Result<MemoryId, TierError> {
        let mut id = 0;
        // SAFETY: the handle is open and ours; arguments live through the call; the memory is the caller's promise.
        let status =
            unsafe { (self.library.vtable().register_memory)(self.handle.as_ptr(), memory, &raw mut id) };
        self.done(status).map(|()| id)
    }

    /// Makes memory that another tier exported known to this one.
    ///
    /// # Safety
    /// As [`register_memory`](OpenTier::register_memory): close this tier, or forget the memory, before the exporter closes.
    ///
    /// # Errors
    /// As [`register_memory`](OpenTier::register_memory).
    pub unsafe fn import_memory(&mut self, memory: &Memory) -> Result<MemoryId, TierError> {
        let mut id = 0;
        // SAFETY: the handle is open and ours; arguments live through the call; the memory is the caller's promise.
        let status =
            unsafe { (self.library.vtable().import_memory)(self.handle.as_ptr(), memory, &raw mut id) };
        self.done(status).map(|()| id)
    }

    /// Takes registered or imported memory back.
    ///
    /// # Errors
    /// `NOT_FOUND`; `INVALID` while an operation uses it.
    pub fn forget_memory(&mut self, id: MemoryId) -> Result<(), TierError> {
        // SAFETY: the handle is open and ours.
        let status = unsafe { (self.library.vtable().forget_memory)(self.handle.as_ptr(), id) };
        self.done(status)
    }

    /// Submits operations and says how many, from the first on, the tier took. Fewer than all is back-pressure: submit the
    /// rest after the next completions. Their memory is the tier's until they complete.
    ///
    /// # Errors
    /// Only if the tier as a whole has failed (`PANICKED`, `FENCED`); what is wrong with an operation, its completion says.
    pub fn submit(&mut self, operations: &[Operation]) -> Result<usize, TierError> {
        self.operations.clear();
        self.operations.extend(operations.iter().map(RawOperation::from));
        let mut accepted = 0;
        // SAFETY: the handle is open and ours; operations and result live through the call.
        let status = unsafe {
            (self.library.vtable().submit)(
                self.handle.as_ptr(),
                self.operations.as_ptr(),
                self.operations.len() as u64,
                &raw mut accepted,
            )
        };
        self.done(status)?;
        Ok((accepted as usize).min(operations.len()))
    }

    /// Appends the completions that wait, at most a batch of them, and says how many. Never waits.
    ///
    /// # Errors
    /// Only if the tier as a whole has failed.
    pub fn poll(&mut self, completions: &mut Vec<Completion>) -> Result<usize, TierError> {
        self.poll_up_to(POLL_BATCH, completions)
    }

    /// As [`poll`](OpenTier::poll), but takes at most `limit` completions.
    ///
    /// # Errors
    /// As [`poll`](OpenTier::poll).
    pub fn poll_up_to(
        &mut self,
        limit: usize,
        completions: &mut Vec<Completion>,
    ) -> Result<usize, TierError> {
        let room = limit.min(self.completions.len());
        let mut count = 0;
        // SAFETY: the handle is open and ours; `room` initialised completions are lent for the call.
        let status = unsafe {
            (self.library.vtable().poll)(
                self.handle.as_ptr(),
                self.completions.as_mut_ptr(),
                room as u64,
                &raw mut count,
            )
        };
        self.done(status)?;
        let count = (count as usize).min(room);
        completions.extend_from_slice(&self.completions[..count]);
        Ok(count)
    }

    /// Fills the front of the slice with what the storage came to hold or lost without our doing, and says how many news
    /// that are. Never waits; 0 where there are none now.
    ///
    /// # Errors
    /// `UNSUPPORTED` from a tier that never has any; else only if the tier as a whole has failed.
    pub fn news(&mut self, news: &mut [News]) -> Result<usize, TierError> {
        let mut count = 0;
        // SAFETY: the handle is open and ours; the slice is lent for the call.
        let status = unsafe {
            (self.library.vtable().news)(
                self.handle.as_ptr(),
                news.as_mut_ptr(),
                news.len() as u64,
                &raw mut count,
            )
        };
        self.done(status)?;
        Ok((count as usize).min(news.len()))
    }

    /// A descriptor that is readable while completions wait, if the tier has one. Only poll it: the tier reads it.
    ///
    /// # Errors
    /// `PANICKED`.
    pub fn event_fd(&self) -> Result<Option<BorrowedFd<'_>>, TierError> {
        let mut fd: RawFd = -1;
        // SAFETY: the handle is open and ours, and the result lives through the call.
        let status = unsafe { (self.library.vtable().event_fd)(self.handle.as_ptr(), &raw mut fd) };
        if status == Status::UNSUPPORTED || (status.is_ok() && fd < 0) {
            return Ok(None);
        }
        self.done(status)?;
        // SAFETY: the tier keeps it open until it is closed, which takes `self`, and it is not -1.
        Ok(Some(unsafe { BorrowedFd::borrow_raw(fd) }))
    }

    /// Withdraws a request if that is still possible. It completes in any case, once, and its memory is the tier's until
    /// then.
    ///
    /// # Errors
    /// `NOT_FOUND` if it is not under way.
    pub fn cancel(&mut self, request_id: u64) -> Result<(), TierError> {
        // SAFETY: the handle is open and ours.
        let status = unsafe { (self.library.vtable().cancel)(self.handle.as_ptr(), request_id) };
        self.done(status)
    }

    /// The state of the tier and what it counted: a JSON object.
    ///
    /// # Errors
    /// `PANICKED`.
    pub fn stats(&self) -> Result<String, TierError> {
        // SAFETY: the handle is open and ours, and the buffer is what its type says.
        read_text(|buffer| unsafe { (self.library.vtable().stats)(self.handle.as_ptr(), buffer) })
            .map_err(|status| self.error(status))
    }

    /// Ends what is under way, without completions, and closes.
    ///
    /// # Errors
    /// If the content could not be treated as `mode` asks. The tier is closed in any case.
    pub fn close(mut self, mode: CloseMode) -> Result<(), TierError> {
        let status = self.end(mode);
        if status.is_ok() { Ok(()) } else { Err(self.library.error(status)) }
    }

    fn end(&mut self, mode: CloseMode) -> Status {
        assert!(!self.closed, "a tier is closed once");
        self.closed = true;
        // SAFETY: the handle is open and ours, and nobody uses it after this.
        unsafe { (self.library.vtable().close)(self.handle.as_ptr(), mode.to_raw()) }
    }

    fn done(&self, status: Status) -> Result<(), TierError> {
        if status.is_ok() { Ok(()) } else { Err(self.error(status)) }
    }

    fn error(&self, status: Status) -> TierError {
        // SAFETY: the handle is open and ours, and the buffer is what its type says.
        let reason =
            read_text(|buffer| unsafe { (self.library.vtable().last_error)(self.handle.as_ptr(), buffer) });
        TierError::new(status, format!("{}: {}", self.library.name(), reason.unwrap_or_default()))
    }
}

impl Drop for OpenTier {
    fn drop(&mut self) {
        if !self.closed {
            let _ = self.end(CloseMode::Leave);
        }
    }
}

/// Lends a text for a call.
pub(crate) fn lend(text: &str) -> Text {
    Text::new(text)
}

/// Reads the text that a call writes, with a larger buffer if need be.
pub(crate) fn read_text(mut call: impl FnMut(*mut TextBuffer) -> Status) -> Result<String, Status> {
    let mut bytes = vec![0_u8; 4096];
    loop {
        let mut buffer = TextBuffer { data: bytes.as_mut_ptr(), capacity: bytes.len() as u64, length: 0 };
        let status = call(&raw mut buffer);
        let length = buffer.length as usize;
        if status == Status::TRUNCATED && length > bytes.len() {
            bytes.resize(length, 0);
            continue;
        }
        if !status.is_ok() {
            return Err(status);
        }
        bytes.truncate(length);
        return Ok(String::from_utf8_lossy(&bytes).into_owned());
    }
}
