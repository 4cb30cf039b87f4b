//! The Cascade node.
