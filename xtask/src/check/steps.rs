//! The steps of `check` that are one command each, and what that command needs.

use super::Done;
use crate::failure::Result;
use crate::process::Cmd;
use crate::tools;

const CARGO_DENY: &str = "0.20.2";
const AARCH64: &str = "aarch64-unknown-linux-gnu";
const NO_OS: &str = "x86_64-unknown-none";

pub(super) fn fmt() -> Result<Done> {
    passed(Cmd::cargo().args(["fmt", "--all", "--check"]))
}

pub(super) fn clippy() -> Result<Done> {
    passed(Cmd::cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

pub(super) fn docs() -> Result<Done> {
    passed(Cmd::cargo().args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
}

pub(super) fn deny() -> Result<Done> {
    if let Err(why) = tools::cargo_tool("deny", CARGO_DENY) {
        return Ok(Done::Skipped(why));
    }
    // Not `advisories`: its database is a git repository, which a machine without the open network cannot fetch.
    passed(Cmd::cargo().args(["deny", "check", "licenses", "bans", "sources"]))
}

pub(super) fn no_std() -> Result<Done> {
    if let Err(why) = tools::rust_target(NO_OS) {
        return Ok(Done::Skipped(why));
    }
    passed(Cmd::cargo().args(["build", "-p", "cascade-core", "--target", NO_OS]))
}

pub(super) fn aarch64() -> Result<Done> {
    // A compiler too: blake3 brings NEON code in C.
    if let Err(why) = tools::rust_target(AARCH64).and_then(|()| aarch64_gcc()) {
        return Ok(Done::Skipped(why));
    }
    // Clippy, not only a check: nobody's editor shows what is wrong behind another machine's cfg.
    passed(cross(["clippy", "-p", "cascade-core", "--target", AARCH64, "--", "-D", "warnings"]))
}

pub(super) fn aarch64_tests() -> Result<Done> {
    let qemu = || tools::program("qemu-aarch64-static", "qemu-user-static");
    if let Err(why) = tools::rust_target(AARCH64).and_then(|()| aarch64_gcc()).and_then(|()| qemu()) {
        return Ok(Done::Skipped(why));
    }
    let runner = "qemu-aarch64-static -L /usr/aarch64-linux-gnu";
    let tests = cross(["test", "-p", "cascade-core", "--lib", "--tests", "--target", AARCH64]);
    // An emulated case costs twenty native ones, and `cargo xtask test` runs the full number.
    passed(
        tests
            .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", runner)
            .env_default("PROPTEST_CASES", "64"),
    )
}

pub(super) fn miri() -> Result<Done> {
    let components = tools::nightly_component("rust-src").and_then(|()| tools::nightly_component("miri"));
    if let Err(why) = components {
        return Ok(Done::Skipped(why));
    }
    let view = ["miri", "test", "-p", "cascade-core", "--lib", "view"];
    // Strict provenance: a mapped segment is reached by offsets from one pointer, never by an integer made a pointer.
    passed(Cmd::nightly_cargo().args(view).env_default("MIRIFLAGS", "-Zmiri-strict-provenance"))
}

fn aarch64_gcc() -> tools::Available {
    // Its C library comes only as a recommendation of the compiler's.
    tools::program("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu")?;
    tools::file("/usr/aarch64-linux-gnu/include/stdio.h", "libc6-dev-arm64-cross")
}

/// A cargo command whose C compiler and linker are those of aarch64.
fn cross<const N: usize>(args: [&str; N]) -> Cmd {
    Cmd::cargo().args(args).env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc")
}

fn passed(cmd: Cmd) -> Result<Done> {
    cmd.run().map(|()| Done::Passed)
}
