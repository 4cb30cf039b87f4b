//! Names of blocks: BLAKE3 over a canonical, length-prefixed encoding.
//!
//! A [`Namespace`] holds every field that changes the bytes of a KV block; its digest is the root of all chains in
//! it, and names the block under which the namespace describes itself. The key of a block is `H(parent key, tokens of the block)`, so equal keys mean equal prefixes in equal
//! namespaces. Rank and KV group are not hashed: one chain serves all of them. Deterministic across processes,
//! languages and machines; pinned by `tests/formats`.

use alloc::format;
use alloc::string::{String, ToString as _};
use core::fmt::{self, Write as _};

const NAMESPACE_CONTEXT: &str = "cascade 2026 namespace v1";
const BLOCK_CONTEXT: &str = "cascade 2026 block v1";
const WRAPPED_CONTEXT: &str = "cascade 2026 engine hash v1";

/// A 32-byte digest that names a block by namespace and whole prefix.
#[doc(alias = "block hash")]
#[doc(alias = "sequence hash")]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockKey([u8; 32]);

impl BlockKey {
    /// The key that is no key: the parent of a chain's first block.
    pub const ROOT: BlockKey = BlockKey([0; 32]);

    /// A key from its bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes of the key.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key as four little-endian words, as slot lines hold it.
    pub fn to_words(self) -> [u64; 4] {
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(self.0.chunks_exact(8)) {
            *word = u64::from_le_bytes(bytes.try_into().expect("chunks of eight"));
        }
        words
    }

    /// The inverse of [`BlockKey::to_words`].
    pub fn from_words(words: [u64; 4]) -> Self {
        let mut bytes = [0; 32];
        for (bytes, word) in bytes.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        Self(bytes)
    }

    /// The first eight bytes as a word: enough to tell blocks apart where a collision costs no more than a hit.
    pub fn fingerprint(&self) -> u64 {
        self.to_words()[0]
    }

    /// Parses 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |c: u8| (c as char).to_digit(16);
            *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for BlockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for BlockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockKey({:02x}{:02x}{:02x}{:02x}…)", self.0[0], self.0[1], self.0[2], self.0[3])
    }
}

/// Every field that changes the bytes of a KV block. Two engines share blocks exactly when all fields agree.
#[doc(alias = "cache_salt")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespace {
    /// Name of the model.
    pub model: String,
    /// Revision of the model.
    pub revision: String,
    /// Fingerprint of the weights and the configuration: altered weights under an old name are another namespace.
    pub weights_fingerprint: [u8; 32],
    /// Type of the KV elements.
    pub dtype: String,
    /// Layout of a block in memory.
    pub layout: String,
    /// Tokens of one block.
    pub block_tokens: u32,
    /// Tensor-parallel size.
    pub tensor_parallel: u16,
    /// Pipeline-parallel size.
    pub pipeline_parallel: u16,
    /// LoRA adapter, empty for none.
    pub lora: String,
    /// Salt of the tenant, from the node's configuration or the authenticated peer, never from a request alone.
    pub tenant_salt: String,
}

impl Namespace {
    /// The digest that the chains of this namespace start from.
    pub fn root(&self) -> BlockKey {
        let mut hasher = blake3::Hasher::new_derive_key(NAMESPACE_CONTEXT);
        let mut field = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        field(self.model.as_bytes());
        field(self.revision.as_bytes());
        field(&self.weights_fingerprint);
        field(self.dtype.as_bytes());
        field(self.layout.as_bytes());
        field(&self.block_tokens.to_le_bytes());
        field(&self.tensor_parallel.to_le_bytes());
        field(&self.pipeline_parallel.to_le_bytes());
        field(self.lora.as_bytes());
        field(self.tenant_salt.as_bytes());
        BlockKey(*hasher.finalize().as_bytes())
    }

    /// The namespace as people and programs read it, one JSON object: what is put as the piece
    /// [`PieceId::description`](crate::piece::PieceId::description) of its root. Pinned by `tests/formats`.
    pub fn description(&self) -> String {
        let mut text = format!("{{\"cascade\":{DESCRIPTION_VERSION}");
        let mut field = |name: &str, value: &dyn fmt::Display| {
            let _ = write!(text, ",\"{name}\":{value}");
        };
        field("model", &Quoted(&self.model));
        field("revision", &Quoted(&self.revision));
        field("weights_fingerprint", &Quoted(&BlockKey(self.weights_fingerprint).to_string()));
        field("dtype", &Quoted(&self.dtype));
        field("layout", &Quoted(&self.layout));
        field("block_tokens", &self.block_tokens);
        field("tensor_parallel", &self.tensor_parallel);
        field("pipeline_parallel", &self.pipeline_parallel);
        field("lora", &Quoted(&self.lora));
        field("tenant", &Quoted(&self.tenant_salt));
        text.push('}');
        text
    }
}

