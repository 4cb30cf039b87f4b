//! When the interpreter is let go while bytes move.
//!
//! Detaching lets other threads of Python run, and costs a wait for them at the end: up to their switch interval, 5 ms
//! by default. A copy that is over sooner than another thread wakes up is made attached.

use pyo3::prelude::*;

/// The shortest copy that is made detached: about ten microseconds of work.
const COPY_BYTES: usize = 128 << 10;
/// The shortest walk over a chain that is made detached: some tens of microseconds.
const WALK_PIECES: usize = 1024;

/// Runs `copy`, which moves `bytes`.
pub(crate) fn copying<T: Send>(py: Python<'_>, bytes: usize, copy: impl FnOnce() -> T + Send) -> T {
    if bytes < COPY_BYTES { copy() } else { py.detach(copy) }
}

/// Runs `walk`, which looks at `pieces`.
pub(crate) fn walking<T: Send>(py: Python<'_>, pieces: usize, walk: impl FnOnce() -> T + Send) -> T {
    if pieces < WALK_PIECES { walk() } else { py.detach(walk) }
}
