//! HDF5 by h5py: a file, in memory when hot, on the disk when cold.

use super::python::{self, Wanted};
use super::{Setting, Started};
use std::error::Error;

/// A dataset for each block, and all blocks as the chunks of one.
pub(super) const VARIANTS: [&str; 2] = ["datasets", "chunks"];

const INSTALL: &str =
    "pip install h5py (and name that Python with --hdf5-python), or cargo xtask bench compare";

/// Opens the file.
pub(super) fn start(setting: &Setting, variant: &str) -> Result<Started, Box<dyn Error>> {
    let python = &setting.programs.hdf5_python;
    python::start(setting, &Wanted { python, peer: "hdf5", variant, install: INSTALL })
}
