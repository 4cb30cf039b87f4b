//! The systems that Cascade is compared with: what of them this machine has, or can be given.

use std::path::PathBuf;

use crate::tools::{self, Available};
use crate::venv::Venv;

/// HDF5 alone: small, for the tests.
const HDF5_PINS: &str = "bench/peers/requirements.txt";
/// What `bench engines` runs in; LMCache is in it, with the torch that it wants.
pub(crate) const ENGINES_PINS: &str = "bench/engines/requirements.txt";
pub(crate) const ENGINES: &str = "bench-engines";

/// Sees to it that Redis' server is in PATH.
pub(crate) fn redis() -> Available {
    tools::program("redis-server", "redis-server")
}

/// An interpreter that has h5py.
pub(crate) fn hdf5() -> std::result::Result<PathBuf, String> {
    python("peers", HDF5_PINS)
}

/// An interpreter that has LMCache: gigabytes, once a machine.
pub(crate) fn lmcache() -> std::result::Result<PathBuf, String> {
    python(ENGINES, ENGINES_PINS)
}

fn python(name: &str, pins: &str) -> std::result::Result<PathBuf, String> {
    tools::python()?;
    Venv::pinned(name, pins).map(|venv| venv.python()).map_err(|failure| failure.to_string())
}
