//! The command line. One definition feeds help, completions and docs; one file holds one command.
//!
//! A new command is one file with an `Args` that implements `Run`, and one line in the list below. Its doc comment
//! is its help text. Results go to standard output, everything else to standard error.

mod age;
mod description;
mod descriptors;
mod exit;
mod follow;
mod globals;
mod interrupts;
mod lineages;
mod output;
mod progress;
mod reach;
mod signals;
mod store;
mod tiers;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

pub use exit::{Exit, Failure};
pub use globals::Globals;

use crate::config::Override;

/// What a command does once its arguments are parsed.
trait Run {
    /// Configuration keys that flags of this command set, beyond the global ones.
    fn overrides(&self) -> Vec<Override> {
        Vec::new()
    }

    /// Does it, and says how the process ends.
    fn run(self, context: &Context) -> Result<Exit, Failure>;
}

/// What every command gets: the global flags, and its own that set configuration.
struct Context {
    globals: Globals,
    overrides: Vec<Override>,
}

macro_rules! commands {
    ($($name:ident => $module:ident,)+) => {
        $(mod $module;)+

        #[derive(Debug, Subcommand)]
        enum Command {
            $($name($module::Args),)+
        }

        impl Command {
            fn run(self, globals: Globals) -> Result<Exit, Failure> {
                match self {
                    $(Self::$name(args) => {
                        let context = Context { overrides: args.overrides(), globals };
                        args.run(&context)
                    })+
                }
            }
        }
    };
}

commands! {
    Run => run,
    Status => status,
    Top => top,
    Stat => stat,
    Put => put,
    Get => get,
    Match => match_chain,
    Ls => ls,
    Du => du,
    Verify => verify,
    Persist => persist,
    Drain => drain,
    Warm => warm,
    Forget => forget,
    Config => config,
    Doctor => doctor,
    Plugins => plugins,
    Gc => gc,
    Completions => completions,
}

/// Keeps the KV cache of language models in shared memory, for every engine on this machine.
///
/// A prompt prefix that any engine has computed once is loaded, never computed again. One node runs per machine, as a
/// plain user, with no other service; engines find it by user, job and instance.
#[derive(Debug, Parser)]
#[command(name = "cascade-node", version, propagate_version = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Exit codes:
  0  done
  1  failed
  2  wrong usage or configuration
  3  miss: what was asked for is not there
  4  no node can be reached
  130  stopped by Ctrl-C or SIGTERM

Environment:
  CASCADE_CONFIG    configuration file
  CASCADE_PROFILE   profile
  CASCADE_LOG       which events to log
  CASCADE_PLUGINS   folders with tiers, separated by `:`
  CASCADE_SOCKET    socket of the node
  CASCADE_DIR       folder for data on a file system
  CASCADE_SEGMENT__CAPACITY=8GiB and the like set configuration; `config show` lists all keys.

Examples:
  cascade-node doctor                     is this machine fit, and what to do if not
  cascade-node config init                write a commented configuration
  cascade-node config show                every value, and where it came from
";

/// Parses the process's command line, runs the command, and says how the process ends.
///
/// Wrong usage and `--help` end the process inside clap, with exit codes 2 and 0.
pub fn main() -> ExitCode {
    let Cli { globals, command } = Cli::parse();
    match command.run(globals) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            for line in failure.message.lines() {
                eprintln!("error: {line}");
            }
            failure.exit.into()
        }
    }
}

/// The definition of the whole command line, for completions and for docs.
pub fn definition() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    use super::definition;

    #[test]
    fn the_definition_is_sound() {
        definition().debug_assert();
    }

    #[test]
    fn every_command_and_flag_is_explained() {
        fn explained(command: &clap::Command) {
            for argument in
                command.get_arguments().filter(|a| !["help", "version"].contains(&a.get_id().as_str()))
            {
                assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
            }
            for inner in command.get_subcommands() {
                assert!(inner.get_about().is_some(), "{}", inner.get_name());
                explained(inner);
            }
        }
        explained(&definition());
    }

    #[test]
    fn every_command_shows_examples() {
        for command in definition().get_subcommands() {
            let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(after.contains("Examples:\n  cascade-node "), "{}", command.get_name());
        }
    }
}
