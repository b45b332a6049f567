//! The rollback itself: stand still, keep the present state, files, databases, go on.

use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

use serde_json::json;

use super::RollBack;
use super::check::{Obstacle, quiesce};
use super::marker::{Begun, Marker};
use super::plan::Planned;
use super::tell::refused;
use crate::clock::Clock as _;
use crate::command::backup::present_state;
use crate::command::load::{differing, stream_into};
use crate::command::lock::take_lock;
use crate::command::restore::failure;
use crate::command::{Opened, Session};
use crate::destination::{Destination, Overwrite};
use crate::job::{Asked, Quiesced, Surroundings, recover};
use crate::operation::restore::{Act, RestoreOptions, RestoreStats, restore, surplus, verify};
use crate::repository::{BlobReader, Index};
use crate::ui::text::{count, line_text};
use crate::ui::{Exit, Failure};

/// What one works with.
struct Run<'a, 'r> {
    of: &'a RollBack<'a>,
    planned: &'a Planned<'a>,
    surroundings: &'a Surroundings,
    opened: &'a Opened,
    index: &'a Index,
    reader: &'a mut BlobReader<'r>,
}

/// What was done.
struct Done {
    exit: Exit,
    before: Option<String>,
    stats: RestoreStats,
    deleted: u64,
    rows: u64,
}

/// Does it; whatever was stopped goes on, however it ends.
///
/// # Errors
/// With what state everything is in, and how to go on or back.
pub(super) fn act(
    of: &RollBack<'_>,
    planned: &Planned<'_>,
    surroundings: &Surroundings,
    opened: &Opened,
    index: &Index,
    reader: &mut BlobReader<'_>,
) -> Result<Exit, Failure> {
    let marker = Marker::hold(&planned.name)?;
    let mut still = Quiesced::new(surroundings.clone());
    let mut run = Run { of, planned, surroundings, opened, index, reader };
    let result = run.stand_still(&mut still).and_then(|()| run.change(&marker));
    let mut goes_on = still.end();
    // What a rollback that was killed has stopped: only now, for it must not start half-way.
    goes_on &= recover(surroundings).unwrap_or(false);
    let screen = &of.session.screen;
    let worse = |exit: Exit| if goes_on { exit } else { exit.worst(Exit::Hook) };
    match result {
        Ok(done) => {
            let exit = worse(done.exit);
            tell(of.session, planned, &done, exit);
            Ok(exit)
        }
        Err(mut failure) => {
            if !goes_on {
                screen.warning("something that was stopped is not going again; see above");
            }
            failure.exit = worse(failure.exit);
            Err(failure)
        }
    }
}

impl Run<'_, '_> {
    /// Stops what the profile stops, and sees that nobody uses the databases any more.
    fn stand_still(&self, still: &mut Quiesced) -> Result<(), Failure> {
        let planned = self.planned;
        for used in quiesce(planned) {
            if let Err(error) = still.begin(&planned.profile.name, &planned.plan.roots, used) {
                let what = format!("`{}` cannot stop the service", used.hook);
                return Err(refused(planned, &[Obstacle::of_hook(&what, &error)]));
            }
        }
        for dump in &planned.dumps {
            if let Err(error) = dump.way.ask(self.surroundings, &planned.profile.name, Asked::Unused) {
                return Err(refused(planned, &[Obstacle::of_hook(&dump.name, &error)]));
            }
        }
        Ok(())
    }

