//! Where the programs lie that the tests start: in the target folder that the tests were built into.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use cascade_core::place::JOB_VARIABLES;

/// The node. Its tiers lie beside it, where it looks by itself.
///
/// # Panics
/// If it is not there and cannot be built.
pub fn node() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            let program = folder().join("cascade-node");
            let tiers = ["libcascade_tier_shm.so", "libcascade_tier_lustre.so"];
            if !program.exists() || tiers.iter().any(|tier| !folder().join(tier).exists()) {
                build();
            }
            program
        })
        .clone()
}

/// The client that plays what it is told on its standard input.
pub fn client() -> PathBuf {
    folder().join("cascade-test-client")
}

/// Takes the settings of whoever runs the tests out of a command's environment.
pub fn without_settings(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CASCADE_") || text.ends_with("SCRATCH") || JOB_VARIABLES.contains(&&*text) {
            command.env_remove(name);
        }
    }
    command
}

/// The test runs in `target/<profile>/deps`, the programs lie one up.
fn folder() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own program");
    let folder = test.parent().expect("a program lies in a folder");
    let folder =
        if folder.ends_with("deps") { folder.parent().expect("so does that folder") } else { folder };
    folder.to_owned()
}

fn build() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = folder().parent().map(Path::to_owned).expect("a profile lies in the target folder");
    let built = Command::new(cargo)
        .args(["build", "-p", "cascade-node", "-p", "cascade-tier-shm", "-p", "cascade-tier-lustre"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("CARGO_TARGET_DIR", target)
        .status();
    assert!(built.is_ok_and(|status| status.success()), "the node cannot be built");
}
