//! `cargo xtask model`: the loom models of core, each explored over all interleavings within a bound on preemptions.
//!
//! `--weaken` turns the question round: each ordering that core depends on is weakened in a copy of core, one at a
//! time, and the model that is to find out must fail. So the table in `core/docs/machines.md` is tried, not assumed.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use crate::failure::{Context, Result};
use crate::lines::Stream;
use crate::process::Cmd;
use crate::workspace::{self, Metadata};

/// The models are sized for five minutes together on two cores; the rest is their build.
const LIMIT: Duration = Duration::from_secs(10 * 60);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run only models (with `--weaken`: only orderings) whose name contains this.
    filter: Option<String>,

    /// Preemptions per interleaving: 2 finds nearly every race, each more costs an order of magnitude.
    #[arg(long, default_value_t = 3)]
    preemptions: u32,

    /// Weaken each ordering in a copy of core and expect its model to fail; prints the table for machines.md.
    #[arg(long)]
    weaken: bool,
}

pub(crate) fn run(args: &Args) -> Result {
    if args.weaken {
        return weaken(args);
    }
    // A target folder of its own: the cfg is part of every crate's flags, and would rebuild all of them twice.
    let target = Metadata::read()?.target_directory.join("loom");
    // A model hangs when it is wrong, so it has a limit.
    cargo_test(&target, args).args(["--test", "loom*"]).args(&args.filter).limit(LIMIT).run()
}

/// `cargo test` of core under loom. Release: exploring is all computation; without LTO, which costs more than it saves.
fn cargo_test(target: &Path, args: &Args) -> Cmd {
    Cmd::cargo()
        .args(["test", "-p", "cascade-core", "--release"])
        .env("RUSTFLAGS", "--cfg loom")
        .env("CARGO_TARGET_DIR", target)
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
        .env_default("LOOM_MAX_PREEMPTIONS", &args.preemptions.to_string())
}

/// The orderings to be tried, kept beside the models that must notice.
const TABLE: &str = "core/tests/models/weakenings.toml";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    weakening: Vec<Weakening>,
}

/// One ordering of core, how it is weakened, and the model that must find out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Weakening {
    /// Where it stands, for people.
    what: String,
    /// What becomes of it, for people.
    to: String,
    /// File in `core/src`.
    file: String,
    /// The source, which must occur exactly once,
    strong: String,
    /// and what replaces it.
    weak: String,
    /// The file of the model
    model: String,
    /// and its name.
    test: String,
}

fn weaken(args: &Args) -> Result {
    let target = Metadata::read()?.target_directory;
    let copy = target.join("weakened");
    copy_core(&copy)?;
    let text = fs::read_to_string(workspace::root().join(TABLE)).context(TABLE)?;
    let table: Table = toml::from_str(&text).context(TABLE)?;
    let chosen = |w: &&Weakening| args.filter.as_ref().is_none_or(|filter| w.what.contains(filter.as_str()));
    let mut missed = Vec::new();
    println!("| ordering | weakened to | caught by | as |\n| --- | --- | --- | --- |");
    for weakening in table.weakening.iter().filter(chosen) {
        let found = weakening.try_in(&copy, &target.join("loom"), args)?;
        let caught = found.as_deref().unwrap_or("NOT CAUGHT");
        let Weakening { what, to, model, test, .. } = weakening;
        println!("| {what} | {to} | {model}::{test} | {caught} |");
        if found.is_none() {
            missed.push(what.as_str());
        }
    }
    if missed.is_empty() { Ok(()) } else { Err(format!("no model noticed: {}", missed.join(", ")).into()) }
}

impl Weakening {
    /// What the model said of the weakened core; `None` if it noticed nothing. The copy is as before afterwards.
    fn try_in(&self, copy: &Path, target: &Path, args: &Args) -> Result<Option<String>> {
        let path = copy.join("core/src").join(&self.file);
        let source = fs::read_to_string(&path).context(path.display())?;
        if source.matches(&self.strong).count() != 1 {
            return Err(
                format!("{}: core/src/{} changed: mend its entry in {TABLE}", self.what, self.file).into()
            );
        }
        fs::write(&path, source.replace(&self.strong, &self.weak)).context(path.display())?;
        let found = self.explore(&copy.join("core/Cargo.toml"), target, args);
        fs::write(&path, source).context(path.display())?;
        found
    }

    fn explore(&self, manifest: &Path, target: &Path, args: &Args) -> Result<Option<String>> {
        let Self { model, test, .. } = self;
        let cargo = || cargo_test(target, args).args(["--test", model]).arg("--manifest-path").arg(manifest);
        // Built first: core that does not compile is no model that fails.
        cargo().arg("--no-run").capture()?;
        let mut lines = Vec::new();
        let status = cargo().args(["--", "--exact", test]).watch(|stream, line| {
            // What a failed test printed comes on stdout, as one piece; cargo's words would mix into it.
            if stream == Stream::Out {
                lines.push(line.trim().to_owned());
            }
        })?;
        if status.success() {
            let ran = lines.iter().any(|line| line.contains("1 passed"));
            return if ran { Ok(None) } else { Err(format!("there is no model {model}::{test}").into()) };
        }
        let mut after = lines.iter().skip_while(|line| !line.contains("panicked at")).skip(1);
        Ok(Some(after.next().map_or("failed", |line| line.trim_end_matches('.')).to_owned()))
    }
}

/// Copies what core's models are built from: a workspace of one member.
fn copy_core(copy: &Path) -> Result {
    let (root, manifest) = (workspace::root(), copy.join("Cargo.toml"));
    if copy.exists() {
        fs::remove_dir_all(copy).context(copy.display())?;
    }
    for folder in ["core/src", "core/tests"] {
        copy_folder(&root.join(folder), &copy.join(folder))?;
    }
    for file in ["Cargo.toml", "Cargo.lock", "core/Cargo.toml"] {
        fs::copy(root.join(file), copy.join(file)).context(file)?;
    }
    let text = fs::read_to_string(&manifest).context(manifest.display())?;
    let alone = |line: &str| {
        if line.starts_with("members") { "members = [\"core\"]".into() } else { line.to_owned() }
    };
    let lines: Vec<String> = text.lines().map(alone).collect();
    fs::write(&manifest, lines.join("\n")).context(manifest.display())
}

fn copy_folder(from: &Path, to: &Path) -> Result {
    fs::create_dir_all(to).context(to.display())?;
    for entry in fs::read_dir(from).context(from.display())? {
        let entry = entry.context(from.display())?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_folder(&path, &target)?;
        } else {
            fs::copy(&path, &target).context(path.display())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_weakening_names_source_and_a_model_that_are_there() {
        let read = |path: String| fs::read_to_string(workspace::root().join(&path)).expect(&path);
        let table: Table = toml::from_str(&read(TABLE.to_owned())).expect("the table is TOML");
        for Weakening { what, file, strong, model, test, .. } in &table.weakening {
            assert_eq!(read(format!("core/src/{file}")).matches(strong).count(), 1, "{what}");
            assert!(read(format!("core/tests/{model}.rs")).contains(&format!("fn {test}()")), "{what}");
        }
    }
}
