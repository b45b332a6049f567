//! `bk check`

mod due;
mod foreign;
mod show;

use clap::Args;
use serde_json::json;

use super::Session;
use super::opening::Copies;
use super::record::{Record, Watch};
use super::run::Teller;
use super::session::{Target, host_name};
use super::workers::workers;
use crate::operation::check::{
    Budget, CheckOptions, CheckReport, Noting, ReadData, Stretch, Subset, Turn, check_and_note, check_names, will_read,
};
use crate::repository::{Repository, RepositoryError};
use crate::size::ByteSize;
use crate::state::{Figures, Verb};
use crate::ui::text::{count, time_text};
use crate::ui::{Exit, Failure};
use due::{Due, due, is_planned};
use foreign::check_foreign;
use show::{SHOWN_PATHS, broken_promise, show};

/// Affected paths of a snapshot that programs are shown.
const LISTED_PATHS: usize = 1000;

/// Is the repository whole?
///
/// Reads and opens everything outside packs, walks every tree of every snapshot, and looks up whatever they reach in
/// the index and in the list of packs. The contents of packs are read only when asked for. Which packs were read is
/// noted in the repository, so that --budget and --due go on where the last check stopped, on whichever machine.
#[derive(Debug, Default, Args)]
#[command(after_help = "Examples:
  bk check                             structure: what is missing, what cannot be opened
  bk check --read-data                 every byte as well
  bk check --read-data-subset 3/7      the third of seven parts: on seven days everything is read once
  bk check --budget 20GiB              what was not read for longest, 20 GiB of it
  bk check --budget 30min              the same for half an hour
  bk check --due                       as [schedule] check promises: \"whole in 90d\"
  bk check --no-key --repo /mnt/disk   on a machine that must not hold the key")]
pub struct CheckArgs {
    /// Read every pack as well, and open everything in it
    #[arg(long)]
    read_data: bool,
    /// Read a part of the packs: 10% or 5GiB of them at random, or the third of seven parts as 3/7
    #[arg(long, value_name = "PART", conflicts_with = "read_data")]
    read_data_subset: Option<Subset>,
    /// Read the packs that were not read for longest, until so many bytes were read or so much time has passed: 20GiB
    /// or 30min; a pack that is begun is finished. With --due, read no more than that
    #[arg(long, value_name = "SIZE|TIME", conflicts_with_all = ["read_data", "read_data_subset", "no_key"])]
    budget: Option<Budget>,
    /// Check the repositories that are due, and read as much of each as [schedule] `check` promises: what would be
    /// unread for too long before the next checks, and at least a fair share
    #[arg(long, conflicts_with_all = ["read_data", "read_data_subset", "no_key"])]
    due: bool,
    /// Compare the bytes of every object with its name, which needs no key
    #[arg(long)]
    no_key: bool,
    /// Tell the channels of [notify.NAME] what was found
    #[arg(long)]
    notify: bool,
}

/// What the check of one repository came to.
struct Checked {
    exit: Exit,
    figures: Figures,
    /// Why not all is well, for those who are told.
    why: Option<String>,
}

