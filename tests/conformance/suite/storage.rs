//! Storing, loading and removing pieces; for a tier without storage, that it says so.

use super::{Scratch, Session};
use crate::subjects::Subject;
use cascade_core::copy::checksum_slice;
use cascade_core::piece::seal;
use cascade_tier::capability::operation;
use cascade_tier::{Action, Extent, PieceId, Place, Status};

/// The second block of a chain.
pub(super) const PLACE: Place = Place { parent: [0xaa; 32], depth: 1 };

fn piece(number: u8) -> PieceId {
    PieceId { key: [number; 32], rank: u16::from(number), group: 1 }
}

pub(super) fn checksum(piece: PieceId, bytes: &[u8]) -> u32 {
    checksum_slice(bytes, seal(&piece.into(), bytes.len() as u64)).value()
}

pub(crate) fn a_stored_piece_loads_until_it_is_removed<S: Subject>() {
    let scratch = Scratch::new();
    let mut session = Session::open::<S>(&scratch);
    let (source, bytes) = session.host_with_bytes(12_345);
    let target = session.host(12_345);
    let (piece, checksum) = (piece(1), checksum(piece(1), &bytes));
    let stored = session.perform(Action::Store { source, piece, checksum, place: PLACE });
    if !session.can(operation::STORE) {
        assert_eq!(stored.status, Status::UNSUPPORTED);
        let extent = Extent::default();
        let load = Action::Load { extent, piece, checksum, target };
        assert_eq!(session.perform(load).status, Status::UNSUPPORTED);
        assert_eq!(session.perform(Action::Remove { extent }).status, Status::UNSUPPORTED);
        return;
    }
    assert_eq!((stored.status, stored.bytes), (Status::OK, 12_345));
    let extent = stored.extent;
    let load = Action::Load { extent, piece, checksum, target };
    let loaded = session.perform(load);
    assert_eq!((loaded.status, loaded.bytes), (Status::OK, 12_345));
    assert_eq!(session.bytes(target), bytes);
    assert_eq!(session.perform(Action::Remove { extent }).status, Status::OK);
    assert_eq!(session.perform(load).status, Status::NOT_FOUND);
    assert_eq!(session.perform(Action::Remove { extent }).status, Status::NOT_FOUND);
}

pub(crate) fn a_load_of_anything_but_the_very_piece_fails<S: Subject>() {
    let scratch = Scratch::new();
    let mut session = Session::open::<S>(&scratch);
    if !session.can(operation::STORE) {
        assert_eq!(session.capabilities().piece_bytes_max, 0);
        return;
    }
    let (source, bytes) = session.host_with_bytes(4096);
    let target = session.host(4096);
    let (piece, checksum) = (piece(1), checksum(piece(1), &bytes));
    let extent = session.perform(Action::Store { source, piece, checksum, place: PLACE }).extent;
    let shorter = cascade_tier::MemoryRange { length: 4095, ..target };
    let wrong = [
        Action::Load { extent, piece: PieceId { key: [2; 32], ..piece }, checksum, target },
        Action::Load { extent, piece: PieceId { rank: 9, ..piece }, checksum, target },
        Action::Load { extent, piece: PieceId { group: 9, ..piece }, checksum, target },
        Action::Load { extent, piece, checksum: checksum ^ 1, target },
        Action::Load { extent, piece, checksum, target: shorter },
    ];
    for load in wrong {
        assert_eq!(session.perform(load).status, Status::CORRUPT, "{load:?}");
    }
    // Stored under a checksum that its bytes do not have: what a bit that flipped on the way looks like.
    let extent =
        session.perform(Action::Store { source, piece, checksum: checksum ^ 1, place: PLACE }).extent;
    let load = Action::Load { extent, piece, checksum: checksum ^ 1, target };
    assert_eq!(session.perform(load).status, Status::CORRUPT);
}

pub(crate) fn many_pieces_keep_apart<S: Subject>() {
    let scratch = Scratch::new();
    let mut session = Session::open::<S>(&scratch);
    if !session.can(operation::STORE) {
        assert_eq!(session.capabilities().operations & (operation::LOAD | operation::REMOVE), 0);
        return;
    }
    let sources: Vec<_> =
        (0..64_u8).map(|number| (number, session.host_with_bytes(100 + 7 * u64::from(number)))).collect();
    let stores: Vec<_> = sources
        .iter()
        .map(|(number, (source, bytes))| {
            let checksum = checksum(piece(*number), bytes);
            session.operation(Action::Store {
                source: *source,
                piece: piece(*number),
                checksum,
                place: PLACE,
            })
        })
        .collect();
    let stored = session.run(&stores);
    for ((number, (source, bytes)), stored) in sources.iter().zip(stored) {
        let target = session.host(source.length);
        let checksum = checksum(piece(*number), bytes);
        let load = Action::Load { extent: stored.extent, piece: piece(*number), checksum, target };
        assert_eq!(session.perform(load).status, Status::OK);
        assert_eq!(session.bytes(target), bytes);
    }
}
