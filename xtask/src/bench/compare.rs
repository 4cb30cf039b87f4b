//! `cargo xtask bench compare`: Cascade beside the real Redis, HDF5 and LMCache, which are installed where that is possible.
//!
//! What cannot be installed is left to cascade-bench, which shows it as absent with its own reason.

use std::path::{Path, PathBuf};

use crate::failure::Result;
use crate::peers;
use crate::process::Cmd;

/// Adds what the systems asked for need; `bench` is `cascade-bench compare`, `rest` what will be handed on to it.
pub(super) fn with_peers(bench: Cmd, rest: &[String]) -> Cmd {
    // They would lead an environment of ours astray.
    let mut bench = bench.without("PYTHONHOME").without("PYTHONPATH").without("VIRTUAL_ENV");
    if asked_for("redis", rest) {
        // Where it is in PATH, nothing is to be added.
        said(peers::redis().map(|()| PathBuf::new()));
    }
    for (system, option, python) in [
        ("hdf5", "--hdf5-python", peers::hdf5 as fn() -> std::result::Result<PathBuf, String>),
        ("lmcache", "--lmcache-python", peers::lmcache),
    ] {
        // Who names an interpreter has his own.
        let wanted = asked_for(system, rest) && !rest.iter().any(|word| word.starts_with(option));
        if let Some(python) = wanted.then(|| said(python())).flatten() {
            bench = bench.arg(option).arg(python);
        }
    }
    bench
}

/// Table and chart of a kept run, beside it.
pub(super) fn report(program: PathBuf, kept: &Path) -> Result {
    Cmd::new(program).arg("report").arg(kept).run()
}

fn said<T>(available: std::result::Result<T, String>) -> Option<T> {
    available.map_err(|why| eprintln!("absent: {why}")).ok()
}

/// Whether the command line that is handed on asks for a system; without a word it asks for all.
fn asked_for(system: &str, rest: &[String]) -> bool {
    const OPTION: &str = "--systems";
    let apart = rest.windows(2).find(|words| words[0] == OPTION).map(|words| words[1].as_str());
    let joined = rest.iter().find_map(|word| word.strip_prefix(OPTION)?.strip_prefix('='));
    apart.or(joined).is_none_or(|names| names.split(',').any(|name| name == system))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn all_systems_are_asked_for_unless_some_are_named() {
        assert!(asked_for("lmcache", &words("--mode hot")));
        for line in ["--systems redis,hdf5 --mode hot", "--mode hot --systems=redis,hdf5"] {
            assert!(asked_for("redis", &words(line)) && asked_for("hdf5", &words(line)), "{line}");
            assert!(!asked_for("lmcache", &words(line)), "{line}");
        }
    }
}
