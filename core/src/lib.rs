//! Cascade's machines.
//!
//! Everything here acts on nothing: no I/O, no clock, no threads. A machine takes an event (with time in it) and
//! returns what to do, so that the node, the simulator, proptest, loom and the fuzzer run the same code. What is
//! concurrent is written over slices of atomic words, so that loom checks the very code that runs over mapped memory.
//!
//! The way of a get: [`key`] names the block, [`index`] finds its slot, [`hazard`] pins it, [`slot`] tells what the
//! slot holds, [`copy`] moves the bytes and verifies them.
#![no_std]

extern crate alloc;

#[cfg(any(test, loom))]
extern crate std;

pub mod arena;
pub mod bell;
pub mod breaker;
pub mod catalog;
pub mod chain;
pub mod checksum;
pub mod copy;
pub mod flow;
pub mod governor;
pub mod grant;
pub mod hazard;
pub mod index;
pub mod key;
pub mod margin;
mod numbers;
pub mod pace;
pub mod page;
pub mod piece;
pub mod place;
pub mod policy;
pub mod request;
pub mod residency;
pub mod ring;
pub mod rule;
pub mod segment;
pub mod slot;
pub mod stored;
pub mod sync;
pub mod tally;
pub mod touch;
pub mod view;
pub mod wire;
