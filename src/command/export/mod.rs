//! `bk export`: snapshots into a repository in restic's format.

mod escape;
mod prune;

use clap::Args;
use serde_json::{Value, json};

pub(super) use escape::{Escape, Filled, lacking, own_snapshots};
pub(super) use prune::{prune_open, prune_restic};

use super::record::{Record, Watch};
use super::restic::{ResticPasswordArgs, create_restic};
use super::session::Target;
use super::snapshots::subject;
use super::{Opened, Session};
use crate::id::{IdPrefix, to_hex};
use crate::interop::restic::{Access, ExportStats};
use crate::operation::forget::Group;
use crate::repository::{SnapshotInfo, Snapshots};
use crate::size::ByteSize;
use crate::state::{Figures, Verb};
use crate::ui::text::{count, line_text, rfc3339, time_text};
use crate::ui::{Align, Exit, Failure, Table};

/// Write snapshots into a repository in restic's format
///
/// restic and rustic can restore them, without bk. The repository is made when there is none. It gets the snapshots that
/// it lacks, but for those that its own rules would let go of; what was exported already is not exported again, and a
/// command that was stopped goes on where it was. It is read from the nearest repository of bk, or the one of --repo.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bk export restic:/mnt/usb/restic              everything that the rules keep
  bk export escape wiki                         the profile `wiki`, to a configured repository
  bk export escape 1a2b3c4d                     one snapshot, whatever the rules say
  bk export restic:sftp:me@host:/srv/restic -n  what would be exported")]
pub struct ExportArgs {
    /// Where to: a location with `restic:` before it, or the name of a configured repository in restic's format
    #[arg(value_name = "NAME|LOCATION")]
    to: String,
    /// Only snapshots of these profiles, or just these snapshots
    #[arg(value_name = "PROFILE|SNAPSHOT")]
    what: Vec<String>,
    /// Only snapshots of this machine
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Also what the rules of the repository would let go of
    #[arg(long)]
    all: bool,
    /// Say what would be exported
    #[arg(short = 'n', long)]
    dry_run: bool,
    #[command(flatten)]
    password: ResticPasswordArgs,
}

/// What is to be exported, oldest first.
struct Wanted {
    snapshots: Vec<SnapshotInfo>,
    /// Snapshots that rules let go of.
    left_out: u64,
    /// Snapshots that are meant and there already.
    there: u64,
}

