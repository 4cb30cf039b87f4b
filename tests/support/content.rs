//! Pieces by number: name, place in a chain, length and bytes all follow from it, so whoever reads a piece in whatever
//! process knows what must be in it.
//!
//! Pieces `CHAIN × n ..` of a number's row of [`CHAIN`] make one chain. Lengths are powers of two, so slots hold no waste
//! and a test can account for every byte of an arena.

use cascade_client::{BlockKey, Lineage, PieceId};
use cascade_core::key::block_key;

use crate::seed::Seed;

/// Pieces of a chain.
pub const CHAIN: u64 = 8;
/// The longest piece.
pub const LEN_MAX_BYTES: usize = 64 << 10;

/// The key of a piece.
pub fn key(number: u64) -> BlockKey {
    block_key(&BlockKey::ROOT, &[number as u32, (number >> 32) as u32])
}

/// The name of a piece.
pub fn piece(number: u64) -> PieceId {
    PieceId::sole(key(number))
}

/// The place of a piece in its chain.
pub fn lineage(number: u64) -> Lineage {
    let depth = number % CHAIN;
    let parent = if depth == 0 { BlockKey::ROOT } else { key(number - 1) };
    Lineage { parent, depth: depth as u32 }
}

/// The keys of the chain that a piece is in, up to and including it.
pub fn chain_to(number: u64) -> Vec<BlockKey> {
    (number - number % CHAIN..=number).map(key).collect()
}

/// Bytes of a piece: 4 KiB to [`LEN_MAX_BYTES`].
pub fn len_bytes(number: u64) -> usize {
    4096 << (Seed::new(number).next_u64() % 5)
}

/// Pieces as long as `like`, numbered from `start` on: what competes with it for slots.
pub fn twins(like: u64, start: u64) -> impl Iterator<Item = u64> {
    (start..).filter(move |&number| len_bytes(number) == len_bytes(like))
}

/// The bytes of a piece.
pub fn bytes(number: u64) -> Vec<u8> {
    let mut bytes = vec![0; len_bytes(number)];
    write(number, &mut bytes);
    bytes
}

/// Writes the bytes of a piece, as far as there is room.
pub fn write(number: u64, target: &mut [u8]) {
    let mut seed = Seed::new(!number);
    for word in target.chunks_mut(8) {
        word.copy_from_slice(&seed.next_u64().to_le_bytes()[..word.len()]);
    }
}

/// Whether these are the bytes of the piece, all of them and no others.
pub fn is_right(number: u64, found: &[u8]) -> bool {
    let mut seed = Seed::new(!number);
    found.len() == len_bytes(number)
        && found.chunks(8).all(|word| word == &seed.next_u64().to_le_bytes()[..word.len()])
}
