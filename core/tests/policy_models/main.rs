//! Policies against plain models of themselves. W-TinyLFU has none: its sketch is an estimate by design.

mod arc;
mod game;
mod lru;
mod s3fifo;
