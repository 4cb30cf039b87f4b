//! The top level of the repository is a closed list: a reader finds the map there, and nothing that is not on it.

use std::collections::BTreeSet;

use super::Done;
use crate::failure::Result;
use crate::process::Cmd;

/// What must be there.
const REQUIRED: [&str; 24] = [
    ".ci/run",
    ".github/workflows/ci.yml",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "bench/Cargo.toml",
    "cascade-node/Cargo.toml",
    "cascade-node/profiles/laptop.toml",
    "clients/rust/Cargo.toml",
    "core/Cargo.toml",
    "deny.toml",
    "fuzz/Cargo.toml",
    "plugins/abi/Cargo.toml",
    "plugins/shm/Cargo.toml",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "tests/Cargo.toml",
    "xtask/Cargo.toml",
];

/// What may be there besides.
const ALLOWED: [&str; 1] = [".cargo"];

pub(super) fn check() -> Result<Done> {
    // What git would commit: build outputs and ignored files are nobody's business.
    let files = Cmd::new("git").args(["ls-files", "--cached", "--others", "--exclude-standard"]).capture()?;
    match complaints(files.lines()).as_slice() {
        [] => Ok(Done::Passed),
        complaints => Err(complaints.join("; ").into()),
    }
}

fn complaints<'a>(files: impl Iterator<Item = &'a str>) -> Vec<String> {
    let files: BTreeSet<&str> = files.collect();
    let top = |path: &'a str| path.split('/').next().expect("a split has a first part");
    let known: BTreeSet<&str> = REQUIRED.iter().chain(&ALLOWED).map(|path| top(path)).collect();
    let missing =
        REQUIRED.iter().filter(|path| !files.contains(**path)).map(|path| format!("{path} is missing"));
    let present: BTreeSet<&str> = files.iter().map(|path| top(path)).collect();
    let unknown = present.difference(&known).map(|name| format!("{name} is not on the map of the top level"));
    missing.chain(unknown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_required_files_satisfy() {
        assert_eq!(complaints(REQUIRED.into_iter()), [""; 0]);
    }

    #[test]
    fn a_missing_file_and_a_stray_one_are_named() {
        let files = REQUIRED.into_iter().filter(|path| *path != "deny.toml").chain(["scratch/notes.txt"]);
        let expected = ["deny.toml is missing", "scratch is not on the map of the top level"];
        assert_eq!(complaints(files), expected);
    }
}
