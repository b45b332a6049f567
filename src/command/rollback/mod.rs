//! `bk restore NAME --in-place`: a whole service as it was, files and databases together, or nothing.
//!
//! Everything is checked before anything changes. Then the service stands still, its present state becomes a snapshot,
//! the files go back, then the databases, and what was stopped goes on. A mark in the data folder tells the next run
//! that one did not end: its half-way state is worth no snapshot, and may not be one.

mod act;
mod check;
mod marker;
mod plan;
mod room;
mod tell;

use std::io::{BufRead as _, IsTerminal as _};

use super::backup::BEFORE_ROLLBACK;
use super::record::{Watch, keep_restore};
use super::select::{FilterArgs, Selector};
use super::{Session, service};
use crate::destination::OwnerPolicy;
use crate::format::snapshot::Outcome;
use crate::repository::BlobReader;
use crate::ui::{Exit, Failure};

/// What the command line says.
pub(super) struct RollBack<'a> {
    pub session: &'a Session,
    /// The snapshot.
    pub word: &'a str,
    pub filter: &'a FilterArgs,
    pub owner: OwnerPolicy,
    /// Files are read again from the disk afterwards.
    pub verify: bool,
    /// Nobody needs to be asked.
    pub yes: bool,
    /// The present state becomes a snapshot.
    pub backup_first: bool,
    pub dry_run: bool,
}

impl RollBack<'_> {
    /// Puts it back.
    ///
    /// # Errors
    /// When it is refused, and nothing has changed then; or when it did not get to its end, with how far it got.
    pub fn run(&self) -> Result<Exit, Failure> {
        let asks = std::io::stdin().is_terminal() && !self.session.screen.json;
        if !self.dry_run && !self.yes && !asks {
            return Err(Failure::usage(
                "putting a service back in place replaces its files and databases, and there is no terminal to ask on",
                "add --yes when that is what you want, --dry-run to see what would happen, or --files-only for files alone",
            ));
        }
        let selector = Selector::parse(self.word)?;
        let (opened, mut snapshots) = self.session.open_for_reading()?;
        let all = snapshots.all.iter().filter(|info| info.snapshot.outcome == Outcome::Complete);
        let times: Vec<_> = all.map(|info| (info.snapshot.profile.clone(), info.snapshot.start.seconds)).collect();
        if !matches!(selector, Selector::Id(_)) && !self.filter.tag.iter().any(|tag| tag == BEFORE_ROLLBACK) {
            // What a rollback kept is no place to go back to unless it is named: the same command means the same twice.
            snapshots.all.retain(|info| !info.snapshot.tags.iter().any(|tag| tag == BEFORE_ROLLBACK));
        }
        let info = selector.find(&snapshots, self.filter)?;
        let of_profile = times.iter().filter(|(profile, _)| *profile == info.snapshot.profile);
        let newest = of_profile.map(|(_, seconds)| *seconds).max().unwrap_or_default();
        let index = self.session.index(&opened)?;
        let mut reader = BlobReader::new(&opened.repository, &index)?;
        let surroundings = service::surroundings(self.session)?;
        let planned = plan::Planned::of(self, &opened, info, newest, &surroundings, &mut reader)?;
        let seen = check::check(self, &planned, &surroundings, &mut reader)?;
        tell::plan(self, &opened, &planned, &seen);
        if !seen.obstacles.is_empty() {
            return Err(tell::refused(&planned, &seen.obstacles));
        }
        if self.dry_run {
            return Ok(Exit::Complete);
        }
        if !self.yes {
            confirm(&planned.name)?;
        }
        let watch = Watch::start(self.session);
        let put_back = act::act(self, &planned, &surroundings, &opened, &index, &mut reader);
        keep_restore(self.session, &opened.name, info, watch, &put_back);
        put_back
    }
}

/// Asks once.
fn confirm(name: &str) -> Result<(), Failure> {
    eprint!("This replaces what is there now. Type `{name}` to go on: ");
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    if read.is_ok() && line.trim() == name {
        return Ok(());
    }
    Err(Failure::usage("nothing was changed: it was not confirmed", format!("type `{name}`, or add --yes")))
}
