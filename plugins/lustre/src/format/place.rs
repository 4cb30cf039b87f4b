//! Where a piece lies, as a store names it and as the host keeps it.

use super::{CONTAINER_BYTES_MAX, FileName};
use cascade_tier::Extent;
use std::fmt;

/// What the offsets of pieces are multiples of: those that are packed lie a cache line apart, large ones a block.
pub const PACKED_ALIGNMENT_BYTES: u64 = 64;

/// A container: who wrote it, and the how manieth of his it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerId {
    /// The writer, a random number.
    pub writer: u64,
    /// Counted from 0.
    pub sequence: u32,
}

impl fmt::Display for ContainerId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", FileName::Container(*self))
    }
}

/// The bytes of a piece in a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Location {
    /// Which container.
    pub container: ContainerId,
    /// The first byte.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
}

impl Location {
    /// A location that may be one: not empty, aligned, within what a container can be.
    #[must_use]
    pub fn checked(container: ContainerId, offset: u64, length: u64) -> Option<Location> {
        let end = offset.checked_add(length)?;
        let may_be =
            length > 0 && offset.is_multiple_of(PACKED_ALIGNMENT_BYTES) && end <= CONTAINER_BYTES_MAX;
        may_be.then_some(Location { container, offset, length })
    }

    /// What the host keeps: writer, sequence, offset, length.
    #[must_use]
    pub fn to_extent(self) -> Extent {
        let ContainerId { writer, sequence } = self.container;
        Extent { words: [writer, u64::from(sequence), self.offset, self.length] }
    }

    /// What the host handed back, if we can have given it out.
    #[must_use]
    pub fn from_extent(extent: Extent) -> Option<Location> {
        let [writer, sequence, offset, length] = extent.words;
        let sequence = u32::try_from(sequence).ok()?;
        Location::checked(ContainerId { writer, sequence }, offset, length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTAINER: ContainerId = ContainerId { writer: 0xabcd, sequence: 7 };

    #[test]
    fn an_extent_is_the_location_that_it_was_made_of() {
        let location = Location::checked(CONTAINER, 8192, 100).unwrap();
        assert_eq!(Location::from_extent(location.to_extent()), Some(location));
    }

    #[test]
    fn an_extent_that_nobody_gave_out_is_no_location() {
        let good = Location::checked(CONTAINER, 8192, 100).unwrap().to_extent().words;
        for (word, value) in
            [(1, 1 << 32), (2, 8193), (2, u64::MAX - 63), (3, 0), (3, u64::MAX), (3, 1 << 40)]
        {
            let mut words = good;
            words[word] = value;
            assert_eq!(Location::from_extent(Extent { words }), None, "word {word} = {value:x}");
        }
        assert_eq!(Location::from_extent(Extent::default()), None);
    }
}
