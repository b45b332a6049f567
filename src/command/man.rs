//! `bk man`
//!
//! Pages of section 1 are made from what clap knows, those of guides from their text; the pages on the format and the
//! configuration are written by hand.

use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::Session;
use super::guide::{GUIDES, see_also};
use crate::ui::{Exit, Failure};

const BY_HAND: [(&str, &str); 4] = [
    ("bk.toml.5", include_str!("../../man/bk.toml.5")),
    ("bk-hook.7", include_str!("../../man/bk-hook.7")),
    ("bk-metrics.7", include_str!("../../man/bk-metrics.7")),
    ("bk-repository.7", include_str!("../../man/bk-repository.7")),
];

/// What ends a program of which nobody reads on.
const BROKEN_PIPE: (u8, &str) = (141, "Whoever read the output went away.");

/// Exit codes, for every page.
fn exit_status() -> Vec<(String, String)> {
    let mut all: Vec<_> = Exit::ALL.map(Exit::meaning).into_iter().chain([BROKEN_PIPE]).collect();
    all.sort_unstable();
    all.into_iter().map(|(code, meaning)| (code.to_string(), meaning.to_owned())).collect()
}

/// Environment variables that no flag of the same meaning lists.
const ENVIRONMENT: [(&str, &str); 8] = [
    ("BK_PASSWORD", "The password itself. A file or a program is safer: other processes may see the environment."),
    ("BK_DATA_DIR", "Where the repository lies that needs no configuration, with its key and the state of bk."),
    (
        "BK_CACHE_DIR",
        "Where copies of what is far away are kept; else CACHE_DIRECTORY, the folder cache below BK_DATA_DIR, or the system's or the user's cache folder. They may be deleted at any time.",
    ),
    (
        "AWS_ACCESS_KEY_ID",
        "With AWS_SECRET_ACCESS_KEY, opens a bucket of which the configuration does not say what does.",
    ),
    ("AWS_REGION", "With AWS_ENDPOINT_URL, says where a bucket is that is not in the configuration."),
    (
        "RESTIC_PASSWORD",
        "The password of a repository in restic's format, when neither a flag nor its section says it; so are RESTIC_PASSWORD_FILE and RESTIC_PASSWORD_COMMAND, in this order.",
    ),
    ("NO_COLOR", "No colours when this is not empty."),
    ("TERM", "No bars and no colours when this is dumb or not set."),
];

/// Print the manual, or write its pages
///
/// Without --output the page bk(1) goes to standard output, for man -l - or a file.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Write every page into this folder, which is made when it is missing
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

impl ManArgs {
    /// Does it.
    ///
    /// # Errors
    /// When the folder or a page cannot be written.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let Some(folder) = self.output else {
            session.screen.bytes(&page(built(), true));
            return Ok(Exit::Complete);
        };
        let pages = pages();
        write_all(&folder, &pages).map_err(|(path, error)| {
            let mut failure = Failure::of(Exit::Failed, &error, "check that the folder can be written");
            let cause = std::mem::replace(&mut failure.message, format!("cannot write {}", path.display()));
            failure.causes.push(cause);
            failure
        })?;
        session.screen.note(&format!("wrote {} pages to {}", pages.len(), folder.display()));
        Ok(Exit::Complete)
    }
}

fn write_all(folder: &Path, pages: &[(String, Vec<u8>)]) -> Result<(), (PathBuf, std::io::Error)> {
    std::fs::create_dir_all(folder).map_err(|error| (folder.to_owned(), error))?;
    for (name, page) in pages {
        let path = folder.join(name);
        std::fs::write(&path, page).map_err(|error| (path, error))?;
    }
    Ok(())
}

/// The command line with every name and every global flag in its place.
fn built() -> Command {
    let mut definition = super::definition();
    definition.build();
    definition
}

