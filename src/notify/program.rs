//! A program of the user's that tells it on.

use std::ffi::OsString;
use std::io::{self, Write as _};

use super::secret::LONGEST_WORDS;
use super::words::line;
use super::{NotifyError, Patience, What, ready};
use crate::source::command::{CommandError, Input, Program};

/// Runs it: the document at its standard input, the most important of it in its environment. Nothing is in its
/// arguments but what the configuration says.
pub(super) fn tell(
    channel: &str,
    command: &[String],
    what: What<'_>,
    patience: &Patience,
) -> Result<String, NotifyError> {
    let Some(notice) = what.notice() else { return Ok(String::new()) };
    let failed = |source: CommandError| {
        let last = source.stderr().unwrap_or_default().lines().rfind(|line| !line.trim().is_empty());
        let words = line(last.unwrap_or_default(), LONGEST_WORDS);
        NotifyError::Program { channel: channel.to_owned(), words, source }
    };
    let argv: Vec<OsString> = command.iter().map(OsString::from).collect();
    let first =
        |of: fn(&super::Entry) -> Option<&String>| notice.entries.iter().find_map(of).cloned().unwrap_or_default();
    let variables = [
        ("BK_EVENT", what.word().to_owned()),
        ("BK_HOST", notice.host.clone()),
        ("BK_TITLE", notice.title()),
        ("BK_PROFILE", first(|entry| entry.profile.as_ref())),
        ("BK_REPOSITORY", first(|entry| entry.repository.as_ref())),
        ("BK_EXIT", notice.exit.map(|exit| exit.to_string()).unwrap_or_default()),
    ];
    // What no variable can hold is no value either.
    let variables: Vec<(OsString, OsString)> =
        variables.into_iter().map(|(name, value)| (name.into(), value.replace('\0', "").into())).collect();
    let program = Program {
        argv: &argv,
        time_limit: Some(patience.program),
        variables: &variables,
        input: Input::Piped,
        ..Default::default()
    };
    let mut running = program.start(|_| {}).map_err(failed)?;
    if let Some(mut input) = running.take_input() {
        // One that does not read it is content with its environment.
        let _ = writeln!(input, "{}", ready::document(notice, what));
    }
    // Why reading fails, the end of the program says better.
    let _ = io::copy(&mut running, &mut io::sink());
    running.finish().map_err(failed)?;
    Ok("the program ended well".to_owned())
}
