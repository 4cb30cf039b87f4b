//! Python environments that the verbs make for themselves.
//!
//! A pinned environment holds exactly what one file of pins names. It lies in the cache of tools under a name that is a hash of
//! the pins and of the interpreter; it is complete or made anew, never installed into again, and replaces its predecessor.
//! Nothing is installed for the user, and no `PYTHON*` variable of his reaches what runs in an environment of ours.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use crate::failure::{Context, Result};
use crate::process::Cmd;
use crate::{tools, workspace};

/// What the verbs themselves use: uv, maturin, zig, auditwheel.
const TOOLS: &str = "xtask/python/tools.txt";

/// The last thing that is written into an environment: without it, it was left half made.
const COMPLETE: &str = "complete";

/// An environment: a folder with an interpreter, its packages and their programs.
#[derive(Debug)]
pub(crate) struct Venv {
    folder: PathBuf,
}

impl Venv {
    /// The environment of our own tools.
    pub(crate) fn tools() -> Result<Self> {
        Self::cached("tools", TOOLS, |venv, pins| {
            Cmd::new("python3").args(["-m", "venv"]).arg(&venv.folder).run()?;
            venv.run("python").args(["-m", "pip", "install", "--quiet", "--no-deps", "-r"]).arg(pins).run()
        })
    }

    /// The environment of a file of pins (a path in the workspace), which name every package that it needs.
    pub(crate) fn pinned(name: &str, pins: &str) -> Result<Self> {
        Self::cached(name, pins, |venv, pins| {
            let tools = Self::tools()?;
            tools.run("uv").args(["venv", "--quiet", "--python", "python3"]).arg(&venv.folder).run()?;
            tools.run("uv").args(["pip", "sync", "--quiet", "--python"]).arg(venv.python()).arg(pins).run()
        })
    }

    /// A new environment in `folder`, in place of what was there, with the packages named.
    pub(crate) fn fresh(folder: &Path, packages: &[OsString]) -> Result<Self> {
        let (tools, venv) = (Self::tools()?, Self { folder: folder.to_owned() });
        tools.run("uv").args(["venv", "--quiet", "--clear", "--python", "python3"]).arg(folder).run()?;
        tools
            .run("uv")
            .args(["pip", "install", "--quiet", "--python"])
            .arg(venv.python())
            .args(packages)
            .run()?;
        Ok(venv)
    }

    /// A program of this environment, with the environment's programs first in its PATH.
    pub(crate) fn run(&self, program: &str) -> Cmd {
        self.run_with_path(program, &tools::search_path())
    }

    /// As [`run`](Self::run), with another PATH behind the environment's programs.
    pub(crate) fn run_with_path(&self, program: &str, path: &OsString) -> Cmd {
        let path = env::join_paths([self.bin()].into_iter().chain(env::split_paths(path)))
            // A cache in a folder with a colon in its name: programs are then found by their full path alone.
            .unwrap_or_else(|_| path.clone());
        Cmd::new(self.bin().join(program))
            .path(path)
            .without("PYTHONHOME")
            .without("PYTHONPATH")
            .without("VIRTUAL_ENV")
    }

    /// Its interpreter.
    pub(crate) fn python(&self) -> PathBuf {
        self.bin().join("python")
    }

    fn bin(&self) -> PathBuf {
        self.folder.join("bin")
    }

    fn cached(name: &str, pins: &str, make: impl FnOnce(&Self, &Path) -> Result) -> Result<Self> {
        let pins = workspace::root().join(pins);
        let text = fs::read_to_string(&pins).context(pins.display())?;
        let folder = tools::cache().join("venv");
        fs::create_dir_all(&folder).context(folder.display())?;
        // Two verbs at once make it once; the lock goes with the file's last descriptor, whatever ends us.
        let lock = folder.join(format!("{name}.lock"));
        let lock = File::create(&lock).and_then(|file| file.lock().map(|()| file)).context(lock.display())?;
        let venv = Self { folder: folder.join(format!("{name}-{}", digest(&text)?)) };
        if !venv.folder.join(COMPLETE).exists() {
            remove_former(&folder, name)?;
            make(&venv, &pins)?;
            fs::write(venv.folder.join(COMPLETE), "").context(venv.folder.display())?;
        }
        drop(lock);
        Ok(venv)
    }
}

/// Names an environment by its pins and the interpreter that it is made of. Another Rust may hash otherwise: it is made again then.
fn digest(pins: &str) -> Result<String> {
    let interpreter =
        Cmd::new("python3").args(["-c", "import sys; print(sys.executable, sys.version)"]).capture()?;
    let mut hasher = DefaultHasher::new();
    (pins, interpreter).hash(&mut hasher);
    Ok(format!("{:016x}", hasher.finish()))
}

/// Removes earlier and half-made environments of a name: one with an engine takes gigabytes.
fn remove_former(folder: &Path, name: &str) -> Result {
    for entry in fs::read_dir(folder).context(folder.display())?.flatten() {
        let former = entry
            .file_name()
            .to_str()
            .and_then(|found| found.rsplit_once('-'))
            .is_some_and(|(n, _)| n == name);
        if former {
            fs::remove_dir_all(entry.path()).context(entry.path().display())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_pins_name_another_environment_and_the_same_pins_the_same() {
        if let Err(why) = tools::python() {
            println!("SKIPPED xtask::venv: {why}");
            return;
        }
        assert_eq!(digest("uv==1\n").unwrap(), digest("uv==1\n").unwrap());
        assert_ne!(digest("uv==1\n").unwrap(), digest("uv==2\n").unwrap());
    }

    #[test]
    fn only_former_environments_of_the_same_name_are_removed() {
        let folder = std::env::temp_dir().join(format!("xtask-venv-{}", std::process::id()));
        for name in ["engines-12", "engines-34", "tools-56", "engines.lock"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        remove_former(&folder, "engines").unwrap();
        let mut left: Vec<_> = fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(left, ["engines.lock", "tools-56"]);
    }

    #[test]
    fn the_tools_are_pinned_to_the_version() {
        let pins = fs::read_to_string(workspace::root().join(TOOLS)).unwrap();
        for pin in pins.lines().filter(|line| !line.starts_with('#')) {
            assert!(pin.contains("=="), "{pin}");
        }
    }
}
