//! `bk help`: guides for situations, and the help of commands.

use std::io::IsTerminal as _;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Args, Command, Parser as _};
use serde_json::json;

use super::guide::{GUIDES, Guide};
use super::{Cli, Session};
use crate::profile::nearest;
use crate::ui::text::wrapped;
use crate::ui::{Exit, Failure};

/// Lines are no longer, however wide the terminal is: nobody reads longer ones well.
const MOST_COLUMNS: usize = 100;

/// Narrower than that, words are cut by the terminal anyway.
const LEAST_COLUMNS: usize = 20;

/// Print a guide for a situation, or the help of a command
///
/// Guides say what to do, in which order, and what can go wrong: after a disk has died, for example. Without a word they
/// are listed. They work while the configuration is wrong.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bk help                what there is
  bk help first-backup   from nothing to a nightly backup
  bk help bare-machine   the disk has died
  bk help key add        the same as bk key add --help")]
pub struct HelpArgs {
    /// Name of a guide, or of a command
    #[arg(value_name = "TOPIC|COMMAND", value_parser = Topic, hide_possible_values = true)]
    words: Vec<String>,
}

/// Any word is taken, so that the answer to a wrong one is ours; shells are told the guides.
#[derive(Debug, Clone)]
struct Topic;

impl TypedValueParser for Topic {
    type Value = String;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(GUIDES.iter().map(|guide| PossibleValue::new(guide.name).help(guide.title()))))
    }
}

impl HelpArgs {
    /// Prints it.
    ///
    /// # Errors
    /// When there is neither a guide nor a command of that name.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let guide = self.words.first().filter(|_| self.words.len() == 1).and_then(|word| Guide::find(word));
        match guide {
            Some(guide) => print(session, guide),
            None if self.words.is_empty() => list(session),
            None => of_command(session, &self.words)?,
        }
        Ok(Exit::Complete)
    }
}

/// Columns of what the result is written to.
fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok();
    let columns = size.map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
    columns.unwrap_or(MOST_COLUMNS).clamp(LEAST_COLUMNS, MOST_COLUMNS)
}

fn list(session: &Session) {
    let screen = &session.screen;
    if screen.json {
        let all: Vec<_> = GUIDES.iter().map(|one| json!({ "name": one.name, "title": one.title() })).collect();
        return screen.json_line(&json!(all));
    }
    let widest = GUIDES.iter().map(|guide| guide.name.len()).max().unwrap_or(0);
    let indent = " ".repeat(2 + widest + 2);
    screen.line("Guides:");
    for guide in &GUIDES {
        let title = wrapped(guide.title(), columns().saturating_sub(indent.len()).max(LEAST_COLUMNS));
        for (at, line) in title.iter().enumerate() {
            let name = if at == 0 { guide.name } else { "" };
            screen.line(&format!("  {name:widest$}  {line}"));
        }
    }
    screen.line("");
    let more = "`bk help GUIDE` prints one of them. `bk --help` lists the commands, `bk COMMAND --help` says what one \
                of them takes.";
    wrapped(more, columns()).iter().for_each(|line| screen.line(line));
}

fn print(session: &Session, guide: &Guide) {
    let screen = &session.screen;
    if screen.json {
        return screen.json_line(&json!({ "name": guide.name, "title": guide.title(), "text": guide.text }));
    }
    // Whoever reads on in a pager or a file wants no colours, whatever standard error is.
    let on_terminal = std::io::stdout().is_terminal();
    let paint = |heading: &str| if on_terminal { screen.paint(heading, "1") } else { heading.to_owned() };
    let text = guide.lines(columns(), paint).join("\n");
    screen.line(&text);
}

/// What the command prints with `--help`.
fn of_command(session: &Session, words: &[String]) -> Result<(), Failure> {
    let mut command = super::definition();
    for word in words {
        match command.find_subcommand(word) {
            Some(below) => command = below.clone(),
            None => return Err(unknown(&command, word)),
        }
    }
    let line = ["bk"].into_iter().chain(words.iter().map(String::as_str)).chain(["--help"]);
    match Cli::try_parse_from(line) {
        Err(help) if help.kind() == ErrorKind::DisplayHelp => {
            // On a terminal with its colours, as after `--help`.
            if std::io::stdout().is_terminal() {
                let _ = help.print();
            } else {
                session.screen.bytes(help.to_string().as_bytes());
            }
            Ok(())
        }
        _ => Err(unknown(&command, "--help")),
    }
}

/// That there is no such word, and which was probably meant.
fn unknown(above: &Command, word: &str) -> Failure {
    let is_root = above.get_name() == "bk";
    let guides = GUIDES.iter().map(|guide| guide.name).filter(|_| is_root);
    let commands = above.get_subcommands().map(Command::get_name);
    let meant = nearest(word, guides.chain(commands)).map(|meant| format!("did you mean `{meant}`? "));
    let (message, next) = if is_root {
        (
            format!("there is no guide and no command called `{word}`"),
            "`bk help` lists the guides, `bk --help` the commands",
        )
    } else {
        (format!("`{}` has no command called `{word}`", above.get_name()), "`bk --help` lists the commands")
    };
    Failure::usage(message, format!("{}{next}", meant.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_guide_or_command_is_told_the_right_one() {
        let hint = |above: &Command, word| unknown(above, word).hint.unwrap();
        let root = crate::command::definition();
        assert!(hint(&root, "ransomeware").starts_with("did you mean `ransomware`? "));
        assert!(hint(&root, "restor").starts_with("did you mean `restore`? "));
        assert!(hint(root.find_subcommand("key").unwrap(), "ad").starts_with("did you mean `add`? "));
        assert!(hint(&root, "xyzzy-and-more").starts_with("`bk help` lists"));
    }
}