impl CheckArgs {
    /// Checks every repository that is meant.
    ///
    /// # Errors
    /// When none is. A repository that cannot be checked does not keep the others from it.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        if self.due {
            is_planned(session)?;
        }
        let mut exit = Exit::Complete;
        // Names are compared with bytes, and packs chosen, in repositories of bk only.
        let targets = if self.no_key || self.read_data_subset.is_some() || self.budget.is_some() && !self.due {
            session.own_targets(&[])?
        } else {
            session.targets(&[])?
        };
        let record = Record::begin(session, "check");
        let mut found = Vec::new();
        for target in targets {
            let turn = match self.turn(session, &record, &target) {
                Due::Later(next) => {
                    not_due(session, &target, next);
                    continue;
                }
                Due::Now(turn) => turn,
            };
            let watch = Watch::start(session);
            let checked = if target.is_restic() {
                check_foreign(session, &target, self.read_data)
            } else {
                self.check_own(session, &target, turn)
            };
            let checked = match checked {
                Ok(checked) => checked,
                Err(failure) if failure.exit == Exit::Interrupted => {
                    record.end(failure.exit);
                    return Err(failure);
                }
                Err(failure) => {
                    session.screen.failure(&failure);
                    let why = Some(failure.in_one_line());
                    Checked { exit: failure.exit, figures: Figures::default(), why }
                }
            };
            record.keep_of_repository(Verb::Check, &target, watch, checked.exit, checked.figures);
            found.push((target.name, checked.exit, checked.why));
            exit = exit.worst(checked.exit);
        }
        if self.notify {
            Teller::new(session, &record).tell_check(&found);
        }
        record.end(exit);
        Ok(exit)
    }

    /// Checks a repository of bk and shows what was found.
    fn check_own(&self, session: &Session, target: &Target, turn: Turn) -> Result<Checked, Failure> {
        let progress = session.screen.progress("check");
        let checked = self.check(session, target, turn, &*progress);
        progress.finish();
        let (report, failure) = checked?;
        let why = broken_promise(&target.name, &report).map(|(why, _)| why);
        show(session, target, &report);
        let found = exit_of(&report);
        let exit = match failure {
            Some(failure) => {
                session.screen.failure(&failure);
                found.worst(if failure.exit == Exit::WrongKey { failure.exit } else { found })
            }
            None => found,
        };
        Ok(Checked { exit, figures: figures(&report), why })
    }

    /// As a timer calls it.
    pub(super) fn of_timer() -> Self {
        Self { due: true, notify: true, ..Self::default() }
    }

    /// Which packs of a repository are read, or when it is due.
    fn turn(&self, session: &Session, record: &Record<'_>, target: &Target) -> Due {
        match (self.due, self.budget) {
            (true, _) => due(session, record, target),
            (false, Some(_)) => Due::Now(Turn::LongestFirst),
            (false, None) => Due::Now(Turn::OfOptions),
        }
    }

    fn read(&self) -> ReadData {
        match self.read_data_subset {
            Some(subset) => ReadData::Subset(subset),
            None if self.read_data || self.no_key => ReadData::All,
            None => ReadData::Nothing,
        }
    }

    /// The report; besides, why the repository could not be opened when damage is the reason.
    fn check(
        &self,
        session: &Session,
        target: &Target,
        turn: Turn,
        progress: &dyn crate::progress::Progress,
    ) -> Result<(CheckReport, Option<Failure>), Failure> {
        // What lies there is looked at, not what is remembered of it.
        let store = session.open_store(target, Copies::None)?;
        let is_far = store.is_far();
        let announce = |packs, bytes| {
            if is_far {
                let (size, packs) = (ByteSize(bytes), count(packs, "pack", "packs"));
                let about = if matches!(self.budget, Some(Budget::Time(_))) { "at most" } else { "about" };
                session.screen.note(&format!("{about} {size} will be fetched from {}, in {packs}", target.name));
            }
        };
        let options = CheckOptions {
            read: self.read(),
            threads: workers(8),
            shown_paths: if session.screen.json { LISTED_PATHS } else { SHOWN_PATHS },
            interrupted: session.interrupted(),
        };
        if self.no_key {
            if is_far {
                let (packs, bytes) = will_read(&*store, self.read())?;
                announce(packs, bytes);
            }
            return Ok((check_names(&*store, &options, progress)?, None));
        }
        let credential = session.credential(target)?;
        let error = match Repository::open(std::sync::Arc::clone(&store), &credential) {
            Ok(repository) => {
                let noting = Noting {
                    clock: &session.clock,
                    host: &host_name(),
                    turn,
                    budget: self.budget,
                    stretch: Stretch::default(),
                    announce: &announce,
                };
                return Ok((check_and_note(&repository, &options, &noting, progress)?, None));
            }
            Err(error) => error,
        };
        let mut report = check_names(&*store, &CheckOptions { read: ReadData::Nothing, ..options }, progress)?;
        if matches!(error, RepositoryError::WrongKey { .. }) {
            report.findings.retain(|finding| finding.object.starts_with("keys"));
        }
        if report.is_damaged() { Ok((report, Some(error.into()))) } else { Err(error.into()) }
    }
}

fn figures(report: &CheckReport) -> Figures {
    let problems = (report.findings.len() + report.affected.len()) as u64;
    let standing = report.standing.as_ref();
    let kept = standing.and_then(|standing| standing.kept);
    let seconds = |seconds: i64| u64::try_from(seconds).ok();
    Figures {
        problems: Some(problems),
        read_bytes: Some(report.read_bytes),
        never_read_packs: standing.map(|standing| standing.never_read),
        unread_since: standing.and_then(|standing| seconds(standing.unread_since?.seconds)),
        promise_seconds: kept.and_then(|kept| seconds(kept.promise)),
        left_bytes: kept.map(|kept| kept.left_bytes),
        ..Figures::default()
    }
}

fn not_due(session: &Session, target: &Target, next: crate::clock::Timestamp) {
    let name = &target.name;
    if session.screen.json {
        let line = json!({ "message_type": "not_due", "repository": name, "next": rfc3339(next) });
        session.screen.json_line(&line);
    } else {
        session.screen.line(&format!("{name} is not due before {}", time_text(next)));
    }
}

fn exit_of(report: &CheckReport) -> Exit {
    let kept = report.standing.as_ref().and_then(|standing| standing.kept);
    match (report.is_damaged(), report.is_partial()) {
        (true, _) => Exit::Damage,
        (false, true) => Exit::Failed,
        (false, false) if kept.is_some_and(|kept| !kept.is_on_time()) => Exit::Overdue,
        (false, false) => Exit::Complete,
    }
}

/// A time for programs.
pub(super) fn rfc3339(time: crate::format::node::Timestamp) -> String {
    let instant = jiff::Timestamp::new(time.seconds, i32::try_from(time.nanos).unwrap_or(0));
    instant.map_or_else(|_| time.seconds.to_string(), |instant| instant.to_string())
}