/// Version of the fields of [`Namespace::description`].
const DESCRIPTION_VERSION: u32 = 1;

/// A text as JSON has it.
struct Quoted<'t>(&'t str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if c < ' ' => write!(f, "\\u{:04x}", c as u32)?,
                c => f.write_char(c)?,
            }
        }
        f.write_char('"')
    }
}

/// The key of the block that holds `tokens` after `parent` ([`Namespace::root`] for the first block).
pub fn block_key(parent: &BlockKey, tokens: &[u32]) -> BlockKey {
    let mut hasher = blake3::Hasher::new_derive_key(BLOCK_CONTEXT);
    hasher.update(&parent.0);
    hasher.update(&(tokens.len() as u64).to_le_bytes());
    for token in tokens {
        hasher.update(&token.to_le_bytes());
    }
    BlockKey(*hasher.finalize().as_bytes())
}

/// The key for an engine's own strong block hash, wrapped in the namespace.
///
/// The engine's hash must itself name the whole prefix (vLLM's sha256 block hashes do).
pub fn wrapped_key(root: &BlockKey, engine_hash: &[u8]) -> BlockKey {
    let mut hasher = blake3::Hasher::new_derive_key(WRAPPED_CONTEXT);
    hasher.update(&root.0);
    hasher.update(&(engine_hash.len() as u64).to_le_bytes());
    hasher.update(engine_hash);
    BlockKey(*hasher.finalize().as_bytes())
}

/// The keys of one token sequence, each made from its parent's.
///
/// Partial blocks have no key: tokens past the last whole block are left out.
///
/// ```
/// use cascade_core::key::{chain, Namespace};
/// let root = Namespace { model: "llama".into(), block_tokens: 2, ..Namespace::default() }.root();
/// let keys: Vec<_> = chain(root, 2, &[1, 2, 3, 4, 5]).collect();
/// assert_eq!(keys.len(), 2);
/// assert_eq!(keys[0], chain(root, 2, &[1, 2]).next().unwrap());
/// ```
#[doc(alias = "radix path")]
pub fn chain(root: BlockKey, block_tokens: usize, tokens: &[u32]) -> impl Iterator<Item = BlockKey> + '_ {
    tokens.chunks_exact(block_tokens).scan(root, |parent, tokens| {
        *parent = block_key(parent, tokens);
        Some(*parent)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;
    use std::vec::Vec;

    #[test]
    fn a_key_survives_words_and_hex() {
        let key = block_key(&BlockKey::ROOT, &[1, 2, 3]);
        assert_eq!(BlockKey::from_words(key.to_words()), key);
        assert_eq!(BlockKey::from_hex(&key.to_string()), Some(key));
        assert_eq!(BlockKey::from_hex("zz"), None);
        assert_eq!(BlockKey::from_hex(&"g".repeat(64)), None);
    }

    #[test]
    fn every_field_of_a_namespace_changes_its_root() {
        let base = Namespace::default;
        let variants = [
            base(),
            Namespace { model: "m".into(), ..base() },
            Namespace { revision: "m".into(), ..base() },
            Namespace { weights_fingerprint: [1; 32], ..base() },
            Namespace { dtype: "m".into(), ..base() },
            Namespace { layout: "m".into(), ..base() },
            Namespace { block_tokens: 1, ..base() },
            Namespace { tensor_parallel: 1, ..base() },
            Namespace { pipeline_parallel: 1, ..base() },
            Namespace { lora: "m".into(), ..base() },
            Namespace { tenant_salt: "m".into(), ..base() },
        ];
        let mut roots: Vec<_> = variants.iter().map(Namespace::root).collect();
        roots.sort();
        roots.dedup();
        assert_eq!(roots.len(), variants.len());
    }

    #[test]
    fn a_chain_depends_on_its_whole_prefix() {
        let a: Vec<_> = chain(BlockKey::ROOT, 2, &[1, 2, 3, 4]).collect();
        let b: Vec<_> = chain(BlockKey::ROOT, 2, &[9, 2, 3, 4]).collect();
        assert_ne!(a[0], b[0]);
        assert_ne!(a[1], b[1]);
        assert_ne!(wrapped_key(&a[0], b"x"), wrapped_key(&b[0], b"x"));
    }
}
