//! Cascade's machines.
//!
//! Everything here acts on nothing: no I/O, no clock, no threads. A machine takes an event (with time in it) and
//! returns what to do, so that the node, the simulator, proptest, loom and the fuzzer run the same code.
#![no_std]

extern crate alloc;

#[cfg(test)]
extern crate std;

pub mod copy;
pub mod policy;
