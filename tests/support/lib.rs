//! What the tests with real processes share: nodes, clients, and bytes that tell whose they are.
//!
//! Invariants: every node has an instance of its own; what a test starts ends with it, also when it panics; nothing here
//! asserts on time, bounds on waiting only keep a hung test from hanging for ever.

pub mod actor;
pub mod content;
pub mod flips;
pub mod load;
pub mod node;
pub mod player;
pub mod programs;
pub mod raw;
pub mod sandbox;
pub mod scratch;
pub mod seed;
pub mod wait;

pub use actor::Actor;
pub use node::{Node, Setup};
pub use raw::RawClient;
pub use scratch::Scratch;
pub use seed::Seed;
pub use wait::until;
