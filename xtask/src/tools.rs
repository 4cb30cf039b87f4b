//! Tools that a fresh machine lacks: looked for, installed where we may, else answered with a reason to skip.
//!
//! Cargo tools go to a cache of the user's (`$XDG_CACHE_HOME/cascade-xtask`), never into his own cargo folder; packages of
//! the distribution are installed only by root.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::process::Cmd;

/// A tool is there, or why it cannot be.
pub(crate) type Available = std::result::Result<(), String>;

/// PATH with our cache of tools at its end: what the user installed himself comes first.
pub(crate) fn search_path() -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain([cache().join("bin")]);
    // A folder with a colon in its name cannot be in a PATH; then the cache is not used, and nothing else breaks.
    env::join_paths(folders).unwrap_or(path)
}

/// Sees to it that `cargo <name>` runs. Built from source when absent: minutes, once a machine.
pub(crate) fn cargo_tool(name: &str, version: &str) -> Available {
    if Cmd::cargo().args([name, "--version"]).succeeds() {
        return Ok(());
    }
    let tool = format!("cargo-{name}");
    eprintln!("{tool} is not installed: building it from source takes a few minutes, once");
    Cmd::cargo()
        .args(["install", "--quiet", "--locked", &tool, "--version", version, "--root"])
        .arg(cache())
        .run()
        .map_err(|failure| format!("{tool} could not be installed: {failure}"))
}

/// Sees to it that the toolchain can build for a target.
pub(crate) fn rust_target(target: &str) -> Available {
    let installed =
        Cmd::new("rustup").args(["target", "list", "--installed"]).capture().map_err(|f| f.to_string())?;
    if installed.lines().any(|line| line.trim() == target) {
        return Ok(());
    }
    Cmd::new("rustup").args(["target", "add", target]).run().map_err(|failure| failure.to_string())
}

/// Sees to it that the nightly toolchain has a component.
pub(crate) fn nightly_component(component: &str) -> Available {
    let list = ["component", "list", "--toolchain", "nightly", "--installed"];
    let installed = Cmd::new("rustup").args(list).capture().map_err(|_| "no nightly toolchain".to_owned())?;
    // Components are listed with their host: `miri-x86_64-unknown-linux-gnu`.
    if installed.lines().any(|line| line.trim().starts_with(component)) {
        return Ok(());
    }
    let add = ["component", "add", "--toolchain", "nightly", component];
    Cmd::new("rustup").args(add).run().map_err(|failure| failure.to_string())
}

/// Sees to it that a program is there, from a Debian package when it is not.
pub(crate) fn program(name: &str, package: &str) -> Available {
    if Cmd::new(name).arg("--version").succeeds() { Ok(()) } else { install(name, package) }
}

/// Sees to it that there is a Python that can make virtual environments.
pub(crate) fn python() -> Available {
    program("python3", "python3")?;
    // Debian cuts it out of its Python: `venv` is there then, and fails.
    if Cmd::new("python3").args(["-c", "import ensurepip, venv"]).succeeds() {
        return Ok(());
    }
    install("python3 -m venv", "python3-venv")
}

/// Sees to it that a file is there, from a Debian package when it is not.
pub(crate) fn file(path: &str, package: &str) -> Available {
    if Path::new(path).exists() { Ok(()) } else { install(path, package) }
}

fn install(missing: &str, package: &str) -> Available {
    if !rustix::process::geteuid().is_root() || !Cmd::new("apt-get").arg("--version").succeeds() {
        return Err(format!("{missing} is not there; install the package {package}"));
    }
    let install = || {
        let args = ["install", "--yes", "-qq", "--no-install-recommends", package];
        Cmd::new("apt-get").args(args).env("DEBIAN_FRONTEND", "noninteractive").run()
    };
    // A fresh image has no package lists; an old one has lists of packages that are gone.
    install()
        .or_else(|_| Cmd::new("apt-get").args(["update", "-qq"]).run().and_then(|()| install()))
        .map_err(|failure| format!("{package} could not be installed: {failure}"))
}

/// Where tools and environments of ours lie, beside nothing of the user's.
pub(crate) fn cache() -> PathBuf {
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let base = base.or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    base.unwrap_or_else(env::temp_dir).join("cascade-xtask")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tool_cache_comes_last_in_the_search_path() {
        let path = search_path();
        let last = env::split_paths(&path).last().expect("a folder");
        assert!(last.ends_with("cascade-xtask/bin"), "{}", last.display());
    }

    #[test]
    fn a_program_that_is_there_is_available() {
        assert_eq!(program("ls", "coreutils"), Ok(()));
    }
}
