//! Every verb that a developer or CI needs.

fn main() {}
