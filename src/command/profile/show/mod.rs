//! `bk profile show`: what would be backed up here, and why.

mod facts;
mod page;

use crate::command::{Session, service};
use crate::ui::{Exit, Failure};

/// Shows it.
pub(super) fn run(session: &Session, name: &str) -> Result<Exit, Failure> {
    let profile = service::profile(session, name).ok_or_else(|| service::unknown(session, name))?;
    // Such as that a container cannot be asked; what a backup would say, too.
    let surroundings = service::looking(session, service::to_screen(session))?;
    let plan = service::plan(&profile, &surroundings)?;
    let configured = session.config.profiles.contains_key(&profile.name);
    let origin = configured.then(|| session.config.origin(&format!("profile.{}", profile.name)).to_string());
    let shown = facts::Shown { profile: &profile, plan: &plan, surroundings: &surroundings, origin };
    let screen = &session.screen;
    if screen.json {
        screen.json_line(&shown.json());
    } else {
        page::lines(&shown).iter().for_each(|line| screen.line(line));
    }
    Ok(Exit::Complete)
}
