//! `bk status PROFILE`: what its past runs came to.

use super::table;
use crate::clock::Timestamp;
use crate::command::{Session, service};
use crate::size::ByteSize;
use crate::state::{Done, State, Verb};
use crate::ui::text::{duration, line_text, time_text};
use crate::ui::{Align, Exit, Failure, Table};

/// Shows the newest `limit` runs of `profile`, newest first.
///
/// # Errors
/// When nothing is known of a profile of this name.
pub(super) fn show(session: &Session, state: Option<&State>, profile: &str, limit: u32) -> Result<Exit, Failure> {
    let screen = &session.screen;
    let runs = state.map(|state| state.history(profile, Verb::Backup, limit)).transpose()?.unwrap_or_default();
    if runs.is_empty() && service::profile(session, profile).is_none() {
        return Err(service::unknown(session, profile));
    }
    if screen.json {
        screen.line(&table::runs_json(&runs).to_string());
        return Ok(Exit::Complete);
    }
    if runs.is_empty() {
        screen.line(&format!("this machine remembers no run of {profile}"));
        return Ok(Exit::Complete);
    }
    let titles = [
        ("TIME", Align::Left),
        ("REPOSITORY", Align::Left),
        ("SNAPSHOT", Align::Left),
        ("FILES", Align::Right),
        ("NEW", Align::Right),
        ("STORED", Align::Right),
        ("TOOK", Align::Right),
        ("", Align::Left),
    ];
    let mut table = Table::new(&titles);
    for run in &runs {
        let bytes = |bytes: Option<u64>| bytes.map_or_else(String::new, |bytes| ByteSize(bytes).to_string());
        table.row([
            time_text(Timestamp { seconds: run.began, nanos: 0 }),
            line_text(&run.repository),
            run.snapshot.as_deref().and_then(|id| id.get(..8)).unwrap_or("none").to_owned(),
            run.figures.files.map_or_else(String::new, |files| files.to_string()),
            bytes(run.figures.new_bytes),
            bytes(run.figures.stored_bytes),
            duration(run.seconds),
            screen.paint(&outcome(run), if run.exit == 0 { "32" } else { "31" }),
        ]);
    }
    table.lines().iter().for_each(|line| screen.line(line));
    Ok(Exit::Complete)
}

fn outcome(run: &Done) -> String {
    let word = Exit::of_code(run.exit).map_or("unknown", Exit::word);
    match &run.message {
        Some(message) => format!("{word}: {}", line_text(message)),
        None => word.to_owned(),
    }
}
