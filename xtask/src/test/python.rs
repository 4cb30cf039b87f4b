//! `cargo xtask test python`: the wheel that is handed out, installed where no Rust is, and its tests.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use super::pytest;
use crate::failure::Result;
use crate::skips::Skip;
use crate::tally::Tally;
use crate::tools;
use crate::venv::Venv;
use crate::wheel;
use crate::workspace::Metadata;

/// The tests, and what they need besides the wheel.
const TESTS: &str = "tests/python/client";
const PINS: &str = "tests/python/client/requirements.txt";

/// Far above what they take (a minute): it ends what hangs.
const LIMIT: Duration = Duration::from_secs(10 * 60);

pub(super) fn run(selection: &pytest::Selection, tally: &mut Tally) -> Result {
    if let Err(why) = tools::python() {
        tally.skips.push(Skip { name: "python".to_owned(), why });
        return Ok(());
    }
    let folder = Metadata::read()?.target_directory.join("xtask/python");
    let wheel = wheel::build(&folder.join("wheel"))?;
    let venv = Venv::fresh(&folder.join("venv"), &[wheel.into(), "-r".into(), PINS.into()])?;
    let tests = pytest::over(&[TESTS], selection, &venv, &without_rust(), None).limit(LIMIT);
    pytest::counted(tests, selection, tally)
}

/// PATH less every folder that has a Rust toolchain in it: users of the wheel have none.
fn without_rust() -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let rustless = |folder: &Path| ["cargo", "rustc"].iter().all(|program| !folder.join(program).exists());
    let folders = env::split_paths(&path).filter(|folder| rustless(folder));
    env::join_paths(folders).expect("folders of a PATH make a PATH")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_for_users_of_the_wheel_has_no_cargo() {
        let path = without_rust();
        assert!(env::split_paths(&path).all(|folder| !folder.join("cargo").exists()));
    }
}