    fn change(&mut self, marker: &Marker) -> Result<Done, Failure> {
        let screen = &self.of.session.screen;
        let id = self.planned.info.id;
        let before = match marker.earlier(self.planned.newest_seconds) {
            Some(earlier) => {
                let short = |id: &str| id.get(..8).unwrap_or(id).to_owned();
                let kept = earlier.before.as_deref().map_or_else(
                    || "no snapshot of the state before it was made".to_owned(),
                    |before| format!("the state before it is snapshot {}", short(before)),
                );
                screen.note(&format!("an earlier rollback to {} did not end; {kept}", short(&earlier.snapshot)));
                earlier.before
            }
            None if self.of.backup_first => Some(self.keep_present()?),
            None => None,
        };
        // From here on no backup of it begins: it would be of something that is half put back.
        let alone = |name: &String| {
            take_lock(self.of.session, &format!("profile-{name}"), name, std::time::Duration::from_secs(3600))
        };
        let _alone = self.planned.profile_name.as_ref().map(alone).transpose()?;
        let began_seconds = self.of.session.clock.wall().seconds;
        let name = self.planned.name.clone();
        let begun = Begun { name, snapshot: id.to_string(), before: before.clone(), began_seconds };
        marker.write(&begun)?;
        let half = |failure: Failure, state: &str| half_way(failure, state, &begun);
        let (stats, deleted, mut exit) =
            self.files().map_err(|failure| half(failure, "files are partly put back, and no database was changed"))?;
        let mut rows = 0;
        for (at, dump) in self.planned.dumps.iter().enumerate() {
            let loaded = self.database(at).map_err(|failure| {
                let done: Vec<&str> = self.planned.dumps.iter().take(at).map(|done| done.name.as_str()).collect();
                let done = if done.is_empty() { "no database".to_owned() } else { done.join(", ") };
                half(failure, &format!("the files are put back, {done} is loaded, and {} is not", dump.name))
            })?;
            rows += loaded.1;
            exit = exit.worst(loaded.0);
        }
        marker.clear();
        Ok(Done { exit, before, stats, deleted, rows })
    }

    /// The snapshot of the present state.
    fn keep_present(&self) -> Result<String, Failure> {
        let planned = self.planned;
        let made = present_state(self.of.session, self.surroundings, &planned.profile, planned.profile_name.clone());
        let hint = "put this right and run it again, or add --no-backup-first to go without a way back";
        match made {
            Ok((Exit::Complete | Exit::Behind | Exit::Anomaly, Some(id))) => {
                if !self.of.session.screen.json {
                    let name = line_text(&planned.name);
                    let short = id.get(..8).unwrap_or(&id);
                    self.of.session.screen.line(&format!("the present state of {name} is snapshot {short}"));
                }
                Ok(id)
            }
            Ok((exit, _)) => {
                let message = "the snapshot of the present state is not complete, so nothing was changed";
                Err(Failure::new(exit.worst(Exit::Incomplete), message, hint))
            }
            Err(mut failure) => {
                let cause = std::mem::replace(
                    &mut failure.message,
                    "there is no snapshot of the present state, so nothing was changed".to_owned(),
                );
                failure.causes.insert(0, cause);
                failure.causes.extend(failure.hint.replace(hint.to_owned()));
                Err(failure)
            }
        }
    }

    /// Puts the files back, without what the snapshot does not have.
    fn files(&mut self) -> Result<(RestoreStats, u64, Exit), Failure> {
        let (of, planned) = (self.of, self.planned);
        let (session, cancel) = (of.session, of.session.interrupted());
        let destination = Destination::open(Path::new("/"), of.owner)?;
        let gone = surplus(self.reader, &planned.selected, &destination, &planned.spared, Act::Remove, cancel)
            .map_err(failure)?;
        let options = RestoreOptions {
            overwrite: Overwrite::Always,
            delete: false,
            threads: std::thread::available_parallelism().map_or(2, usize::from).clamp(1, 16),
        };
        let stats = RestoreStats::default();
        let progress = session.screen.progress("restore");
        progress.phase("restoring", None);
        let repository = &self.opened.repository;
        let selected = &planned.selected;
        let restored =
            restore(repository, self.index, None, selected, &destination, options, &stats, &*progress, cancel);
        let verified = match &restored {
            Ok(()) if of.verify => {
                progress.phase("verifying", None);
                verify(self.reader, selected, &destination, &*progress).map(Some)
            }
            _ => Ok(None),
        };
        progress.finish();
        restored.map_err(failure)?;
        let differences = verified.map_err(failure)?.unwrap_or_default();
        let problems = stats.problems();
        for problem in problems.iter().chain(&gone.problems).chain(&differences).take(20) {
            session.screen.warning(&format!("{}: {}", problem.path, problem.message));
        }
        if problems.iter().any(|problem| problem.damage) {
            let hint = "take another snapshot, or another repository (--repo)";
            return Err(Failure::new(Exit::Damage, "the snapshot is damaged", hint));
        }
        let mut exit = Exit::Complete;
        if !problems.is_empty() || !gone.problems.is_empty() {
            exit = Exit::Incomplete;
        }
        if !differences.is_empty() {
            exit = exit.worst(Exit::Verification);
        }
        Ok((stats, gone.files, exit))
    }

