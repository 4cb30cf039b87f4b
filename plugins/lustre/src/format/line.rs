//! The line: what everything in a store but payload is made of.
//!
//! Invariants: a line has one length, says its kind and version, and sums itself; decoding checks all of that and every number
//! in it. A manifest is nothing but lines; the head of a record and the footer of a container are lines too.

use super::{BLOCK_BYTES, CONTAINER_BYTES_MAX, ContainerId, Location};
use cascade_core::checksum::Crc32c;
use cascade_core::copy::checksum_slice;
use cascade_tier::{PieceId, Place, Record};

/// The version of the format. It stands in every line; a line of another one is not read.
pub const VERSION: u16 = 1;

/// The bytes of a line.
pub const LINE_BYTES: usize = 128;

const MAGIC: [u8; 8] = *b"CASCADE\0";

/// A line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// All of `cascade.store`: since when it is a store.
    Store {
        /// Seconds since 1970.
        made_unix_s: u32,
    },
    /// A writer takes room for a container.
    Opened {
        /// Which.
        container: ContainerId,
        /// How long it will be at most.
        reserved_bytes: u64,
        /// Seconds since 1970.
        opened_unix_s: u32,
    },
    /// A piece was written.
    Stored(Record),
    /// A piece was removed: its bytes are no more.
    Removed(Record),
    /// A container is as long as it will be; nothing more comes. 0 bytes: the room was given back.
    Sealed {
        /// Which.
        container: ContainerId,
        /// How long it is.
        bytes: u64,
    },
    /// A container will be deleted: drop its pieces.
    Condemned {
        /// Which.
        container: ContainerId,
    },
    /// A container was deleted.
    Gone {
        /// Which.
        container: ContainerId,
    },
    /// The writer lives.
    Alive {
        /// Seconds since 1970.
        unix_s: u32,
    },
    /// The writer has ended, and was done with everything.
    Closed {
        /// Seconds since 1970.
        unix_s: u32,
    },
    /// In a folded manifest: the manifest of this writer is in it, as far as that.
    Folds {
        /// Whose.
        writer: u64,
        /// So many of its bytes.
        bytes: u64,
    },
    /// The writer goes on under another name: what it tells from now on is in that one's manifest.
    Continues {
        /// Which.
        writer: u64,
    },
    /// Begins a record in a container: lines of so many pieces follow in this block, and payload up to the end of the record.
    Head {
        /// Which container it is part of.
        container: ContainerId,
        /// Where in it.
        offset: u64,
        /// How long the record is, this block included.
        record_bytes: u64,
        /// How many pieces it has.
        pieces: u16,
    },
    /// Ends a sealed container: the lines of all its pieces lie before this block.
    Footer {
        /// Which container it is part of.
        container: ContainerId,
        /// Where the lines begin.
        offset: u64,
        /// How many they are.
        pieces: u32,
    },
    /// Whose claim it is to collect, and how often it was renewed.
    Claim {
        /// Whose.
        writer: u64,
        /// Counts up while its owner is at work; 0 when it was given back.
        renewals: u64,
    },
}

/// Why bytes are no line that we read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadLine {
    /// They are damaged, or never were a line.
    Damaged,
    /// A sound line of another version of the format.
    OtherVersion(u16),
    /// A sound line of a kind that we do not know, or one that says what cannot be.
    Unknown,
}

/// A line's fields before they have a meaning.
#[derive(Default)]
struct Fields {
    kind: u16,
    writer: u64,
    sequence: u32,
    rank: u16,
    group: u16,
    offset: u64,
    length: u64,
    checksum: u32,
    depth: u32,
    unix_s: u32,
    key: [u8; 32],
    parent: [u8; 32],
}

const STORE: u16 = 1;
const OPENED: u16 = 2;
const STORED: u16 = 3;
const REMOVED: u16 = 4;
const SEALED: u16 = 5;
const CONDEMNED: u16 = 6;
const GONE: u16 = 7;
const ALIVE: u16 = 8;
const CLOSED: u16 = 9;
const FOLDS: u16 = 10;
const HEAD: u16 = 11;
const FOOTER: u16 = 12;
const CLAIM: u16 = 13;
const CONTINUES: u16 = 14;