impl ExportArgs {
    /// Runs the command.
    ///
    /// # Errors
    /// When the command line is wrong, or as they come. What was exported before stays.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let target = session.target(&self.to)?;
        if !target.is_restic() {
            return Err(Failure::usage(
                format!("{} is not in restic's format", target.name),
                "write `restic:` before the location; `bk copy` brings repositories of bk up to date from each other",
            ));
        }
        let (from, own) = session.open_nearest(session.own_targets(&[])?)?;
        let record = (!self.dry_run).then(|| Record::begin(session, "export"));
        let watch = Watch::start(session);
        let done = self.export(session, &target, &from, &own);
        let exit = done.as_ref().map_or_else(|failure| failure.exit, |(exit, _)| *exit);
        if let Some(record) = &record {
            let filled = done.as_ref().map(|(_, filled)| filled).ok();
            let figures = Figures { stored_bytes: filled.map(|filled| filled.stored_bytes), ..Figures::default() };
            record.keep_of_repository(Verb::Copy, &target, watch, exit, figures);
            record.end(exit);
        }
        done.map(|(exit, _)| exit)
    }

    fn export(
        &self,
        session: &Session,
        target: &Target,
        from: &Opened,
        own: &Snapshots,
    ) -> Result<(Exit, Filled), Failure> {
        let access = if self.dry_run { Access::Read } else { Access::Write };
        let escape = match Escape::open(session, target, access, &self.password, own) {
            Ok(escape) => Some(escape),
            Err(failure) if failure.exit == Exit::NoRepository => None,
            Err(failure) => return Err(failure),
        };
        let empty = Snapshots { facts: own.facts.clone(), ..Snapshots::default() };
        let held = escape.as_ref().map_or(&empty, |escape| &escape.held);
        let wanted = self.wanted(session, target, own, held)?;
        self.tell_plan(session, target, &wanted, escape.is_none());
        let mut done = Filled::default();
        if self.dry_run {
            return Ok((Exit::Complete, done));
        }
        let mut escape = match escape {
            Some(escape) => escape,
            None => {
                let restic = create_restic(session, target, &self.password)?;
                Escape::of(session, &target.name, restic, own)?
            }
        };
        let filled = escape.fill(session, from, &wanted.snapshots, &mut done, &mut |info, stats| {
            tell_exported(session, &target.name, info, stats);
        });
        for failure in &done.unreadable {
            session.screen.failure(failure);
        }
        tell_summary(session, &target.name, &wanted, &done);
        filled?;
        let unreadable = done.unreadable.iter().map(|failure| failure.exit);
        Ok((unreadable.fold(Exit::Complete, Exit::worst), done))
    }

    fn wanted(&self, session: &Session, target: &Target, own: &Snapshots, held: &Snapshots) -> Result<Wanted, Failure> {
        let (ids, profiles): (Vec<_>, Vec<_>) = self.what.iter().partition(|word| IdPrefix::looks_like(word));
        if let Some(path) = profiles.iter().find(|word| word.contains('/')) {
            return Err(Failure::usage(
                format!("`{path}` is a path, where a profile or a snapshot is expected"),
                "name the repository to be read from with --repo",
            ));
        }
        if !ids.is_empty() && !profiles.is_empty() {
            return Err(Failure::usage(
                "profiles and snapshots cannot be exported in one command",
                "name one or the other",
            ));
        }
        let is_held = |info: &SnapshotInfo| held.all.iter().any(|one| one.id == info.id);
        if !ids.is_empty() {
            return named(session, target, &ids, own, &is_held);
        }
        let is_meant = |group: &Group| {
            (profiles.is_empty() || group.profile.as_ref().is_some_and(|profile| profiles.contains(&profile)))
                && self.host.as_ref().is_none_or(|host| *host == group.host)
        };
        let meant: Vec<_> = own.all.iter().filter(|info| is_meant(&Group::of(&info.snapshot))).collect();
        let of_profile = |profile: &str| meant.iter().any(|info| info.snapshot.profile.as_deref() == Some(profile));
        if let Some(profile) = profiles.iter().find(|profile| !of_profile(profile)) {
            return Err(Failure::usage(
                format!("there is no snapshot of {profile} to be exported"),
                "see the profiles in `bk snapshots`",
            ));
        }
        let there = meant.iter().filter(|info| is_held(info)).count();
        let snapshots = if self.all {
            meant.iter().filter(|info| !is_held(info)).map(|info| (*info).clone()).collect()
        } else {
            lacking(session, &target.name, held, own, &is_meant)
        };
        let left_out = meant.len().saturating_sub(there + snapshots.len()) as u64;
        Ok(Wanted { snapshots, left_out, there: there as u64 })
    }

    fn tell_plan(&self, session: &Session, target: &Target, wanted: &Wanted, is_missing: bool) {
        let screen = &session.screen;
        if screen.json {
            screen.json_line(&json!({
                "message_type": "plan", "repository": target.name, "dry_run": self.dry_run, "makes": is_missing,
                "snapshots": wanted.snapshots.iter().map(snapshot_json).collect::<Vec<_>>(),
                "left_out": wanted.left_out, "there": wanted.there,
            }));
            return;
        }
        if is_missing {
            let verb = if self.dry_run { "would be made" } else { "is made" };
            screen.note(&format!("there is no repository in {} yet; it {verb}", target.location));
        }
        if wanted.left_out > 0 {
            let left = count(wanted.left_out, "snapshot is", "snapshots are");
            screen.note(&format!("{left} left out, as the rules of {} let go of them; --all takes them", target.name));
        }
        if self.dry_run && !wanted.snapshots.is_empty() {
            let titles = [("ID", Align::Left), ("TIME", Align::Left), ("HOST", Align::Left), ("WHAT", Align::Left)];
            let mut table = Table::new(&titles);
            for info in &wanted.snapshots {
                let snapshot = &info.snapshot;
                let (time, host) = (time_text(snapshot.start), line_text(&snapshot.host));
                table.row([info.id.short(), time, host, subject(snapshot)]);
            }
            table.lines().iter().for_each(|line| screen.line(line));
        }
        let would = count(wanted.snapshots.len() as u64, "snapshot", "snapshots");
        match (self.dry_run, wanted.snapshots.is_empty()) {
            (true, false) => screen.line(&format!("{would} would be exported to {}", target.name)),
            (true, true) => screen.line(&format!("{} has all that it should have", target.name)),
            (false, false) => screen.note(&format!("{would} to be exported to {}", target.name)),
            (false, true) => {}
        }
    }
}

