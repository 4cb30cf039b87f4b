//! `cargo xtask bench engines`: Cascade in a real vLLM on this machine's processors, beside vLLM alone and its peers.
//!
//! The driver is Python (`bench/engines`), as vLLM is. Here it gets what it stands on: an environment with vLLM and the peers by
//! pins, the wheel of this checkout beside it, and the Rust program that calls of the Python client are compared with.

use std::env;
use std::time::Duration;

use crate::failure::{Context, Result};
use crate::peers;
use crate::process::Cmd;
use crate::tools;
use crate::venv::Venv;
use crate::wheel;
use crate::workspace::{self, Metadata};

/// The driver, and what it shares with the tests: nodes, servers and models, vLLM's tiering on a CPU.
const SOURCES: [&str; 4] = ["bench", "tests/python", "tests/python/engines", "tests/python/tier"];

/// A run takes about twelve minutes where nobody else is at work; this ends what hangs.
const LIMIT: Duration = Duration::from_secs(60 * 60);

/// The driver, ready to run; its own flags may follow. Errors: no Python, a failed installation or build.
pub(super) fn driver() -> Result<Cmd> {
    tools::python()?;
    let venv = Venv::pinned(peers::ENGINES, peers::ENGINES_PINS)?;
    let target = Metadata::read()?.target_directory;
    let folder = target.join("xtask/bench-engines");
    let site = folder.join("site");
    wheel::lay_beside(&wheel::build(&folder.join("wheel"))?, &site)?;
    Cmd::cargo().args(["build", "--release", "-p", "cascade-client", "--example", "get_latency"]).run()?;
    let sources = SOURCES.map(|source| workspace::root().join(source));
    let path = env::join_paths([site].into_iter().chain(sources)).context("the path of the checkout")?;
    let driver = venv.run("python").env("PYTHONPATH", path).env("PYTHONDONTWRITEBYTECODE", "1");
    let driver = driver.args(["-m", "engines", "--folder"]).arg(folder.join("run"));
    Ok(driver.arg("--rust").arg(target.join("release/examples/get_latency")).limit(LIMIT))
}