impl Line {
    /// The bytes of the line.
    #[must_use]
    pub fn encode(&self) -> [u8; LINE_BYTES] {
        self.fields().encode()
    }

    /// What the first [`LINE_BYTES`] of `bytes` say.
    ///
    /// # Errors
    /// Why they say nothing that we could use.
    pub fn decode(bytes: &[u8]) -> Result<Line, BadLine> {
        Fields::decode(bytes)?.line().ok_or(BadLine::Unknown)
    }

    /// The container that the line is about, if it is about one.
    #[must_use]
    pub fn container(&self) -> Option<ContainerId> {
        match self {
            Line::Stored(record) | Line::Removed(record) => {
                Location::from_extent(record.extent).map(|location| location.container)
            }
            Line::Opened { container, .. }
            | Line::Sealed { container, .. }
            | Line::Condemned { container }
            | Line::Gone { container }
            | Line::Head { container, .. }
            | Line::Footer { container, .. } => Some(*container),
            Line::Store { .. } | Line::Alive { .. } | Line::Closed { .. } => None,
            Line::Folds { .. } | Line::Claim { .. } | Line::Continues { .. } => None,
        }
    }

    fn fields(&self) -> Fields {
        let of = |kind: u16, container: &ContainerId| Fields {
            kind,
            writer: container.writer,
            sequence: container.sequence,
            ..Fields::default()
        };
        match self {
            Line::Store { made_unix_s } => Fields { kind: STORE, unix_s: *made_unix_s, ..Fields::default() },
            Line::Opened { container, reserved_bytes, opened_unix_s } => {
                Fields { length: *reserved_bytes, unix_s: *opened_unix_s, ..of(OPENED, container) }
            }
            Line::Stored(record) => Fields::of_record(STORED, record),
            Line::Removed(record) => Fields::of_record(REMOVED, record),
            Line::Sealed { container, bytes } => Fields { length: *bytes, ..of(SEALED, container) },
            Line::Condemned { container } => of(CONDEMNED, container),
            Line::Gone { container } => of(GONE, container),
            Line::Alive { unix_s } => Fields { kind: ALIVE, unix_s: *unix_s, ..Fields::default() },
            Line::Closed { unix_s } => Fields { kind: CLOSED, unix_s: *unix_s, ..Fields::default() },
            Line::Folds { writer, bytes } => {
                Fields { kind: FOLDS, writer: *writer, length: *bytes, ..Fields::default() }
            }
            Line::Continues { writer } => Fields { kind: CONTINUES, writer: *writer, ..Fields::default() },
            Line::Head { container, offset, record_bytes, pieces } => Fields {
                offset: *offset,
                length: *record_bytes,
                depth: u32::from(*pieces),
                ..of(HEAD, container)
            },
            Line::Footer { container, offset, pieces } => {
                Fields { offset: *offset, depth: *pieces, ..of(FOOTER, container) }
            }
            Line::Claim { writer, renewals } => {
                Fields { kind: CLAIM, writer: *writer, length: *renewals, ..Fields::default() }
            }
        }
    }
}

impl Fields {
    fn of_record(kind: u16, record: &Record) -> Fields {
        let [writer, sequence, offset, length] = record.extent.words;
        assert_eq!(length, record.length_bytes, "an extent is as long as its piece");
        Fields {
            kind,
            writer,
            sequence: u32::try_from(sequence).expect("an extent of ours"),
            rank: record.piece.rank,
            group: record.piece.group,
            offset,
            length,
            checksum: record.checksum,
            depth: record.place.depth,
            unix_s: record.stored_unix_s,
            key: record.piece.key,
            parent: record.place.parent,
        }
    }

