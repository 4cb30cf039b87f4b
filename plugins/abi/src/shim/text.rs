//! Texts between host and tier. What does not fit into the host's buffer is kept for its next call.

use super::guard::guarded;
use crate::vtable::{Text, TextBuffer};
use crate::{Status, TierError};
use std::cell::RefCell;
use std::{ptr, slice};

thread_local! {
    static UNREAD: RefCell<Unread> = RefCell::new(Unread::default());
}

/// A call without a handle whose report did not fit.
#[derive(Default)]
struct Unread {
    call: &'static str,
    config: String,
    report: String,
}

/// Reads a text that the host lends.
///
/// # Safety
/// `text` is what [`Text`] says, for `'a`.
pub(super) unsafe fn read<'a>(text: Text) -> Result<&'a str, TierError> {
    if text.data.is_null() || text.length == 0 {
        return Ok("");
    }
    // SAFETY: the caller's promise, and not null.
    let bytes = unsafe { slice::from_raw_parts(text.data, text.length as usize) };
    std::str::from_utf8(bytes).map_err(|_| TierError::invalid("the configuration is not UTF-8"))
}

/// Writes as much of `text` as fits, and its length. `Err(TRUNCATED)` if that was not all.
///
/// # Safety
/// `buffer` is null or points to a buffer as [`TextBuffer`] says.
pub(super) unsafe fn write(buffer: *mut TextBuffer, text: &str) -> Result<(), TierError> {
    // SAFETY: the caller's promise.
    let buffer = unsafe { buffer.as_mut() }.ok_or_else(|| TierError::invalid("no text buffer was given"))?;
    buffer.length = text.len() as u64;
    let fits = text.len().min(usize::try_from(buffer.capacity).unwrap_or(usize::MAX));
    if !buffer.data.is_null() && fits > 0 {
        // SAFETY: at least `capacity` bytes are there, and the text is ours, so they do not overlap.
        unsafe { ptr::copy_nonoverlapping(text.as_ptr(), buffer.data, fits) };
    }
    let whole = fits == text.len() && (!buffer.data.is_null() || text.is_empty());
    if whole { Ok(()) } else { Err(TierError::new(Status::TRUNCATED, "the text buffer is too small")) }
}

/// A call without a handle that reports: does the work, or hands over what did not fit before.
///
/// # Safety
/// `config` and `buffer` are what their types say.
pub(super) unsafe fn report(
    call: &'static str,
    config: Text,
    buffer: *mut TextBuffer,
    work: impl FnOnce(&str) -> Result<String, TierError>,
) -> Status {
    guarded(|| {
        // SAFETY: the caller's promise.
        let config = unsafe { read(config) }?;
        let unread = UNREAD.take();
        let text = if unread.call == call && unread.config == config { unread.report } else { work(config)? };
        // SAFETY: the caller's promise.
        let written = unsafe { write(buffer, &text) };
        if written.is_err() {
            UNREAD.set(Unread { call, config: config.to_owned(), report: text });
        }
        written
    })
}
