//! Operations between their flat form on the boundary and the enum that both sides write.
//! Invariant: flat and back is the same operation; a kind that we do not know survives as `Unknown`.

use crate::vtable::RawOperation;
use crate::{Action, Extent, MemoryRange, Operation, PieceId, Place};

const ALLOCATE: u32 = 1;
const RELEASE: u32 = 2;
const COPY: u32 = 3;
const STORE: u32 = 4;
const LOAD: u32 = 5;
const REMOVE: u32 = 6;
const SYNC: u32 = 7;

impl From<&Operation> for RawOperation {
    fn from(operation: &Operation) -> RawOperation {
        let blank = RawOperation {
            request_id: operation.request_id,
            deadline_ns: operation.deadline_ns,
            kind: 0,
            checksum: 0,
            source: MemoryRange::default(),
            target: MemoryRange::default(),
            piece: PieceId::default(),
            place: Place::default(),
            extent: Extent::default(),
        };
        match operation.action {
            Action::Allocate { range } => RawOperation { kind: ALLOCATE, target: range, ..blank },
            Action::Release { range } => RawOperation { kind: RELEASE, target: range, ..blank },
            Action::Copy { source, target } => RawOperation { kind: COPY, source, target, ..blank },
            Action::Store { source, piece, checksum, place } => {
                RawOperation { kind: STORE, source, piece, checksum, place, ..blank }
            }
            Action::Load { extent, piece, checksum, target } => {
                RawOperation { kind: LOAD, extent, piece, checksum, target, ..blank }
            }
            Action::Remove { extent } => RawOperation { kind: REMOVE, extent, ..blank },
            Action::Sync => RawOperation { kind: SYNC, ..blank },
            Action::Unknown(kind) => RawOperation { kind, ..blank },
        }
    }
}

impl From<&RawOperation> for Operation {
    fn from(raw: &RawOperation) -> Operation {
        let &RawOperation { checksum, source, target, piece, place, extent, .. } = raw;
        let action = match raw.kind {
            ALLOCATE => Action::Allocate { range: target },
            RELEASE => Action::Release { range: target },
            COPY => Action::Copy { source, target },
            STORE => Action::Store { source, piece, checksum, place },
            LOAD => Action::Load { extent, piece, checksum, target },
            REMOVE => Action::Remove { extent },
            SYNC => Action::Sync,
            kind => Action::Unknown(kind),
        };
        Operation { request_id: raw.request_id, deadline_ns: raw.deadline_ns, action }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_survives_the_boundary() {
        let range = MemoryRange::new(3, 4096, 8192);
        let other = MemoryRange::new(4, 0, 8192);
        let piece = PieceId { key: [7; 32], rank: 1, group: 2 };
        let extent = Extent { words: [1, 2, 3, 4] };
        let actions = [
            Action::Allocate { range },
            Action::Release { range },
            Action::Copy { source: range, target: other },
            Action::Store { source: range, piece, checksum: 9, place: Place { parent: [8; 32], depth: 7 } },
            Action::Load { extent, piece, checksum: 9, target: other },
            Action::Remove { extent },
            Action::Sync,
            Action::Unknown(99),
        ];
        for action in actions {
            let operation = Operation::new(11, action).by(12);
            assert_eq!(Operation::from(&RawOperation::from(&operation)), operation);
        }
    }
}