    fn encode(&self) -> [u8; LINE_BYTES] {
        let mut bytes = [0; LINE_BYTES];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(4, &self.kind.to_le_bytes());
        put(6, &VERSION.to_le_bytes());
        put(8, &MAGIC);
        put(16, &self.writer.to_le_bytes());
        put(24, &self.sequence.to_le_bytes());
        put(28, &self.rank.to_le_bytes());
        put(30, &self.group.to_le_bytes());
        put(32, &self.offset.to_le_bytes());
        put(40, &self.length.to_le_bytes());
        put(48, &self.checksum.to_le_bytes());
        put(52, &self.depth.to_le_bytes());
        put(56, &self.unix_s.to_le_bytes());
        put(64, &self.key);
        put(96, &self.parent);
        let sum = checksum_slice(&bytes[4..], Crc32c::EMPTY).value();
        bytes[..4].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Fields, BadLine> {
        let bytes: &[u8; LINE_BYTES] = bytes.first_chunk().ok_or(BadLine::Damaged)?;
        let sum = checksum_slice(&bytes[4..], Crc32c::EMPTY).value();
        if sum.to_le_bytes() != bytes[..4] || field::<8>(bytes, 8) != MAGIC {
            return Err(BadLine::Damaged);
        }
        let u16_at = |at| u16::from_le_bytes(field(bytes, at));
        let u32_at = |at| u32::from_le_bytes(field(bytes, at));
        let u64_at = |at| u64::from_le_bytes(field(bytes, at));
        match u16_at(6) {
            VERSION => Ok(Fields {
                kind: u16_at(4),
                writer: u64_at(16),
                sequence: u32_at(24),
                rank: u16_at(28),
                group: u16_at(30),
                offset: u64_at(32),
                length: u64_at(40),
                checksum: u32_at(48),
                depth: u32_at(52),
                unix_s: u32_at(56),
                key: field(bytes, 64),
                parent: field(bytes, 96),
            }),
            version => Err(BadLine::OtherVersion(version)),
        }
    }

    /// What the fields mean, if that can be.
    fn line(&self) -> Option<Line> {
        let Fields { writer, offset, length, unix_s, .. } = *self;
        let container = ContainerId { writer, sequence: self.sequence };
        let is_block = |bytes: u64| bytes <= CONTAINER_BYTES_MAX && bytes.is_multiple_of(BLOCK_BYTES);
        Some(match self.kind {
            STORE => Line::Store { made_unix_s: unix_s },
            OPENED if length <= CONTAINER_BYTES_MAX => {
                Line::Opened { container, reserved_bytes: length, opened_unix_s: unix_s }
            }
            STORED => Line::Stored(self.record()?),
            REMOVED => Line::Removed(self.record()?),
            SEALED if length <= CONTAINER_BYTES_MAX => Line::Sealed { container, bytes: length },
            CONDEMNED => Line::Condemned { container },
            GONE => Line::Gone { container },
            ALIVE => Line::Alive { unix_s },
            CLOSED => Line::Closed { unix_s },
            FOLDS => Line::Folds { writer, bytes: length },
            HEAD if is_block(offset) && is_block(length) && length > 0 => Line::Head {
                container,
                offset,
                record_bytes: length,
                pieces: u16::try_from(self.depth).ok()?,
            },
            FOOTER if is_block(offset) => Line::Footer { container, offset, pieces: self.depth },
            CLAIM => Line::Claim { writer, renewals: length },
            CONTINUES => Line::Continues { writer },
            _ => return None,
        })
    }

    fn record(&self) -> Option<Record> {
        let container = ContainerId { writer: self.writer, sequence: self.sequence };
        let location = Location::checked(container, self.offset, self.length)?;
        Some(Record {
            piece: PieceId { key: self.key, rank: self.rank, group: self.group },
            checksum: self.checksum,
            length_bytes: self.length,
            place: Place { parent: self.parent, depth: self.depth },
            stored_unix_s: self.unix_s,
            extent: location.to_extent(),
        })
    }
}

fn field<const N: usize>(bytes: &[u8; LINE_BYTES], at: usize) -> [u8; N] {
    std::array::from_fn(|index| bytes[at + index])
}
