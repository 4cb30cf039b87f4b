//! Eviction policies.
