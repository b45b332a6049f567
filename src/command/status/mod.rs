//! `bk status`: how things stand, in three seconds.

mod gather;
mod history;
mod table;

use clap::Args;

pub(super) use gather::{Ask, gather};
pub(super) use table::{conclusion, lines as table_text};

use super::Session;
use super::run::look;
use super::session::data_folder;
use crate::metrics::{Measured, render};
use crate::state::State;
use crate::status::{Status, Verdict};
use crate::ui::{Exit, Failure};

/// How do things stand?
///
/// Of every profile in every repository: the newest complete snapshot and whether it is too old, the last check, the
/// next run. The exit code is that of the worst: 0 when all is fine, 8 when something is overdue. With a profile: its
/// past runs.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bk status                    everything
  bk status plex               the past runs of plex
  bk status --offline          only what this machine remembers; no repository is asked
  bk status --prometheus       the numbers, for monitoring")]
pub struct StatusArgs {
    /// Show the past runs of this profile
    #[arg(value_name = "PROFILE")]
    profile: Option<String>,
    /// Ask no repository: only what this machine remembers
    #[arg(long)]
    offline: bool,
    /// How many past runs to show
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20, requires = "profile")]
    runs: u32,
    /// Tell the channels of [notify.NAME] what is overdue, and of runs that died
    #[arg(long, conflicts_with = "profile")]
    notify: bool,
    /// With --notify: the unit of systemd that failed
    #[arg(long, value_name = "UNIT", requires = "notify")]
    unit: Option<String>,
    /// Print numbers for Prometheus
    #[arg(long, conflicts_with_all = ["json", "profile"])]
    prometheus: bool,
}

impl StatusArgs {
    /// Runs the command.
    ///
    /// # Errors
    /// When what is remembered cannot be read, or the profile is not known.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        if self.notify {
            look(session, self.unit.as_deref());
        }
        let state = State::look(&data_folder()?).unwrap_or_else(|error| {
            let failure = Failure::from(error);
            session.screen.warning(&format!("{}; nothing is remembered", failure.in_one_line()));
            None
        });
        if let Some(profile) = &self.profile {
            return history::show(session, state.as_ref(), profile, self.runs);
        }
        let ask = if self.offline || self.notify { Ask::Memory } else { Ask::Repositories };
        let status = gather(session, state.as_ref(), ask)?;
        if self.prometheus {
            session.screen.bytes(metrics_text(&status, state.as_ref())?.as_bytes());
            return Ok(Exit::Complete);
        }
        if session.screen.json {
            session.screen.line(&table::json(&status).to_string());
        } else {
            table::show(session, &status);
        }
        Ok(exit_of(&status))
    }
}

/// The numbers for monitoring.
pub(super) fn metrics_text(status: &Status, state: Option<&State>) -> Result<String, Failure> {
    let newest = state.map(State::newest).transpose()?.unwrap_or_default();
    let well = [Exit::Complete.code(), Exit::Anomaly.code()];
    let newest_well = state.map(|state| state.newest_with(&well)).transpose()?.unwrap_or_default();
    Ok(render(&Measured { status, newest: &newest, newest_well: &newest_well }))
}

/// The exit code for monitors: that of the worst.
pub(super) fn exit_of(status: &Status) -> Exit {
    // Why a repository could not be asked; where something is known to be worse than that, it counts.
    let unreachable = |name: &str| {
        let repository = status.repositories.iter().find(|one| one.name == name);
        let code = repository.and_then(|one| one.unreachable.as_ref()).map(|(code, _)| *code);
        code.and_then(Exit::of_code).unwrap_or(Exit::Failed)
    };
    let of_profiles = status.profiles.iter().flat_map(|profile| &profile.destinations).map(|one| match one.verdict {
        Verdict::Fine => Exit::Complete,
        Verdict::Behind => Exit::Behind,
        Verdict::Unreachable => unreachable(&one.repository),
        Verdict::Incomplete => Exit::Incomplete,
        Verdict::Anomaly => Exit::Anomaly,
        Verdict::Failed => Exit::Failed,
        Verdict::Broken => Exit::Verification,
        Verdict::Never | Verdict::Overdue => Exit::Overdue,
    });
    let damaged = status.repositories.iter().filter(|one| one.is_damaged(Exit::Damage.code())).map(|_| Exit::Damage);
    // Where a configuration is missing, nothing is fine.
    let nothing = if status.profiles.is_empty() { Exit::Overdue } else { Exit::Complete };
    of_profiles.chain(damaged).fold(nothing, Exit::worst)
}
