//! The Cascade node: the daemon that owns a machine's segment, and its command line.
//!
//! The library exists so that tests and tools can reach what `main.rs` runs; [`cli::main`] is the whole program.

#[cfg(not(target_os = "linux"))]
compile_error!(
    "Cascade runs on Linux only: it needs /dev/shm, eventfd, pidfd and OFD locks. Build it in a Linux machine or container."
);

pub mod cli;
pub mod config;
pub mod doctor;
pub mod engine;
pub mod logging;
mod signal;
