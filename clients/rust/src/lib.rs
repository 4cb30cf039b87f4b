//! The Rust client of a Cascade node: a hit without a system call.
//!
//! A [`Client`] maps the node's memory once. From then on a get is a lookup in the shared index, a hazard pointer, and a
//! copy that verifies itself; a put is a slot taken from those handed out ahead, a copy, and an entry in a ring. The node
//! is asked only when there is no slot at hand or when lower tiers come in, and no call outlives its [`Deadline`].
//!
//! What get, put, match, pin and hold promise stands in `core/docs/semantics.md`.
//!
//! ```no_run
//! use cascade_client::{Client, Deadline, Lineage, Lookup, PieceId, Share};
//! use cascade_core::key::{Namespace, chain};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), cascade_client::Error> {
//! let deadline = Deadline::after(Duration::from_secs(1));
//! let client = Client::connect(deadline)?;
//! let namespace = Namespace { model: "llama".into(), block_tokens: 16, ..Namespace::default() };
//! let _ = client.describe(&namespace, deadline)?;
//! let root = namespace.root();
//! let keys: Vec<_> = chain(root, 16, &[7; 64]).collect();
//!
//! // What is in memory, or can be brought there within a millisecond, need not be computed.
//! let promotion = client.promote(&keys, &[Share::default()], Deadline::after(Duration::from_millis(1)))?;
//! for (i, key) in keys.iter().enumerate().skip(promotion.blocks()) {
//!     let _ = client.put(&PieceId::sole(*key), Lineage::in_chain(root, &keys, i), &[1; 4096], deadline)?;
//! }
//! let mut block = [0; 4096];
//! assert_eq!(client.get_into(&PieceId::sole(keys[0]), &mut block)?, Lookup::Hit(4096));
//! # Ok(())
//! # }
//! ```
//!
//! Layers, outermost first: verbs (`read`, `chain`, `locate`, `promote`, `within`, `write`, `fill`, `discard`, `namespace`,
//! `pending`), the handle that finds its node again (`client`, `sleep`, `socket`), the book of one attachment (`attachment`,
//! `claim`, `outbox`, `inquiry`, `questions`, `tickets`, `cells`), and the mapped memory (`mapping`), where all `unsafe` is
//! that is not a call into it, but for one socket option (`socket`).

#[cfg(not(target_os = "linux"))]
compile_error!("Cascade runs on Linux only: it needs eventfd, OFD locks and MADV_WIPEONFORK");

mod attachment;
mod cells;
mod chain;
mod claim;
mod client;
mod deadline;
mod discard;
mod error;
mod fill;
mod inquiry;
mod locate;
mod mapping;
mod namespace;
mod outbox;
mod outcome;
mod pending;
mod promote;
mod questions;
mod read;
mod sleep;
mod socket;
mod stats;
mod tickets;
mod within;
mod write;

pub use cascade_core::chain::Located;
pub use cascade_core::key::{BlockKey, Namespace};
pub use cascade_core::piece::PieceId;
pub use cascade_core::request::Verdict;
pub use cascade_core::rule::{Rule, Share};
pub use chain::Hold;
pub use client::{Client, query, sockets};
pub use deadline::Deadline;
pub use error::Error;
pub use fill::{Fill, Uncommitted};
pub use locate::Locating;
pub use outcome::{Committed, Lineage, Lookup, Reason, Refusal, Reserved, Stored};
pub use pending::Pending;
pub use promote::{Promoting, Promotion};
pub use read::View;
pub use stats::Stats;
pub use write::Item;
