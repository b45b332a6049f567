//! What repositories in restic's format get after a backup: the snapshots that they lack, from a repository of bk.

use std::collections::BTreeSet;

use super::everywhere::Remaining;
use super::outcome::Destination;
use super::{BackupArgs, Job};
use crate::command::export::{Escape, Filled, lacking, tell_exported};
use crate::command::record::Watch;
use crate::command::restic::ResticPasswordArgs;
use crate::command::session::{Target, host_name};
use crate::command::{Opened, Session};
use crate::interop::restic::Access;
use crate::operation::forget::Group;
use crate::repository::{SnapshotInfo, Snapshots};
use crate::state::Figures;
use crate::ui::text::count;
use crate::ui::{Exit, Failure};

impl BackupArgs {
    /// Exports to each of `targets` what it lacks of the job. One that fails is behind, and loses no backup.
    ///
    /// # Errors
    /// When the user wants it to end.
    pub(super) fn export_everywhere(
        &self,
        session: &Session,
        job: &Job,
        targets: &[Target],
        source: &Opened,
        remaining: &mut Remaining<'_>,
    ) -> Result<(), Failure> {
        let snapshot = remaining.done.as_ref().and_then(|(_, snapshot)| snapshot.clone());
        let is_first = |one: &&Destination| one.snapshot.is_some() && one.snapshot == snapshot;
        let first = remaining.destinations.iter().find(is_first).cloned();
        for target in targets {
            let (watch, mut done) = (Watch::start(session), Filled::default());
            let exported = self.export_to(session, job, target, source, snapshot.as_deref(), remaining.away, &mut done);
            match exported {
                Ok(_) if self.dry_run => {}
                Ok(has_it) => {
                    let got = first.as_ref().filter(|_| has_it).map(|first| exported_too(first, &target.name, &done));
                    let nothing = Destination::nothing(&target.name);
                    remaining.destinations.push(Destination { seconds: watch.seconds(), ..got.unwrap_or(nothing) });
                }
                Err(failure) => {
                    report_behind(session, &target.name, &failure);
                    let missed = Destination::missed(&target.name, Exit::Behind, &failure);
                    remaining.destinations.push(Destination { seconds: watch.seconds(), ..missed });
                    if failure.exit == Exit::Interrupted {
                        return Err(failure);
                    }
                    remaining.behind.push(failure);
                }
            }
        }
        Ok(())
    }

    /// Whether the snapshot of this run is there now.
    #[expect(clippy::too_many_arguments, reason = "what, whence, where to, and what came of it")]
    fn export_to(
        &self,
        session: &Session,
        job: &Job,
        target: &Target,
        source: &Opened,
        snapshot: Option<&str>,
        away: &mut BTreeSet<String>,
        done: &mut Filled,
    ) -> Result<bool, Failure> {
        if away.contains(&target.name) {
            let hint = "see what was said of it before";
            return Err(Failure::new(Exit::Failed, "it could not be opened a moment ago", hint));
        }
        let own = Snapshots::load(&source.repository)?;
        let access = if self.dry_run { Access::Read } else { Access::Write };
        let opened = Escape::open(session, target, access, &ResticPasswordArgs::default(), &own);
        // Whoever has locked it, or does not answer, is not waited for again with the next profile.
        let mut escape = opened.inspect_err(|_| {
            away.insert(target.name.clone());
        })?;
        let wanted = wanted(session, job, &escape, &own, snapshot);
        if self.dry_run {
            let earlier = count(wanted.len() as u64, "earlier snapshot", "earlier snapshots");
            session.screen.note(&format!("{} would get {earlier} and the one of this run", target.name));
            return Ok(false);
        }
        escape.fill(session, source, &wanted, done, &mut |info, stats| {
            tell_exported(session, &target.name, info, stats);
        })?;
        match done.unreadable.first() {
            Some(failure) => Err(failure.clone()),
            None => {
                Ok(own.all.iter().any(|info| Some(info.id.to_string().as_str()) == snapshot && escape.has(&info.id)))
            }
        }
    }
}

/// What a repository should get: what its rules keep of the job on this machine, and the snapshot of this run in any
/// case, as the others do.
fn wanted(session: &Session, job: &Job, escape: &Escape, own: &Snapshots, snapshot: Option<&str>) -> Vec<SnapshotInfo> {
    let host = host_name();
    let is_of_job = |group: &Group| group.host == host && group.profile.as_deref() == job.profile_name();
    let mut wanted = lacking(session, &escape.name, &escape.held, own, &is_of_job);
    let newest = own.all.iter().find(|info| Some(info.id.to_string().as_str()) == snapshot);
    let newest = newest.filter(|info| !escape.has(&info.id) && wanted.iter().all(|known| known.id != info.id));
    wanted.extend(newest.cloned());
    wanted
}

/// A repository in restic's format that has what `first` has.
fn exported_too(first: &Destination, name: &str, done: &Filled) -> Destination {
    let figures = Figures { stored_bytes: Some(done.stored_bytes), new_bytes: None, ..first.figures };
    Destination { repository: name.to_owned(), dumps_seconds: 0.0, figures, ..first.clone() }
}

fn report_behind(session: &Session, name: &str, failure: &Failure) {
    session.screen.warning(&format!("{name} IS BEHIND: {}", failure.in_one_line()));
    if let Some(hint) = &failure.hint {
        session.screen.warning(&format!("{hint}; the next run brings it up to date, or `bk export {name}`"));
    }
}
