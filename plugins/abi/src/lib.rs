//! The C ABI between a Cascade node and its tiers.
