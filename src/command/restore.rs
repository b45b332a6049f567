//! `bk restore`

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::json;

use super::load::Load;
use super::look::read_ahead;
use super::record::{Watch, keep_restore};
use super::rollback::RollBack;
use super::select::{FilterArgs, Selector};
use super::workers::workers;
use super::{Opened, Session, restore_note};
use crate::destination::{Destination, Overwrite, OwnerPolicy};
use crate::format::snapshot::{Outcome, Snapshot};
use crate::operation::restore::{
    Placement, Plan, RestoreError, RestoreOptions, RestoreProblem, RestoreStats, Selected, restore, select, verify,
};
use crate::repository::{BlobReader, Index, ReadAhead, SnapshotInfo};
use crate::size::ByteSize;
use crate::ui::text::{count, line_text, path_text, time_text};
use crate::ui::{Exit, Failure};

/// Put a snapshot, or part of it, back
///
/// Everything is put below DIR in a folder of the profile's name, under the full paths it came from. Nothing outside
/// that folder is touched. Running the same restore again completes one that was interrupted.
///
/// With --in-place the service itself goes back to what it was: its files and its databases, or nothing. Everything is
/// checked first. Then what `quiesce` of the profile names is stopped, the present state becomes a snapshot with the tag
/// before-rollback, files and databases are replaced, and what was stopped goes on. Excluded files and other file
/// systems are not touched, and the accounts of a database server stay as they are.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bk restore plex --to /tmp                    the newest complete snapshot of plex, under /tmp/plex
  bk restore latest --to /tmp /home/me/photos  one folder of the newest snapshot
  bk restore plex~1 --to /tmp --verify         the one before; everything is read again from the disk afterwards
  bk restore plex --at 2026-03-01 --dry-run --to /tmp
                                               what would be restored
  bk restore gitea --in-place --dry-run        what a rollback of the service would do
  bk restore 42482671 --in-place --yes         the service as it was then, without a question
  bk restore wiki --database wiki --to 'postgres:///wiki?socket=/run/postgresql'
                                               the dump of a database into a server, which must not have it yet
  bk restore sonarr --database sonarr.db --to sqlite:/var/lib/sonarr/sonarr.db
                                               an SQLite database to its place, without its old log
  bk --repo /mnt/ssd/bk --key-file kit.key restore plex --to /tmp
                                               on a bare machine, without any configuration")]
