//! What is stored: one rank's, one KV group's share of a block, and the checksum that seals it.

use crate::checksum::Crc32c;
use crate::key::BlockKey;

/// The name of a piece: which block, which rank, which KV group.
#[doc(alias = "shard")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PieceId {
    /// The block.
    pub key: BlockKey,
    /// Tensor-parallel rank that computed the piece.
    pub rank: u16,
    /// KV group (layers that share a cache shape).
    pub group: u16,
}

impl PieceId {
    /// The only piece of a block: rank 0, group 0.
    pub const fn sole(key: BlockKey) -> Self {
        Self { key, rank: 0, group: 0 }
    }

    /// The piece that describes a namespace, under the root of its chains: no rank and no group have it otherwise.
    pub const fn description(root: BlockKey) -> Self {
        Self { key: root, rank: u16::MAX, group: u16::MAX }
    }

    /// A 64-bit hash that spreads pieces over the index; `seed` differs from segment to segment.
    pub fn hash(&self, seed: u64) -> u64 {
        let words = self.key.to_words();
        let lane = (u64::from(self.rank) << 16) | u64::from(self.group);
        mix(words[0] ^ seed ^ mix(words[1].wrapping_add(lane.wrapping_mul(0x9e37_79b9_7f4a_7c15))))
    }
}

/// The finalizer of MurmurHash3: every input bit reaches every output bit.
const fn mix(mut x: u64) -> u64 {
    x ^= x >> 33;
    x = x.wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^= x >> 33;
    x = x.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}

/// Everything about a piece but its bytes: what a slot line or a record says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PieceMeta {
    /// The name.
    pub id: PieceId,
    /// Bytes of the piece.
    pub len_bytes: u64,
    /// CRC32C over [`seal`] and the bytes.
    pub checksum: u32,
    /// Blocks between this one and the root of its chain.
    pub depth: u32,
}

/// The state of a piece's checksum before its first byte: key, rank, group and length are part of what is verified,
/// so bytes that belong to another name never pass.
pub fn seal(id: &PieceId, len_bytes: u64) -> Crc32c {
    let mut header = [0u8; 44];
    header[..32].copy_from_slice(id.key.as_bytes());
    header[32..34].copy_from_slice(&id.rank.to_le_bytes());
    header[34..36].copy_from_slice(&id.group.to_le_bytes());
    header[36..44].copy_from_slice(&len_bytes.to_le_bytes());
    Crc32c::EMPTY.update(&header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seal_tells_names_and_lengths_apart() {
        let id = PieceId::sole(BlockKey::from_bytes([7; 32]));
        let base = seal(&id, 4096);
        assert_ne!(base, seal(&PieceId { rank: 1, ..id }, 4096));
        assert_ne!(base, seal(&PieceId { group: 1, ..id }, 4096));
        assert_ne!(base, seal(&PieceId { key: BlockKey::ROOT, ..id }, 4096));
        assert_ne!(base, seal(&id, 4097));
    }

    #[test]
    fn ranks_and_groups_hash_apart() {
        let id = PieceId::sole(BlockKey::from_bytes([7; 32]));
        assert_ne!(id.hash(1), PieceId { rank: 1, ..id }.hash(1));
        assert_ne!(id.hash(1), PieceId { group: 1, ..id }.hash(1));
        assert_ne!(id.hash(1), id.hash(2));
    }
}
