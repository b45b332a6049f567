//! `bk completions`

use clap::Args;
use clap_complete::Shell;

use super::Session;
use super::guide::{GUIDES, Guide};
use crate::ui::{Exit, Failure};

/// Print a script that completes commands and flags in a shell
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bk completions bash > /etc/bash_completion.d/bk
  bk completions zsh > ~/.zfunc/_bk                  with ~/.zfunc in fpath
  bk completions fish > ~/.config/fish/completions/bk.fish")]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl CompletionsArgs {
    /// Does it.
    ///
    /// # Errors
    /// None.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        session.screen.bytes(&script(self.shell));
        Ok(Exit::Complete)
    }
}

fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut super::definition(), "bk", &mut script);
    if shell == Shell::Fish {
        script.extend(guides_for_fish().into_bytes());
    }
    script
}

/// What clap_complete leaves out for this shell: the values of an argument that has no flag.
fn guides_for_fish() -> String {
    let line = |guide: &Guide| {
        let title = guide.title().replace('\'', "\\'");
        format!("complete -c bk -n \"__fish_bk_using_subcommand help\" -f -a {} -d '{title}'\n", guide.name)
    };
    GUIDES.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn every_shell_is_told_every_command() {
        for shell in Shell::value_variants() {
            let script = String::from_utf8(script(*shell)).unwrap();
            for command in crate::command::definition().get_subcommands() {
                assert!(script.contains(command.get_name()), "{shell} {}", command.get_name());
            }
        }
    }
}
