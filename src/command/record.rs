//! What a command leaves for `bk status`: what it did, and how that ended.
//!
//! A record that cannot be kept is said once, and never keeps anything from being done.

use std::cell::Cell;

use super::Session;
use super::session::{Target, data_folder};
use super::status::{Ask, gather, metrics_text};
use crate::clock::Clock as _;
use crate::metrics::write_textfile;
use crate::repository::SnapshotInfo;
use crate::state::{Attempt, Done, Figures, Health, Lock, Run, RunId, State, StateError, Verb};
use crate::ui::{Exit, Failure};

/// How long runs are remembered.
const REMEMBERED_SECONDS: i64 = 400 * 86_400;

/// Name of the lock that a run holds as long as it lives.
fn alive(run: RunId) -> String {
    format!("run-{}", run.0)
}

/// The record of one run of a command.
pub(super) struct Record<'a> {
    session: &'a Session,
    kept: Option<(State, RunId)>,
    is_wrong: Cell<bool>,
}

impl<'a> Record<'a> {
    /// Begins one.
    pub fn begin(session: &'a Session, kind: &str) -> Self {
        let record = Self { session, kept: None, is_wrong: Cell::new(false) };
        if !session.remembers() {
            return record;
        }
        let opened = data_folder().and_then(|folder| {
            let (state, health) = State::open(&folder)?;
            if let Health::LaidAside { path, reason } = health {
                let path = path.display();
                session.screen.warning(&format!(
                    "the record of earlier runs cannot be read ({reason}); it lies in {path} now, and a new one begins"
                ));
            }
            let run = state.begin(kind, session.clock.wall().seconds)?;
            Ok((state, run))
        });
        match opened {
            Ok(kept) => Self { kept: Some(kept), ..record },
            Err(failure) => {
                record.tell(&failure);
                record
            }
        }
    }

    /// The record, for looking.
    pub fn state(&self) -> Option<&State> {
        self.kept.as_ref().map(|(state, _)| state)
    }

    /// Puts something down.
    pub fn keep(&self, done: &Done) {
        self.with(|state, run| state.record(run, done));
    }

    /// Puts down what was done with a repository as a whole, unless nobody configured it.
    pub fn keep_of_repository(&self, verb: Verb, target: &Target, watch: Watch, exit: Exit, figures: Figures) {
        if self.session.is_known(target) {
            self.keep(&watch.done(verb, None, &target.name, exit, figures, None));
        }
    }

    /// Does something with the record that may not work.
    pub fn with<T>(&self, act: impl FnOnce(&State, RunId) -> Result<T, StateError>) -> Option<T> {
        let (state, run) = self.kept.as_ref()?;
        act(state, *run).map_err(|error| self.tell(&error.into())).ok()
    }

    /// Holds a lock as long as this run lives, so that a later one can tell that it died.
    pub fn stay_alive(&self) -> Option<Lock> {
        let (state, run) = self.kept.as_ref()?;
        match Lock::attempt(state.folder(), &alive(*run), &format!("process {}", std::process::id())) {
            Ok(Attempt::Taken(lock)) => Some(lock),
            _ => None,
        }
    }

    /// The runs of the command `kind` that began and died; they are ended herewith.
    pub fn died(&self, kind: &str) -> Vec<Run> {
        let open = self.with(|state, own| {
            let open = state.without_end(kind)?.into_iter().filter(|run| run.id != own);
            open.filter_map(|run| match Lock::attempt(state.folder(), &alive(run.id), "") {
                Ok(Attempt::Taken(lock)) => {
                    lock.remove(state.folder(), &alive(run.id));
                    Some(state.end(run.id, run.began, Exit::Failed.code()).map(|()| run))
                }
                Ok(Attempt::Held(_)) => None,
                Err(error) => Some(Err(error)),
            })
            .collect::<Result<Vec<_>, _>>()
        });
        open.unwrap_or_default()
    }

    /// Forgets runs of more than a year ago.
    pub fn forget_old(&self) {
        let until = self.session.clock.wall().seconds - REMEMBERED_SECONDS;
        self.with(|state, _| state.forget_until(until));
    }

    /// The end of the run.
    pub fn end(&self, exit: Exit) {
        let now = self.session.clock.wall().seconds;
        self.with(|state, run| state.end(run, now, exit.code()));
        self.write_metrics();
    }

    /// Writes the numbers for monitoring, when somebody wants them in a file.
    fn write_metrics(&self) {
        let (Some(path), Some(state)) = (&self.session.config.metrics.textfile, self.state()) else { return };
        let written = gather(self.session, Some(state), Ask::Memory)
            .and_then(|status| metrics_text(&status, Some(state)))
            .and_then(|text| Ok(write_textfile(path, &text)?));
        if let Err(failure) = written {
            self.session.screen.warning(&failure.in_one_line());
        }
    }

    fn tell(&self, failure: &Failure) {
        if !self.is_wrong.replace(true) {
            let screen = &self.session.screen;
            screen.warning(&format!("this run is not recorded for `bk status`: {}", failure.in_one_line()));
        }
    }
}

/// Puts down how long it took to restore a profile as a whole; on a machine that keeps no record, none is begun.
pub(super) fn keep_restore(
    session: &Session,
    repository: &str,
    info: &SnapshotInfo,
    watch: Watch,
    restored: &Result<Exit, Failure>,
) {
    let keeps_record = data_folder().is_ok_and(|folder| folder.is_dir());
    let profile = info.snapshot.profile.as_deref();
    if !keeps_record || profile.is_none() || !session.is_known_name(repository) {
        return;
    }
    let exit = restored.as_ref().map_or_else(|failure| failure.exit, |exit| *exit);
    let total_bytes = Some(info.snapshot.statistics.total_bytes);
    let figures = Figures { total_bytes, ..Figures::default() };
    let mut done = watch.done(Verb::Restore, profile, repository, exit, figures, None);
    done.snapshot = Some(info.id.to_string());
    let record = Record::begin(session, "restore");
    record.keep(&done);
    record.end(exit);
}

/// When something began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watch {
    began: i64,
    since: crate::clock::Stopwatch,
}

impl Watch {
    /// Now.
    pub fn start(session: &Session) -> Self {
        Self { began: session.clock.wall().seconds, since: crate::clock::Stopwatch::start() }
    }

    /// Seconds since.
    pub fn seconds(&self) -> f64 {
        self.since.elapsed().as_secs_f64()
    }

    /// What ended now.
    pub fn done(
        &self,
        verb: Verb,
        profile: Option<&str>,
        repository: &str,
        exit: Exit,
        figures: Figures,
        message: Option<String>,
    ) -> Done {
        Done {
            verb,
            profile: profile.map(str::to_owned),
            repository: repository.to_owned(),
            began: self.began,
            seconds: self.seconds(),
            exit: exit.code(),
            snapshot: None,
            figures,
            message,
        }
    }
}
