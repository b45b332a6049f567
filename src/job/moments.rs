//! Commands of the user's own around a run.

use std::ffi::OsString;
use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Surroundings;
use crate::profile::{OnFailure, UserCommand};
use crate::source::command::{CommandError, Program};

/// When a command is run, and what it is told.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// `before`, `after`, `failed` or `finally`.
    pub name: &'a str,
    /// The profile.
    pub profile: &'a str,
    /// How the run ended, as far as it did: `complete`, `incomplete` or `failed`.
    pub outcome: Option<&'a str>,
    /// The snapshot that was made.
    pub snapshot: Option<&'a str>,
}

/// Runs `commands`, one after the other; the first that fails and must not ends it.
///
/// One that runs when the user stops the run is stopped. Those that come after it are not: they clean up.
///
/// # Errors
/// [`CommandError`] of a command whose failure means that the run fails, and of one that was stopped.
pub fn run_commands(
    commands: &[UserCommand],
    moment: Moment<'_>,
    surroundings: &Surroundings,
) -> Result<(), CommandError> {
    let listener = &surroundings.listener;
    let mut variables: Vec<(OsString, OsString)> =
        vec![("BK_MOMENT".into(), moment.name.into()), ("BK_PROFILE".into(), moment.profile.into())];
    let optional = [("BK_OUTCOME", moment.outcome), ("BK_SNAPSHOT", moment.snapshot)];
    variables.extend(optional.into_iter().filter_map(|(name, value)| Some((name.into(), value?.into()))));
    for command in commands {
        let cancel = (!surroundings.cancel.load(Ordering::Relaxed)).then_some(&surroundings.cancel);
        let result = run(command, &variables, surroundings, cancel);
        let Err(error) = result else { continue };
        match command.on_failure {
            _ if matches!(error, CommandError::Interrupted { .. }) => return Err(error),
            OnFailure::Fail => return Err(error),
            OnFailure::Warn => {
                listener.warning(&format!("{} ({}): {error}; {}", moment.name, moment.profile, error.hint()))
            }
            OnFailure::Ignore => {}
        }
    }
    Ok(())
}

fn run(
    command: &UserCommand,
    variables: &[(OsString, OsString)],
    surroundings: &Surroundings,
    cancel: Option<&Arc<AtomicBool>>,
) -> Result<(), CommandError> {
    let listener = &surroundings.listener;
    let argv: Vec<OsString> = command.run.iter().map(OsString::from).collect();
    let time_limit = Some(command.time_limit);
    let program = Program { argv: &argv, time_limit, variables, cancel, ..Program::default() };
    let (hears, name) = (Arc::clone(listener), command.run.first().cloned().unwrap_or_default());
    let mut running = program.start(move |line| hears.note(&format!("{name}: {}", line.trim_end())))?;
    let mut output = Vec::new();
    // What it prints is for people too; how it ended is what counts.
    let _ = (&mut running).take(64 << 10).read_to_end(&mut output);
    let _ = std::io::copy(&mut running, &mut std::io::sink());
    for line in String::from_utf8_lossy(&output).lines() {
        listener.note(line);
    }
    running.finish()
}
