//! One run into all the repositories of a profile, with one reading of the source.

use std::collections::BTreeSet;

use jiff::tz::TimeZone;

use super::outcome::Destination;
use super::report::{report, report_behind, report_sibling};
use super::{BackupArgs, Job};
use crate::clock::Clock as _;
use crate::command::create::open_or_create;
use crate::command::opening::{Copies, store_opener};
use crate::command::session::Target;
use crate::command::{Opened, Session};
use crate::format::snapshot::Outcome;
use crate::job::{Around, Plan, Surroundings};
use crate::operation::backup::{BackupError, BackupStats, Sibling, SiblingStats, backup_with_siblings};
use crate::operation::copy::{CopyError, missing};
use crate::operation::forget::{ForgetOptions, Group, Policy};
use crate::repository::{RepositoryError, SnapshotInfo, Snapshots};
use crate::source::command::CommandError;
use crate::ui::{Exit, Failure};

/// What a run came to, and its snapshot.
pub(super) type Done = (Exit, Option<String>);

/// What is still to be done, and what came of the rest.
pub(super) struct Remaining<'a> {
    targets: Vec<Target>,
    pub(super) behind: Vec<Failure>,
    pub(super) done: Option<Done>,
    pub(super) destinations: &'a mut Vec<Destination>,
    /// Names of repositories whose servers did not answer.
    pub(super) away: &'a mut BTreeSet<String>,
}

impl Remaining<'_> {
    /// Whether another repository may yet take what this one did not.
    fn put_off(&mut self, session: &Session, name: &str, failure: Failure) -> Result<(), Failure> {
        if failure.exit == Exit::Interrupted
            || (self.targets.is_empty() && self.done.is_none() && self.behind.is_empty())
        {
            return Err(failure);
        }
        report_behind(session, name, &failure);
        self.destinations.push(Destination::missed(name, Exit::Failed, &failure));
        self.behind.push(failure);
        Ok(())
    }
}

impl BackupArgs {
    /// The source is read for the first repository that can be opened, the nearest one; the others get what that one
    /// got. Where one fails on the way, the next takes its place. One whose server is `away` is not waited for again.
    pub(super) fn run_everywhere(
        &self,
        session: &Session,
        surroundings: &Surroundings,
        job: &Job,
        plan: &Plan,
        away: &mut BTreeSet<String>,
        destinations: &mut Vec<Destination>,
    ) -> Result<Done, Failure> {
        // Those in restic's format get what the others have by then.
        let (escapes, mut targets): (Vec<_>, Vec<_>) =
            session.targets(&job.profile.to)?.into_iter().partition(Target::is_restic);
        if let (Some(escape), true) = (escapes.first(), targets.is_empty()) {
            return Err(only_of_restic(escape));
        }
        let mut behind = Vec::new();
        if targets.iter().any(|target| !away.contains(&target.name)) {
            targets.retain(|target| {
                let is_away = away.contains(&target.name);
                if is_away {
                    let hint = "check the network and the server";
                    let failure = Failure::new(Exit::Failed, "its server did not answer a moment ago", hint);
                    report_behind(session, &target.name, &failure);
                    destinations.push(Destination::missed(&target.name, Exit::Behind, &failure));
                    behind.push(failure);
                }
                !is_away
            });
        }
        // Nearest first: what was put there is read again for the others.
        targets.sort_by_key(|target| target.location.local().is_none());
        if self.dry_run {
            for left_out in targets.split_off(targets.len().min(1)) {
                session.screen.note(&format!("{} is left out of a dry run", left_out.name));
            }
        }
        let mut remaining = Remaining { targets, behind, done: None, destinations, away };
        let mut source = None;
        while !remaining.targets.is_empty() {
            let first = remaining.targets.remove(0);
            match open_or_create(session, &first) {
                Ok(opened) => {
                    self.run_first(session, surroundings, job, plan.clone(), &opened, &mut remaining)?;
                    source = source.or(Some(opened).filter(|_| remaining.done.is_some()));
                }
                Err(failure) => remaining.put_off(session, &first.name, failure)?,
            }
        }
        if let Some(source) = source {
            self.export_everywhere(session, job, &escapes, &source, &mut remaining)?;
        }
        match (remaining.done, remaining.behind.into_iter().next()) {
            (Some((exit, snapshot)), None) => Ok((exit, snapshot)),
            (Some((exit, snapshot)), Some(_)) => Ok((exit.worst(Exit::Behind), snapshot)),
            (None, Some(failure)) => Err(failure),
            (None, None) => Err(Failure::usage("no repository is configured", "name one with --repo")),
        }
    }