    /// Replaces a database by its dump; gives how it compares, and its rows.
    fn database(&self, at: usize) -> Result<(Exit, u64), Failure> {
        let Some(dump) = self.planned.dumps.get(at) else { return Ok((Exit::Complete, 0)) };
        let session = self.of.session;
        let from = (session, self.opened, self.index);
        let (server, profile) = (&dump.way.server, &self.planned.profile.name);
        let facts = stream_into(from, self.surroundings, profile, server, (&dump.stream, &dump.node), true)?;
        for warning in &facts.warnings {
            session.screen.warning(warning);
        }
        let differing = differing(dump.rows(), &facts.rows);
        for table in differing.iter().take(20) {
            let now = facts.rows.get(&table.table).map_or_else(|| "none".to_owned(), u64::to_string);
            session
                .screen
                .warning(&format!("{}: {}: {} rows when it was dumped, {now} now", dump.name, table.table, table.rows));
        }
        let rows = facts.rows.values().sum();
        session.screen.note(&format!(
            "{}: {}, {}",
            dump.name,
            count(facts.rows.len() as u64, "table", "tables"),
            count(rows, "row", "rows")
        ));
        Ok((if differing.is_empty() { Exit::Complete } else { Exit::Verification }, rows))
    }
}

/// What state it is in, and how to go on or back.
fn half_way(mut failure: Failure, state: &str, begun: &Begun) -> Failure {
    let cause = std::mem::replace(&mut failure.message, format!("the rollback is half done: {state}"));
    failure.causes.insert(0, cause);
    failure.causes.extend(failure.hint.take());
    let back = begun
        .before
        .as_deref()
        .map(|before| format!("; or go back: `bk restore {} --in-place`", before.get(..8).unwrap_or(before)));
    let id = begun.snapshot.get(..8).unwrap_or(&begun.snapshot);
    failure.hint = Some(format!("complete it: `bk restore {id} --in-place`{}", back.unwrap_or_default()));
    failure
}

fn tell(session: &Session, planned: &Planned<'_>, done: &Done, exit: Exit) {
    let screen = &session.screen;
    let stats = &done.stats;
    if screen.json {
        screen.json_line(&json!({
            "message_type": "rollback", "dry_run": false, "profile": planned.profile_name,
            "snapshot_id": planned.info.id.to_string(), "before_id": done.before,
            "files_restored": stats.files.load(Relaxed), "files_deleted": done.deleted,
            "bytes_written": stats.written_bytes.load(Relaxed), "bytes_kept": stats.kept_bytes.load(Relaxed),
            "databases": planned.dumps.iter().map(|dump| dump.name.as_str()).collect::<Vec<_>>(), "rows": done.rows,
            "code": exit.code(),
        }));
        return;
    }
    screen.note(&format!(
        "{} put back, {} taken away, {} loaded",
        count(stats.files.load(Relaxed), "file", "files"),
        count(done.deleted, "file", "files"),
        count(planned.dumps.len() as u64, "database", "databases"),
    ));
    let back = done.before.as_deref().map_or_else(String::new, |before| {
        let before = before.get(..8).unwrap_or(before);
        format!("; back to the state before: `bk restore {before} --in-place`")
    });
    let (name, id) = (line_text(&planned.name), planned.info.id.short());
    let well = if exit == Exit::Complete { "" } else { ", NOT IN EVERYTHING: see above" };
    screen.line(&format!("{name} is as in snapshot {id}{well}{back}"));
}
