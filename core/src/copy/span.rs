//! What is left to copy.

use super::machine;

/// Streaming stores pay off only in whole cache lines.
pub(super) const LINE_BYTES: usize = 64;

/// A source, a target and how many bytes go from one to the other.
///
/// The memory may be shared with processes that write it meanwhile, so no reference to it is ever formed. `target`
/// means nothing in modes that do not store; it therefore moves by wrapping arithmetic.
#[derive(Clone, Copy)]
pub(super) struct Span {
    pub(super) target: *mut u8,
    pub(super) source: *const u8,
    pub(super) len: usize,
    /// How far beyond each line of the source lies the one to call for meanwhile; 0 where there is none.
    ///
    /// Fragments lie apart, so each begins with a wait that the processor cannot foresee. Calling for the next while
    /// one is copied, line for line, gains a fifth at 4 KiB; all its lines at once would clog the loads (measured).
    pub(super) lead_bytes: usize,
}

impl Span {
    /// Splits off the first `bytes`.
    ///
    /// # Safety
    ///
    /// `bytes <= len`, and `source` is valid for `len` bytes.
    #[inline(always)]
    pub(super) unsafe fn take(&mut self, bytes: usize) -> Self {
        debug_assert!(bytes <= self.len);
        let taken = Self { len: bytes, ..*self };
        self.target = self.target.wrapping_add(bytes);
        // SAFETY: at most one past the end of the source, by contract.
        self.source = unsafe { self.source.add(bytes) };
        self.len -= bytes;
        taken
    }

    /// Calls for the line that is `lead_bytes` beyond the one at `at`. A hint: no access, no fault.
    #[inline(always)]
    pub(super) fn call_ahead(&self, at: usize) {
        if self.lead_bytes != 0 {
            machine::prefetch(self.source.wrapping_add(at).wrapping_add(self.lead_bytes));
        }
    }

    /// How many bytes to take until the target begins a cache line.
    #[inline(always)]
    pub(super) fn bytes_to_line(&self) -> usize {
        (self.target.addr().wrapping_neg() % LINE_BYTES).min(self.len)
    }
}