/// Every page with its file name.
pub(super) fn pages() -> Vec<(String, Vec<u8>)> {
    let root = built();
    let mut pages: Vec<_> = BY_HAND.iter().map(|(name, page)| ((*name).to_owned(), page.as_bytes().to_vec())).collect();
    pages.extend(GUIDES.iter().map(|guide| (guide.page_name(), guide.page())));
    add_pages(&root, true, &mut pages);
    pages
}

fn add_pages(command: &Command, root: bool, pages: &mut Vec<(String, Vec<u8>)>) {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    pages.push((format!("{name}.1"), page(command.clone(), root)));
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        add_pages(below, false, pages);
    }
}

fn page(command: Command, root: bool) -> Vec<u8> {
    let examples = command.get_after_help().map(ToString::to_string);
    let has_arguments = command.get_arguments().any(|argument| !argument.is_hide_set());
    let has_commands = command.has_subcommands();
    let variables = if root { variables(&command) } else { Vec::new() };
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_uppercase();
    let is_help = command.get_name() == "help";
    // Not clap_mangen's own title: it leaves out the empty date, and what follows would be taken for it.
    let title = format!(".TH {name} 1 \"\" \"bk {}\" \"Backups with bk\"\n", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command);
    let mut page = title.into_bytes();
    // Writing into memory does not fail.
    let _ = man.render_name_section(&mut page);
    let _ = man.render_synopsis_section(&mut page);
    let _ = man.render_description_section(&mut page);
    if has_commands {
        let _ = man.render_subcommands_section(&mut page);
    }
    if has_arguments {
        let _ = man.render_options_section(&mut page);
    }
    let mut roff = Roff::default();
    if let Some(examples) = examples {
        add_examples(&mut roff, &examples);
    }
    if root {
        add_list(&mut roff, "ENVIRONMENT", variables);
    }
    add_list(&mut roff, "EXIT STATUS", exit_status());
    roff.control("SH", ["SEE ALSO"]);
    let named = |name: &str, section| (name.to_owned(), section);
    let above = (!root).then(|| named("bk", "1"));
    let others = [named("bk.toml", "5"), named("bk-hook", "7"), named("bk-repository", "7")];
    let guides = GUIDES.iter().map(|guide| (guide.reference(), "7")).filter(|_| root || is_help);
    roff.text(see_also(above.into_iter().chain(others).chain(guides)));
    let _ = roff.to_writer(&mut page);
    page
}

/// The examples as they stand, not filled into paragraphs.
fn add_examples(roff: &mut Roff, text: &str) {
    roff.control("SH", ["EXAMPLES"]);
    roff.control("nf", []);
    for line in text.lines().filter(|line| line.trim() != "Examples:") {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
}

fn add_list<T: Into<String>>(roff: &mut Roff, title: &str, entries: impl IntoIterator<Item = (T, T)>) {
    roff.control("SH", [title]);
    for (name, text) in entries {
        roff.control("TP", []);
        roff.text([bold(name)]);
        roff.text([roman(text)]);
    }
}

/// The environment variables of flags, then the others.
fn variables(command: &Command) -> Vec<(String, String)> {
    let of_flag = |argument: &clap::Arg| {
        let (variable, flag) = (argument.get_env()?.to_str()?, argument.get_long()?);
        Some((variable.to_owned(), format!("As the flag --{flag}, which wins over it.")))
    };
    let others = ENVIRONMENT.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    command.get_arguments().filter_map(of_flag).chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_every_command_and_one_for_each_below_it() {
        let pages = pages();
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        for name in ["bk.1", "bk-config.1", "bk-config-show.1", "bk.toml.5", "bk-hook.7", "bk-repository.7"] {
            assert!(names.contains(&name), "{names:?}");
        }
    }

    #[test]
    fn the_pages_are_written_into_a_folder_that_is_made() {
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join("share/man");
        write_all(&folder, &pages()).unwrap();
        assert!(std::fs::read_to_string(folder.join("bk.1")).unwrap().contains(".SH \"EXIT STATUS\""));
        let (path, _) = write_all(&folder.join("bk.1"), &pages()).unwrap_err();
        assert_eq!(path, folder.join("bk.1"));
    }
}
