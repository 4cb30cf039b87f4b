//! One-pass copies that carry their checksum.
