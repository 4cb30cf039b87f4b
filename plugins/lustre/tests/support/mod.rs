//! What the tests of the file-system tier share: a scratch folder, and a host that stores, loads and listens.

#![allow(dead_code, reason = "each test file uses its part")]

#[cfg(feature = "faults")]
mod faulty;
mod host;
mod scratch;

#[cfg(feature = "faults")]
#[allow(unused_imports, reason = "each test file uses its part")]
pub(crate) use faulty::faulty_library;
pub(crate) use host::{Host, Piece, piece};
pub(crate) use scratch::Scratch;

use serde_json::{Value, json};
use std::path::Path;

pub(crate) const KIB: u64 = 1 << 10;
pub(crate) const MIB: u64 = 1 << 20;

/// A configuration with small containers and short pauses.
pub(crate) fn config(directory: &Path) -> Value {
    json!({
        "directory": directory,
        "capacity_bytes": 256 * MIB,
        "container_bytes": MIB,
        "refresh_ms": 5,
        "grace_ms": 50,
        "claim_expiry_ms": 1000,
        "queue_depth": 4,
    })
}

/// A configuration with other values for some fields.
pub(crate) fn with(mut config: Value, fields: Value) -> Value {
    for (name, value) in fields.as_object().expect("fields") {
        config[name] = value.clone();
    }
    config
}

/// Numbers that a seed decides (SplitMix64: Steele, Lea and Flood, 2014).
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn bytes(&mut self, length: u64) -> Vec<u8> {
        let words = (0..length.div_ceil(8)).flat_map(|_| self.next().to_le_bytes());
        words.take(length as usize).collect()
    }
}