    /// Backs up into one repository, and what it got into the others that are left.
    fn run_first(
        &self,
        session: &Session,
        surroundings: &Surroundings,
        job: &Job,
        plan: Plan,
        opened: &Opened,
        remaining: &mut Remaining<'_>,
    ) -> Result<(), Failure> {
        let around = Around::begin(surroundings, &job.profile.name, plan);
        let mut went_on = true;
        let result = self.back_up(session, surroundings, opened, job, &around, &remaining.targets, &mut went_on);
        let (result, siblings) = match result {
            Ok(result) => result,
            Err(failure) => return if around.end() { Err(failure) } else { Err(with_hook(failure)) },
        };
        let stats = match result {
            Ok(stats) => stats,
            // The source can be read again, for the next repository.
            Err(BackupError::Repository(error)) if self.name.is_none() => {
                return remaining.put_off(session, &opened.name, error.into());
            }
            Err(error) => return Err(failure(error)),
        };
        let mut exit = match stats.outcome {
            Outcome::Complete if !stats.anomalies.is_empty() => Exit::Anomaly,
            Outcome::Complete => Exit::Complete,
            Outcome::Incomplete if stats.problems.has("dump") => Exit::Hook,
            Outcome::Incomplete => Exit::Incomplete,
        };
        if !went_on {
            exit = exit.worst(Exit::Hook);
        }
        let first = Destination::first(&opened.name, exit, &stats);
        remaining.destinations.push(first.clone());
        let (before, _) = remaining.done.take().unwrap_or((Exit::Complete, None));
        remaining.done = Some((exit.worst(before), stats.snapshot.map(|info| info.id.to_string())));
        let others = std::mem::take(&mut remaining.targets);
        for (target, mut stats) in others.into_iter().zip(siblings) {
            match stats.behind.take() {
                // Another family: it is backed up on its own.
                Some(CopyError::Repository(RepositoryError::NotSibling { .. })) => remaining.targets.push(target),
                Some(error) => {
                    if matches!(&error, CopyError::Repository(RepositoryError::Store(error)) if error.is_away()) {
                        remaining.away.insert(target.name);
                    }
                    let failure = Failure::from(error);
                    report_sibling(session, &stats, Some(&failure));
                    remaining.destinations.push(Destination::missed(&stats.name, Exit::Behind, &failure));
                    if failure.exit == Exit::Interrupted {
                        return Err(failure);
                    }
                    remaining.behind.push(failure);
                }
                None => {
                    report_sibling(session, &stats, None);
                    remaining.destinations.push(Destination::sibling(&first, &stats));
                }
            }
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "all that one run consists of")]
    fn back_up(
        &self,
        session: &Session,
        surroundings: &Surroundings,
        opened: &Opened,
        job: &Job,
        around: &Around,
        others: &[Target],
        went_on: &mut bool,
    ) -> Result<(Result<BackupStats, BackupError>, Vec<SiblingStats>), Failure> {
        let after = || around.after_streams();
        let mut options = self.options(session, job, surroundings, &around.plan, &after)?;
        let repository = if self.dry_run { opened.repository.dry() } else { opened.repository.clone() };
        let siblings = others.iter().map(|target| sibling(session, job, target)).collect::<Result<Vec<_>, _>>()?;
        let progress = session.screen.progress("backup");
        let (mut streams, problems) = around.streams(&options.hook_results);
        options.known_problems.extend(problems);
        streams.extend(self.streams(session)?);
        let done = backup_with_siblings(
            &repository,
            siblings,
            &options,
            streams,
            &session.clock,
            &*progress,
            session.interrupted(),
            |result| {
                // Nothing has to stand still while the others are filled.
                *went_on = around.end();
                if let Ok(stats) = result {
                    report(session, opened, job, stats, self.dry_run);
                }
            },
        );
        progress.finish();
        Ok(done)
    }
}

/// What fills a target beside the first.
fn sibling<'a>(session: &'a Session, job: &'a Job, target: &Target) -> Result<Sibling<'a>, Failure> {
    let open = store_opener(target, Copies::Kept, session.stop())?;
    let name = target.name.clone();
    Ok(Sibling {
        name: target.name.clone(),
        open: Box::new(open),
        missing: Box::new(move |from, to| missing_in(session, job, &name, from, to)),
    })
}

/// The snapshots of a job on this machine that a repository should have and has not, by its own rules.
fn missing_in(session: &Session, job: &Job, name: &str, from: &Snapshots, to: &Snapshots) -> Vec<SnapshotInfo> {
    let host = crate::command::session::host_name();
    let policy = |group: &Group| {
        (group.host == host && group.profile == job.name).then(|| Policy {
            keep: session.config.keep(group.profile.as_deref(), name),
            max_age: session.config.max_age(group.profile.as_deref()),
        })
    };
    let zone = TimeZone::system();
    let now = session.clock.wall();
    let options = ForgetOptions { policy: &policy, zone: &zone, now, even_if_overdue: true, despite_anomalies: true };
    missing(from, to, &options)
}

/// A backup goes to repositories of bk.
fn only_of_restic(target: &Target) -> Failure {
    Failure::usage(
        format!("{} is in restic's format, which no backup goes to by itself", target.name),
        "back up to a repository of bk, and `bk export` what is in it",
    )
}

/// What failed first is what is told; that something still stands still has been said.
fn with_hook(mut failure: Failure) -> Failure {
    failure.exit = failure.exit.worst(Exit::Hook);
    failure
}

fn failure(error: BackupError) -> Failure {
    match error {
        BackupError::Repository(error) => error.into(),
        BackupError::NoSource(_) => Failure::of(Exit::Failed, &error, "check that the paths exist and are mounted"),
        BackupError::NoDump(_) => Failure::of(Exit::Hook, &error, "`bk doctor PROFILE` says what each dump lacks"),
        BackupError::Thread => Failure::of(Exit::Failed, &error, "run the command again and report this"),
        BackupError::Stream { ref name, ref source } => {
            let inner = source.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref());
            let command = inner.and_then(|inner| inner.downcast_ref::<CommandError>());
            let Some(command) = command else {
                return Failure::of(Exit::Failed, &error, "run the command again");
            };
            let interrupted = matches!(command, CommandError::Interrupted { .. });
            let exit = if interrupted { Exit::Interrupted } else { Exit::Hook };
            let mut failure = Failure::of(exit, command, command.hint());
            failure.causes.push(format!("{name} is not complete, so there is no snapshot"));
            let last = command.stderr().and_then(|text| text.trim_end().lines().last().map(str::to_owned));
            failure.causes.extend(last.filter(|line| !line.is_empty()).map(|line| format!("its last words: {line}")));
            failure
        }
    }
}