pub struct RestoreArgs {
    /// A profile, `latest`, `latest~1`, or digits of a snapshot's id
    #[arg(value_name = "SNAPSHOT")]
    snapshot: String,
    /// Only these paths of the snapshot
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Folder to restore below; with --database, where to load it
    #[arg(long, value_name = "DIR|URL", conflicts_with = "in_place", required_unless_present = "in_place")]
    to: Option<PathBuf>,
    /// Load a dump of this database into the server that --to names, or put an SQLite database to its place
    #[arg(long, value_name = "NAME", requires = "to", conflicts_with_all = ["paths", "in_place", "delete", "verify"])]
    database: Option<String>,
    /// With --database: what is in the database already may be lost
    #[arg(long, requires = "database")]
    replace: bool,
    /// Put the whole service back where it came from, files and databases together; what the snapshot does not have
    /// goes
    #[arg(long)]
    in_place: bool,
    /// With --in-place: put back only files, no database, and stop nothing
    #[arg(long, requires = "in_place")]
    files_only: bool,
    /// With --in-place: do not ask
    #[arg(long, requires = "in_place")]
    yes: bool,
    /// With --in-place: make no snapshot of the present state before it is replaced
    #[arg(long, requires = "in_place", conflicts_with = "files_only")]
    no_backup_first: bool,
    #[command(flatten)]
    filter: FilterArgs,
    /// What happens to files that exist
    #[arg(long, value_enum, default_value_t = OverwriteArg::Always, value_name = "WHEN")]
    overwrite: OverwriteArg,
    /// Take away what the snapshot does not have, inside the folders that are restored
    #[arg(long)]
    delete: bool,
    /// Whose the restored files are
    #[arg(long, value_enum, default_value_t = OwnerArg::Numeric, value_name = "HOW")]
    owner: OwnerArg,
    /// Read everything again from the disk afterwards and compare it with the snapshot
    #[arg(long)]
    verify: bool,
    /// Say what would be restored, and do nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum OverwriteArg {
    /// Make them what the snapshot says; only blocks that differ are written
    Always,
    /// Only those whose length or time differs
    IfChanged,
    /// Only those that are older than in the snapshot
    IfNewer,
    /// Leave them alone
    Never,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum OwnerArg {
    /// Users and groups by number, as they were
    Numeric,
    /// By name, where this machine has the name
    ByName,
    /// Whoever runs this
    Keep,
}

impl From<OverwriteArg> for Overwrite {
    fn from(argument: OverwriteArg) -> Self {
        match argument {
            OverwriteArg::Always => Self::Always,
            OverwriteArg::IfChanged => Self::IfChanged,
            OverwriteArg::IfNewer => Self::IfNewer,
            OverwriteArg::Never => Self::Never,
        }
    }
}

impl From<OwnerArg> for OwnerPolicy {
    fn from(argument: OwnerArg) -> Self {
        match argument {
            OwnerArg::Numeric => Self::Numeric,
            OwnerArg::ByName => Self::ByName,
            OwnerArg::Keep => Self::Keep,
        }
    }
}

/// The folder below `--to`: the profile's name, or the last part of the first path.
fn folder_name(snapshot: &Snapshot) -> String {
    let path = snapshot.roots.first().map(|root| root.restore_name.as_slice()).unwrap_or_default();
    let last = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    snapshot.profile.clone().unwrap_or_else(|| String::from_utf8_lossy(last).replace(['/', '\0'], "_"))
}

pub(super) fn failure(error: RestoreError) -> Failure {
    match error {
        RestoreError::Repository(error) => error.into(),
        RestoreError::Destination(error) => error.into(),
        RestoreError::NoSuchPath(_) => Failure::of(Exit::Usage, &error, "run `bk ls SNAPSHOT` to see what there is"),
        RestoreError::NoRoom { .. } => Failure::of(Exit::Failed, &error, "choose another --to, or make room"),
        RestoreError::Interrupted => {
            Failure::of(Exit::Interrupted, &error, "run the same command again to complete it")
        }
        RestoreError::Thread => Failure::of(Exit::Failed, &error, "run the command again and report this"),
    }
}

/// One restore: what from, what of it, where to.
struct Job<'a> {
    session: &'a Session,
    opened: &'a Opened,
    index: &'a Index,
    info: &'a SnapshotInfo,
    selected: Vec<Selected>,
    shown: PathBuf,
}

