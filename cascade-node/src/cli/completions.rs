//! `completions`: the script that lets a shell complete our commands.

use clap_complete::Shell;

use super::{Context, Exit, Failure, Run, definition, output};

/// Print the completion script of a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cascade-node completions bash > ~/.local/share/bash-completion/completions/cascade-node
  cascade-node completions zsh > \"${fpath[1]}/_cascade-node\"
  cascade-node completions fish > ~/.config/fish/completions/cascade-node.fish
")]
pub(super) struct Args {
    /// The shell
    shell: Shell,
}

impl Run for Args {
    fn run(self, _: &Context) -> Result<Exit, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut definition(), "cascade-node", &mut script);
        output::text(&String::from_utf8_lossy(&script))?;
        Ok(Exit::Done)
    }
}
