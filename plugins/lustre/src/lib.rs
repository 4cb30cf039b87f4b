//! The file-system tier: pieces in containers on Lustre or any POSIX file system.

#[cfg(not(target_os = "linux"))]
compile_error!("Cascade runs on Linux only");

pub mod format;
pub mod io;
