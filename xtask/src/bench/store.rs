//! `cargo xtask bench store`: the engines of the file-system tier beside fio, on the file system that `target` lies on.
//!
//! What measures is an example of the tier, so that fio's figures and ours come from one program and one run. Another folder:
//! `cargo xtask bench store -- --directory DIR`, which must be private.

use crate::failure::Result;
use crate::process::Cmd;
use crate::tools;
use crate::workspace::Metadata;

/// The tier's program beside fio; its own flags may follow. Errors: fio is not to be had, a failed build.
pub(super) fn driver(rest: &[String]) -> Result<Cmd> {
    tools::program("fio", "fio")?;
    let target = Metadata::read()?.target_directory;
    Cmd::cargo().args(["build", "--release", "-p", "cascade-tier-lustre", "--example", "io_speed"]).run()?;
    let driver = Cmd::new(target.join("release/examples/io_speed"));
    let named = rest.iter().any(|flag| flag.starts_with("--directory"));
    Ok(if named { driver } else { driver.arg("--directory").arg(target.join("xtask/bench-store")) })
}
