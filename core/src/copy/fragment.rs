//! A fragment of a transfer.

/// Bytes that are contiguous on both sides of a transfer.
///
/// A plain value: holding one claims nothing. What the pointers must be is said where fragments are copied.
#[derive(Clone, Copy, Debug)]
pub struct Fragment {
    /// Where the bytes go.
    pub target: *mut u8,
    /// Where they come from.
    pub source: *const u8,
    /// How many they are.
    pub len: usize,
}

impl Fragment {
    /// How far `next` lies from here in the source, if it does not simply follow: then the processor sees it coming.
    pub(super) fn lead_bytes_to(&self, next: &Self) -> usize {
        let distance = next.source.addr().wrapping_sub(self.source.addr());
        if distance == self.len { 0 } else { distance }
    }
}
