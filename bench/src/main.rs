//! Load generators, trace replay, reports.

fn main() {}
