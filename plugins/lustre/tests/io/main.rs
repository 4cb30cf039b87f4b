//! Engines and directories on real file systems.

mod directory;
mod engines;
#[cfg(feature = "faults")]
mod faulty;
mod sandbox;
mod support;
