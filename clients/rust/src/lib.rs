//! The Rust client of a Cascade node.
