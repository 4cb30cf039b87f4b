//! How bytes are moved when nothing is checked and nothing is kept: the reference of every figure about copies.

use cascade_core::copy::{Copier, Kernel};

/// A way to copy. Neither is faster everywhere, so a figure stands beside the better of the two.
#[derive(Clone, Copy)]
pub(crate) enum Plain {
    Memcpy,
    NonTemporal,
}

impl Plain {
    pub(crate) const ALL: [Self; 2] = [Self::Memcpy, Self::NonTemporal];

    /// Copies fragments, each between slices of one length.
    pub(crate) fn copy<'a>(self, fragments: impl Iterator<Item = (&'a mut [u8], &'a [u8])>) {
        match self {
            Self::Memcpy => fragments.for_each(|(target, source)| target.copy_from_slice(source)),
            Self::NonTemporal => {
                let mut copier = Copier::unverified(Kernel::best());
                fragments.for_each(|(target, source)| copier.copy_slice(target, source));
            }
        }
    }
}