impl RestoreArgs {
    /// Restores.
    ///
    /// # Errors
    /// When nothing, or not all, could be tried.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        if self.in_place && !self.files_only {
            return self.roll_back(session);
        }
        let selector = Selector::parse(&self.snapshot)?;
        let (opened, snapshots) = session.open_for_reading()?;
        let info = selector.find(&snapshots, &self.filter)?;
        if let (Some(database), Some(to)) = (&self.database, &self.to) {
            let to = to.to_str().ok_or_else(|| Failure::usage("--to is not text", "write it in UTF-8"))?;
            let (replace, dry_run) = (self.replace, self.dry_run);
            return Load { session, opened: &opened, info, database, to, replace, dry_run }.run();
        }
        let index = session.index(&opened)?;
        let mut reader = BlobReader::new(&opened.repository, &index)?;
        let placement = if self.in_place { Placement::Original } else { Placement::Below };
        let paths: Vec<_> = self.paths.iter().map(|path| path.as_os_str().as_bytes().to_vec()).collect();
        let mut selected = select(&mut reader, &info.snapshot, &paths, placement).map_err(failure)?;
        if self.in_place {
            // Dumps came from no place of the file system.
            selected.retain(|entry| entry.original.starts_with(b"/"));
        }
        let name = folder_name(&info.snapshot);
        let shown = self.to.as_deref().map_or_else(|| PathBuf::from("/"), |to| to.join(&name));
        let job = Job { session, opened: &opened, index: &index, info, selected, shown };
        self.announce(&job);
        if self.dry_run {
            return self.dry_run(&job, &mut reader);
        }
        let owners = self.owner.into();
        let is_new = self.to.is_some() && !job.shown.exists();
        let destination = match &self.to {
            Some(to) => {
                std::fs::create_dir_all(to)
                    .map_err(|error| io_failure(to, &error, "choose a folder that you may write to"))?;
                Destination::create_private(to, &name, owners)?
            }
            None => Destination::open(Path::new("/"), owners)?,
        };
        self.check_room(&job, &mut reader, &destination)?;
        let ahead = self.ahead(&job, is_new)?;
        let watch = Watch::start(session);
        let restored = self.carry_out(&job, &mut reader, ahead.as_ref(), &destination);
        if self.paths.is_empty() {
            keep_restore(session, &opened.name, info, watch, &restored);
        }
        restored
    }

    /// A whole service, in place.
    fn roll_back(&self, session: &Session) -> Result<Exit, Failure> {
        if !self.paths.is_empty() || !matches!(self.overwrite, OverwriteArg::Always) {
            return Err(Failure::usage(
                "a part of the files makes a service that disagrees with itself",
                "name no PATH and no --overwrite to put all of it back, or add --files-only when files are what you want",
            ));
        }
        let (yes, backup_first, dry_run) = (self.yes, !self.no_backup_first, self.dry_run);
        let (owner, verify) = (self.owner.into(), self.verify);
        let (word, filter) = (self.snapshot.as_str(), &self.filter);
        RollBack { session, word, filter, owner, verify, yes, backup_first, dry_run }.run()
    }

    /// What will be fetched from far away, when that is known: into a new folder everything is.
    fn ahead<'a>(&self, job: &Job<'a>, is_new: bool) -> Result<Option<ReadAhead<'a>>, Failure> {
        let (true, Some(to)) = (is_new, &self.to) else { return Ok(None) };
        let nodes = job.selected.iter().map(|selected| &selected.node);
        read_ahead(job.session, job.opened, job.index, nodes, to)
    }

    fn announce(&self, job: &Job<'_>) {
        let snapshot = &job.info.snapshot;
        let what =
            snapshot.profile.as_deref().map(line_text).unwrap_or_else(|| {
                snapshot.roots.iter().map(|root| path_text(&root.path)).collect::<Vec<_>>().join(", ")
            });
        job.session.screen.note(&format!(
            "snapshot {} of {what}, {}, host {}, from {}",
            job.info.id.short(),
            time_text(snapshot.start),
            line_text(&snapshot.host),
            job.opened.name
        ));
        if snapshot.outcome == Outcome::Incomplete {
            let count = snapshot.problem_count;
            job.session.screen.warning(&format!("this snapshot is incomplete: {count} problems when it was made"));
        }
    }

    fn dry_run(&self, job: &Job<'_>, reader: &mut BlobReader<'_>) -> Result<Exit, Failure> {
        let plan = Plan::of(reader, &job.selected).map_err(failure)?;
        if job.session.screen.json {
            job.session.screen.json_line(&json!({
                "message_type": "summary", "dry_run": true, "snapshot_id": job.info.id.to_string(),
                "target": job.shown, "files": plan.files, "dirs": plan.directories, "others": plan.others,
                "total_bytes": plan.bytes,
            }));
            return Ok(Exit::Complete);
        }
        job.session.screen.line(&format!(
            "would restore {} files ({}), {} folders and {} other entries to {}",
            plan.files,
            ByteSize(plan.bytes),
            plan.directories,
            plan.others,
            path_text(job.shown.as_os_str().as_bytes())
        ));
        Ok(Exit::Complete)
    }

    /// Compares what is needed with what is free. The exact need is only counted when the simple bound does not fit.
    fn check_room(&self, job: &Job<'_>, reader: &mut BlobReader<'_>, destination: &Destination) -> Result<(), Failure> {
        let space = destination.free_space()?;
        let inodes = space.inodes.unwrap_or(u64::MAX);
        let counted = &job.info.snapshot.statistics;
        let entries = counted.entries();
        if self.in_place || (counted.total_bytes < space.bytes && entries < inodes) {
            return Ok(());
        }
        let plan = Plan::of(reader, &job.selected).map_err(failure)?;
        if plan.bytes <= space.bytes && plan.entries() <= inodes {
            return Ok(());
        }
        Err(failure(RestoreError::NoRoom {
            path: path_text(job.shown.as_os_str().as_bytes()),
            free_bytes: space.bytes,
            free_inodes: inodes,
            bytes: plan.bytes,
            entries: plan.entries(),
        }))
    }

    fn carry_out(
        &self,
        job: &Job<'_>,
        reader: &mut BlobReader<'_>,
        ahead: Option<&ReadAhead<'_>>,
        destination: &Destination,
    ) -> Result<Exit, Failure> {
        let options = RestoreOptions { overwrite: self.overwrite.into(), delete: self.delete, threads: workers(16) };
        let stats = RestoreStats::default();
        let progress = job.session.screen.progress("restore");
        let counted = &job.info.snapshot.statistics;
        progress.phase("restoring", None);
        if self.paths.is_empty() {
            progress.total(counted.entries(), counted.total_bytes);
        }
        let repository = &job.opened.repository;
        let cancel = job.session.interrupted();
        let restored =
            restore(repository, job.index, ahead, &job.selected, destination, options, &stats, &*progress, cancel);
        let verified = match &restored {
            Ok(()) if self.verify => {
                progress.phase("verifying", None);
                Some(verify(reader, &job.selected, destination, &*progress))
            }
            _ => None,
        };
        progress.finish();
        restored.map_err(failure)?;
        let differences = verified.transpose().map_err(failure)?;
        Ok(self.report(job, &stats, differences))
    }

    fn report(&self, job: &Job<'_>, stats: &RestoreStats, differences: Option<Vec<RestoreProblem>>) -> Exit {
        use std::sync::atomic::Ordering::Relaxed;
        let screen = &job.session.screen;
        let problems = stats.problems();
        let damaged = problems.iter().any(|problem| problem.damage);
        let mut exit = match (problems.is_empty(), damaged) {
            (true, _) => Exit::Complete,
            (_, false) => Exit::Incomplete,
            (_, true) => Exit::Damage,
        };
        if differences.as_ref().is_some_and(|differences| !differences.is_empty()) {
            exit = exit.worst(Exit::Verification);
        }
        if screen.json {
            let list = |problems: &[RestoreProblem]| {
                let one = |problem: &RestoreProblem| json!({"path": problem.path, "message": problem.message});
                problems.iter().map(one).collect::<Vec<_>>()
            };
            screen.json_line(&json!({
                "message_type": "summary", "dry_run": false, "snapshot_id": job.info.id.to_string(),
                "target": job.shown, "files_restored": stats.files.load(Relaxed),
                "dirs_restored": stats.directories.load(Relaxed), "others_restored": stats.others.load(Relaxed),
                "files_skipped": stats.skipped.load(Relaxed), "files_deleted": stats.deleted.load(Relaxed),
                "bytes_written": stats.written_bytes.load(Relaxed), "bytes_kept": stats.kept_bytes.load(Relaxed),
                "verified": differences.as_ref().map(Vec::is_empty), "problems": list(&problems),
                "differences": list(differences.as_deref().unwrap_or_default()), "code": exit.code(),
            }));
            return exit;
        }
        for problem in problems.iter().chain(differences.iter().flatten()).take(20) {
            screen.warning(&format!("{}: {}", problem.path, problem.message));
        }
        screen.note(&format!(
            "{}, {}, {}; {} written, {} was right already",
            count(stats.files.load(Relaxed), "file", "files"),
            count(stats.directories.load(Relaxed), "folder", "folders"),
            count(stats.others.load(Relaxed), "other entry", "other entries"),
            ByteSize(stats.written_bytes.load(Relaxed)),
            ByteSize(stats.kept_bytes.load(Relaxed)),
        ));
        let (skipped, deleted) = (stats.skipped.load(Relaxed), stats.deleted.load(Relaxed));
        if skipped + deleted > 0 {
            screen.note(&format!("{skipped} left alone, {deleted} taken away"));
        }
        self.conclude(job, &problems, differences.as_deref());
        exit
    }

    fn conclude(&self, job: &Job<'_>, problems: &[RestoreProblem], differences: Option<&[RestoreProblem]>) {
        let screen = &job.session.screen;
        let place = path_text(job.shown.as_os_str().as_bytes());
        match differences {
            Some([]) => screen.note("verified: everything was read again from the disk and is as in the snapshot"),
            Some(list) => {
                screen.warning(&format!("VERIFICATION FAILED: {} entries differ from the snapshot", list.len()))
            }
            None => {}
        }
        if self.paths.is_empty()
            && self.to.is_some()
            && let Some(text) = restore_note::text(job.info, &job.shown)
        {
            match restore_note::write(&job.shown, &text) {
                Ok(()) => screen.note(&format!("how to bring the service back is in {place}/{}", restore_note::NAME)),
                Err(error) => screen.warning(&format!("{place}/{} cannot be written: {error}", restore_note::NAME)),
            }
        }
        if problems.is_empty() {
            screen.line(&format!("restored to {place}"));
        } else {
            screen.line(&format!("restored to {place}, INCOMPLETE: {} problems, listed above", problems.len()));
        }
    }
}

fn io_failure(path: &Path, error: &std::io::Error, hint: &str) -> Failure {
    let mut failure = Failure::of(Exit::Failed, error, hint);
    failure.message = format!("{} cannot be made: {error}", path.display());
    failure
}
