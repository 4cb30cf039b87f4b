//! The shared-memory tier.
