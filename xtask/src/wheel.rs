//! `cargo xtask dist wheel`: the Python client with the node and its tiers inside, for any Linux since 2018.
//!
//! One wheel for all Pythons (abi3) and for glibc 2.28 and later: zig links the client, the node and the tiers alike against
//! that glibc, and auditwheel has to agree before the wheel counts as built. What is tested is what is handed out.

use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::{Context, Result};
use crate::process::Cmd;
use crate::venv::Venv;
use crate::workspace::{self, Metadata};

/// The oldest C library that the wheel runs with: that of RHEL 8 and Debian 10.
const GLIBC: (u32, u32) = (2, 28);

/// Where the Python package looks for what it carries.
const BUNDLE: &str = "clients/python/cascade_kv/_bundle";

/// The programs and tiers that need no library of a site.
const PACKAGES: [&str; 3] = ["cascade-node", "cascade-tier-shm", "cascade-tier-lustre"];
const CARRIED: [(&str, &str); 3] =
    [("cascade-node", "bin"), ("libcascade_tier_shm.so", "lib"), ("libcascade_tier_lustre.so", "lib")];

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to put it, in place of dist/wheel; an earlier wheel there is replaced.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Result {
    let out = match &args.out {
        // From where the user stands: the verbs themselves run in the workspace root.
        Some(out) => std::path::absolute(out).context(out.display())?,
        None => workspace::root().join("dist/wheel"),
    };
    let wheel = build(&out)?;
    println!("{}", wheel.display());
    Ok(())
}

/// Builds the wheel into `out` and has it judged.
///
/// Errors: no Python for the tools, a failed build, a wheel that needs a younger system than its name says.
pub(crate) fn build(out: &Path) -> Result<PathBuf> {
    let tools = Venv::tools()?;
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    carry(&tools, &target)?;
    remove_wheels(out)?;
    slim(tools.run("maturin"))
        .args(["build", "--release", "--zig", "--manifest-path", "clients/python/Cargo.toml"])
        .args(["--compatibility", &platform(), "--target", &target, "--out"])
        .arg(out)
        .run()?;
    let wheel = match wheels(out)?.as_slice() {
        [wheel] => wheel.clone(),
        found => {
            return Err(format!("{} holds {} wheels after building one", out.display(), found.len()).into());
        }
    };
    let report = tools.run("auditwheel").arg("show").arg(&wheel).capture()?;
    judge(&report).context(wheel.display())?;
    Ok(wheel)
}

/// Installs the wheel into a folder of its own: the environment of the engine is shared by all checkouts of a user.
pub(crate) fn lay_beside(wheel: &Path, folder: &Path) -> Result {
    if folder.exists() {
        fs::remove_dir_all(folder).context(folder.display())?;
    }
    let install =
        Venv::tools()?.run("uv").args(["pip", "install", "--quiet", "--no-deps", "--python", "python3"]);
    install.arg("--target").arg(folder).arg(wheel).run()
}

/// The node in a folder that the wheel was laid into.
pub(crate) fn node_in(folder: &Path) -> PathBuf {
    folder.join("cascade_kv/_bundle/bin/cascade-node")
}

/// Builds the node and the tiers, and lays them where maturin packs them.
fn carry(tools: &Venv, target: &str) -> Result {
    let packages = PACKAGES.iter().flat_map(|package| ["-p", package]);
    slim(tools.run("cargo-zigbuild"))
        .args(["zigbuild", "--release", "--target", &format!("{target}.{}.{}", GLIBC.0, GLIBC.1)])
        .args(packages)
        .run()?;
    let built = Metadata::read()?.target_directory.join(target).join("release");
    let bundle = workspace::root().join(BUNDLE);
    for (file, part) in CARRIED {
        let folder = bundle.join(part);
        fs::create_dir_all(&folder).context(folder.display())?;
        let (from, to) = (built.join(file), folder.join(file));
        // A node may be running from an earlier one: a new file, never new bytes in the old.
        let _ = fs::remove_file(&to);
        fs::copy(&from, &to).context(format_args!("copying {} to {}", from.display(), to.display()))?;
    }
    Ok(())
}

/// Leaves line tables out of what is handed out (30 MB of them); names stay, for backtraces.
fn slim(build: Cmd) -> Cmd {
    build.env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo")
}

/// Whether auditwheel found a wheel for the C library that its name promises, or an older one.
fn judge(report: &str) -> Result {
    let found = report.split('"').find_map(|word| {
        let (major, rest) = word.strip_prefix("manylinux_")?.split_once('_')?;
        let (minor, _arch) = rest.split_once('_')?;
        Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
    });
    match found {
        Some(needed) if needed <= GLIBC => Ok(()),
        _ => Err(format!("auditwheel does not find it to be {}:\n{}", platform(), report.trim()).into()),
    }
}

/// The tag of a wheel for that C library.
fn platform() -> String {
    format!("manylinux_{}_{}", GLIBC.0, GLIBC.1)
}

fn remove_wheels(folder: &Path) -> Result {
    fs::create_dir_all(folder).context(folder.display())?;
    wheels(folder)?.iter().try_for_each(|wheel| fs::remove_file(wheel).context(wheel.display()))
}

fn wheels(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).context(folder.display())?;
    let paths = entries.flatten().map(|entry| entry.path());
    Ok(paths.filter(|path| path.extension().is_some_and(|extension| extension == "whl")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(tag: &str) -> String {
        format!(
            "\na.whl\nis consistent with the following platform tag:\n\"{tag}\".\n\nThe wheel references \"GLIBC_2.2\"\n"
        )
    }

    #[test]
    fn a_wheel_passes_for_the_c_library_of_its_name_or_an_older_one() {
        assert!(judge(&report("manylinux_2_28_x86_64")).is_ok());
        assert!(judge(&report("manylinux_2_17_aarch64")).is_ok());
    }

    #[test]
    fn a_wheel_for_a_younger_c_library_or_for_this_machine_alone_is_refused() {
        for report in [report("manylinux_2_34_x86_64"), report("linux_x86_64"), String::new()] {
            assert!(judge(&report).is_err(), "{report}");
        }
    }
}
