//! The reference tier's storage: pieces in a table, each verified as it is loaded.

use cascade_core::copy::checksum_slice;
use cascade_core::piece::seal;
use cascade_tier::{Extent, PieceId, Status};
use std::collections::HashMap;

/// Pieces by the first word of their extent.
#[derive(Debug, Default)]
pub(super) struct Storage {
    records: HashMap<u64, Record>,
    last: u64,
}

#[derive(Debug)]
struct Record {
    piece: PieceId,
    checksum: u32,
    bytes: Vec<u8>,
}

impl Storage {
    pub(super) fn store(&mut self, piece: PieceId, checksum: u32, bytes: Vec<u8>) -> Extent {
        self.last += 1;
        let length = bytes.len() as u64;
        self.records.insert(self.last, Record { piece, checksum, bytes });
        Extent { words: [self.last, length, 0, 0] }
    }

    /// The bytes, if they are that piece of that length with that checksum.
    pub(super) fn load(
        &self,
        extent: Extent,
        piece: PieceId,
        checksum: u32,
        length: u64,
    ) -> Result<&[u8], Status> {
        let record = self.records.get(&extent.words[0]).ok_or(Status::NOT_FOUND)?;
        let is_meant =
            record.piece == piece && record.checksum == checksum && record.bytes.len() as u64 == length;
        let found = checksum_slice(&record.bytes, seal(&piece.into(), length)).value();
        if is_meant && found == checksum { Ok(&record.bytes) } else { Err(Status::CORRUPT) }
    }

    pub(super) fn remove(&mut self, extent: Extent) -> Result<u64, Status> {
        let record = self.records.remove(&extent.words[0]).ok_or(Status::NOT_FOUND)?;
        Ok(record.bytes.len() as u64)
    }
}
