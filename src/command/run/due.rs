//! What is due: whose time has come since it was last run, also when the machine was off then.

use serde_json::json;

use crate::clock::{Clock as _, Timestamp};
use crate::command::Session;
use crate::command::backup::Job;
use crate::command::record::Record;
use crate::command::session::data_folder;
use crate::profile::Profile;
use crate::state::State;
use crate::ui::Failure;
use crate::ui::text::{line_text, rfc3339, time_text};

/// Under which name it is remembered when a profile was last due.
fn job_name(profile: &str) -> String {
    format!("profile/{profile}")
}

/// The profiles that are due, by name.
///
/// # Errors
/// When it cannot be read when they were last run.
pub(in crate::command) fn due(session: &Session) -> Result<Vec<String>, Failure> {
    // Where nothing is remembered, all is due: better once too often.
    let state = State::look(&data_folder()?).unwrap_or_else(|error| {
        session.screen.warning(&format!("{}; so everything is due", Failure::from(error).in_one_line()));
        None
    });
    let now = session.clock.wall();
    let mut due = Vec::new();
    for profile in session.config.profiles.values() {
        let last = match &state {
            Some(state) => state.last_due(&job_name(&profile.name))?,
            None => None,
        };
        if is_due(session, profile, last, now) {
            due.push(profile.name.clone());
        }
    }
    Ok(due)
}

fn is_due(session: &Session, profile: &Profile, last: Option<i64>, now: Timestamp) -> bool {
    let config = &session.config;
    match config.schedule_of(profile) {
        Some(schedule) => {
            let latest = schedule.latest_until(now, &config.zone());
            latest.is_some_and(|latest| last.is_none_or(|last| last < latest.seconds))
        }
        // By hand only; and where nothing is planned, whoever calls is the plan.
        None => profile.schedule.is_none() && config.schedule.run.is_none(),
    }
}

/// When a profile runs next of itself.
pub(in crate::command) fn next_due(session: &Session, profile: &Profile, now: Timestamp) -> Option<Timestamp> {
    session.config.schedule_of(profile)?.next_after(now, &session.config.zone())
}

/// Remembers that a profile is being run.
pub(super) fn begin(record: &Record<'_>, session: &Session, profile: Option<&str>) {
    let now = session.clock.wall().seconds;
    if let Some(name) = profile {
        record.with(|state, _| state.set_due(&job_name(name), now));
    }
}

/// Says what is due, and what comes next.
pub(super) fn show(session: &Session, jobs: &[Job]) -> Result<(), Failure> {
    let screen = &session.screen;
    let now = session.clock.wall();
    let due: Vec<&str> = jobs.iter().filter_map(Job::profile_name).collect();
    let later =
        session.config.profiles.values().filter_map(|profile| Some((profile, next_due(session, profile, now)?)));
    let mut later: Vec<_> = later.map(|(profile, next)| (next, profile.name.as_str())).collect();
    later.sort();
    if screen.json {
        let next = later.iter().map(|(next, name)| json!({"profile": name, "time": rfc3339(*next)}));
        screen.json_line(&json!({"message_type": "due", "due": due, "next": next.collect::<Vec<_>>()}));
        return Ok(());
    }
    match due.is_empty() {
        true => screen.line("nothing is due"),
        false => due.iter().for_each(|name| screen.line(&format!("due: {}", line_text(name)))),
    }
    for (next, name) in later {
        screen.line(&format!("next: {} at {}", line_text(name), time_text(next)));
    }
    Ok(())
}
