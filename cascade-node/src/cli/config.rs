//! `config`: write the commented profile, show what is in force and why, check it.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use clap::Subcommand;

use super::output::Format;
use super::{Context, Exit, Failure, Run, output};
use crate::config::{DEFAULT_FILE, DEFAULT_PROFILE, Profile, Setting};

/// Write, show or check the configuration
///
/// Values come from the defaults, a profile, a file, CASCADE_* variables and flags, later ones winning.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cascade-node config init                            write ./cascade.toml, the commented defaults
  cascade-node config init --profile perlmutter -     print the perlmutter profile
  cascade-node config show --set segment.capacity=8GiB
  CASCADE_SEGMENT__NUMA=interleave cascade-node config show --json
  cascade-node config check --config /path/to/cascade.toml
")]
pub(super) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Write the commented profile (--profile, else laptop) to a file
    Init {
        /// Where to; `-` is standard output
        #[arg(default_value = DEFAULT_FILE, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
        target: PathBuf,
        /// Replace the file if it exists
        #[arg(long)]
        force: bool,
    },
    /// Show every value in force and where it came from
    Show {
        #[command(flatten)]
        format: Format,
    },
    /// Check the configuration; says all that is wrong and ends with 2 if anything is
    Check {
        #[command(flatten)]
        format: Format,
    },
}

impl Run for Args {
    fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self.verb {
            Verb::Init { target, force } => init(context, &target, force),
            Verb::Show { format } => show(context, format),
            Verb::Check { format } => check(context, format),
        }
    }
}

fn init(context: &Context, target: &std::path::Path, force: bool) -> Result<Exit, Failure> {
    let name = context.globals.profile.as_deref().unwrap_or(DEFAULT_PROFILE.name);
    let profile = Profile::named(name).unwrap_or(DEFAULT_PROFILE);
    if target.as_os_str() == "-" {
        output::text(profile.text)?;
        return Ok(Exit::Done);
    }
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(force).create_new(!force);
    let failed = |error: std::io::Error| {
        let hint = if error.kind() == ErrorKind::AlreadyExists { "; --force replaces it" } else { "" };
        Failure::new(Exit::Failed, format!("cannot write {}: {error}{hint}", target.display()))
    };
    let mut file = options.open(target).map_err(failed)?;
    file.write_all(profile.text.as_bytes()).map_err(failed)?;
    output::text(&format!("wrote {} (profile {name})\n", target.display()))?;
    Ok(Exit::Done)
}

fn show(context: &Context, format: Format) -> Result<Exit, Failure> {
    let loaded = context.configuration()?;
    if format.json {
        output::json(&loaded.settings)?;
    } else {
        output::text(&table(&loaded.settings))?;
    }
    Ok(Exit::Done)
}

/// TOML that can be used as a file, each line with its origin behind it.
fn table(settings: &[Setting]) -> String {
    let lines: Vec<(Option<&str>, String, &str)> = settings
        .iter()
        .map(|setting| {
            let (section, name) = match setting.key.split_once('.') {
                Some((section, name)) => (Some(section), name),
                None => (None, setting.key.as_str()),
            };
            // JSON's strings, numbers and lists are TOML's.
            (section, format!("{name} = {}", setting.value), setting.origin.as_str())
        })
        .collect();
    let width = lines.iter().map(|(_, line, _)| line.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    let mut current = None;
    for (section, line, origin) in lines {
        if let Some(name) = section.filter(|_| section != current) {
            out += &format!("\n[{name}]\n");
        }
        current = section;
        out += &format!("{line:width$}  # {origin}\n");
    }
    out
}

fn check(context: &Context, format: Format) -> Result<Exit, Failure> {
    let result = context.configuration();
    if !format.json {
        result?;
        output::text("the configuration is sound\n")?;
        return Ok(Exit::Done);
    }
    let problems = result.err().map(|problems| problems.0).unwrap_or_default();
    let exit = if problems.is_empty() { Exit::Done } else { Exit::Usage };
    let list: Vec<_> = problems
        .iter()
        .map(|problem| serde_json::json!({ "place": problem.place, "message": problem.message }))
        .collect();
    output::json(&serde_json::json!({ "sound": problems.is_empty(), "problems": list }))?;
    Ok(exit)
}
