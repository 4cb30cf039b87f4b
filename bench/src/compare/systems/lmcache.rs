//! LMCache's own storage backends: the one in memory when hot, the one on the local disk when cold.

use super::python::{self, Wanted};
use super::{Setting, Started};
use std::error::Error;

const INSTALL: &str =
    "pip install lmcache torch (and name that Python with --lmcache-python), or cargo xtask bench compare";

/// Makes the backend.
pub(super) fn start(setting: &Setting) -> Result<Started, Box<dyn Error>> {
    let python = &setting.programs.lmcache_python;
    python::start(setting, &Wanted { python, peer: "lmcache", variant: "", install: INSTALL })
}