/// The snapshots that were named, whatever the rules say.
fn named(
    session: &Session,
    target: &Target,
    ids: &[&String],
    own: &Snapshots,
    is_held: &dyn Fn(&SnapshotInfo) -> bool,
) -> Result<Wanted, Failure> {
    let mut wanted = Wanted { snapshots: Vec::new(), left_out: 0, there: 0 };
    for id in ids {
        let id = IdPrefix::new(id).map_err(|error| Failure::of(Exit::Usage, &error, "see `bk snapshots`"))?;
        let info = own.by_id(&id)?;
        if is_held(info) {
            session.screen.note(&format!("snapshot {} is in {} already", info.id.short(), target.name));
            wanted.there += 1;
        } else if wanted.snapshots.iter().all(|known| known.id != info.id) {
            wanted.snapshots.push(info.clone());
        }
    }
    wanted.snapshots.sort_by_key(|info| (info.snapshot.start, info.snapshot.end, info.id));
    Ok(wanted)
}

fn snapshot_json(info: &SnapshotInfo) -> Value {
    json!({
        "id": info.id.to_string(), "time": rfc3339(info.snapshot.start), "host": info.snapshot.host,
        "profile": info.snapshot.profile,
    })
}

/// Tells of one snapshot that was exported.
pub(super) fn tell_exported(session: &Session, name: &str, info: &SnapshotInfo, stats: &ExportStats) {
    let screen = &session.screen;
    if screen.json {
        screen.json_line(&json!({
            "message_type": "exported", "repository": name, "snapshot": snapshot_json(info),
            "restic_id": to_hex(&stats.id), "entries": stats.entries, "total_bytes": stats.total_bytes,
            "files_read": stats.read_files, "data_added_packed": stats.stored_bytes,
        }));
        return;
    }
    let mut there = to_hex(&stats.id);
    there.truncate(crate::id::SHORT_DIGITS);
    screen.line(&format!(
        "snapshot {} of {}, {}, is {there} in {name}, which grew by {}",
        info.id.short(),
        time_text(info.snapshot.start),
        subject(&info.snapshot),
        ByteSize(stats.stored_bytes)
    ));
}

fn tell_summary(session: &Session, name: &str, wanted: &Wanted, done: &Filled) {
    let screen = &session.screen;
    if screen.json {
        screen.json_line(&json!({
            "message_type": "summary", "repository": name,
            "snapshots": done.snapshots.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "total_bytes": done.total_bytes, "data_added_packed": done.stored_bytes,
            "unreadable": done.unreadable.len(),
            "left_out": wanted.left_out, "there": wanted.there,
        }));
        return;
    }
    if wanted.snapshots.is_empty() {
        screen.line(&format!("{name} has all that it should have"));
        return;
    }
    let snapshots = count(done.snapshots.len() as u64, "snapshot", "snapshots");
    let (size, stored) = (ByteSize(done.total_bytes), ByteSize(done.stored_bytes));
    screen.line(&format!("{name} got {snapshots} of {size}, and grew by {stored}"));
}
