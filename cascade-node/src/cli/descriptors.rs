//! How many descriptors the node may have: as many as this user may, for each client costs three.
//!
//! The command that the node runs around gets the limit back that it would have had: programs that still use `select`
//! break on descriptors above 1023.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard one; returns what it was.
pub(super) fn raise() -> Rlimit {
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: before.maximum, maximum: before.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "cannot raise the limit of open files; fewer clients fit");
    }
    before
}

/// Starts `command` with this limit.
pub(super) fn restore_in(command: &mut Command, before: Rlimit) {
    // SAFETY: between fork and exec only `setrlimit` runs, which is a bare system call.
    unsafe {
        command.pre_exec(move || setrlimit(Resource::Nofile, before).map_err(io::Error::from));
    }
}
