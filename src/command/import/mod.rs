//! `bk import`: snapshots of a repository of restic or rustic, or of one of bk with other keys.

mod plan;
mod profiles;

use std::path::PathBuf;

use clap::Args;
use jiff::tz::TimeZone;
use serde_json::json;

use self::plan::{Choice, Fate, Row};
use self::profiles::Assignment;
use super::create::open_or_create;
use super::record::Record;
use super::restic::{ResticPasswordArgs, open_restic};
use super::session::{Target, passphrase_of, read_secret};
use super::workers::workers;
use super::{Opened, Session};
use crate::clock::Clock as _;
use crate::crypto::KeyFile;
use crate::format::key_slot::Credential;
use crate::id::IdPrefix;
use crate::interop::restic::Access;
use crate::operation::forget::{ForgetOptions, Group, Policy};
use crate::operation::import::{Brought, Import, ImportError, Pair, Presence, is_mended, recognise};
use crate::repository::{BlobReader, Repository, RepositoryError, SnapshotInfo, Snapshots};
use crate::size::ByteSize;
use crate::store::Format;
use crate::ui::text::{count, path_text, time_text};
use crate::ui::{Exit, Failure};

use super::opening::Copies;

/// More threads do not make it faster.
const MOST_THREADS: usize = 8;
/// Losses of a snapshot that are shown; all are in the snapshot.
const LOSSES_SHOWN: usize = 20;

/// Bring snapshots from a repository of restic or rustic
///
/// Snapshots keep their host, paths, tags and times, and say whence they came. One that is here already is known again,
/// so that an import can run every night while you change over: what did not change since the one before is not read.
/// What `keep` of the target would let go of stays where it is, unless --all is given or the snapshot is named.
///
/// What is damaged in the source is left out and listed, the snapshot is incomplete, and the exit code is 5. It is
/// brought again once all that is missing can be read.
///
/// Without a path rule a snapshot is of the profile of the configuration whose paths hold all of its own; of several the
/// nearest, or the one that it has as a tag. The first backup of that profile then reads only what has changed.
///
/// It goes into the repository that --repo names, else into the nearest one that is configured. The others get the
/// snapshots with bk copy.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bk import restic:/mnt/usb/restic --dry-run             what would come
  bk import restic:/mnt/usb/restic                       all that keep would hold on to
  bk import restic:rest:https://nas:8000/me --host nas   of one machine
  bk import restic:s3:s3.eu-central-1.amazonaws.com/bucket/host1 1a2b3c4d
                                                         one snapshot
  bk import restic:/mnt/usb/restic --assign /srv/wiki=wiki --assign /home=homes
  bk import /mnt/old/bk --from-key-file old.key          a repository of bk that has other keys")]
pub struct ImportArgs {
    /// `restic:LOCATION`, or a repository of bk by its name or location
    #[arg(value_name = "LOCATION|NAME")]
    from: String,
    /// Just these snapshots, by at least 8 digits of their ids in the source
    #[arg(value_name = "SNAPSHOT")]
    snapshots: Vec<String>,
    /// The profile that all of them will be of
    #[arg(long, value_name = "NAME", conflicts_with = "assign")]
    profile: Option<String>,
    /// The profile of snapshots of which every path is PATH or below it; may be given several times, the nearest counts
    #[arg(long, value_name = "PATH=PROFILE")]
    assign: Vec<String>,
    /// Only snapshots of this machine
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Only snapshots with this tag; may be given several times
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// Only snapshots of exactly this path, perhaps among others; may be given several times
    #[arg(long, value_name = "PATH")]
    path: Vec<PathBuf>,
    /// Also what the rules of the repository would let go of
    #[arg(long)]
    all: bool,
    /// Say what would be imported, and why not the rest
    #[arg(short = 'n', long)]
    dry_run: bool,
    #[command(flatten)]
    restic: ResticPasswordArgs,
    /// File that holds the key of the source, when that is a repository of bk
    #[arg(long, value_name = "FILE", conflicts_with = "from_password_file")]
    from_key_file: Option<PathBuf>,
    /// File that holds the password of the source, when that is a repository of bk
    #[arg(long, value_name = "FILE")]
    from_password_file: Option<PathBuf>,
}

/// What was brought, all in all.
#[derive(Debug, Default)]
struct Total {
    snapshots: u64,
    files: u64,
    read_bytes: u64,
    stored_bytes: u64,
    /// Snapshots of which something is lost.
    lossy: u64,
}

impl ImportArgs {
    /// Runs the command.
    ///
    /// # Errors
    /// When a repository cannot be opened, or something else than damage ends the run. What came until then stays.
    pub fn run(self, session: &Session) -> Result<Exit, Failure> {
        let ids = self.snapshots.iter().map(|id| IdPrefix::new(id)).collect::<Result<Vec<_>, _>>();
        let ids = ids.map_err(|error| {
            Failure::of(Exit::Usage, &error, "see `bk import LOCATION --dry-run --all`; ids are those of the source")
        })?;
        let assignment = Assignment::new(&session.config, self.profile.as_deref(), &self.assign)?;
        let (target, siblings) = destination(session)?;
        let source = session.target(&self.from)?;
        if (source.format, &source.location) == (target.format, &target.location) {
            return Err(Failure::usage(
                format!("{} is both whence and where to", source.location),
                "name the source first, and the repository that shall get its snapshots with --repo",
            ));
        }
        let from = self.open_source(session, &source)?;
        let to = self.open_destination(session, &target)?;
        let both = [&from, &to];
        let [found, here] = [Snapshots::load(&from.repository)?, Snapshots::load(&to.repository)?];
        let mut exit = Exit::Complete;
        for (opened, snapshots) in both.into_iter().zip([&found, &here]) {
            for (name, reason) in &snapshots.damaged {
                let place = &opened.name;
                session.screen.warning(&format!("{name} of {place} cannot be read and is left out: {reason}"));
                exit = Exit::Damage;
            }
        }
        let (recognised, pairs) = recognise([&from.repository, &to.repository], &found, &here);
        let meant = self.meant(recognised, &ids)?;
        let rows = self.plan(session, both, meant, &assignment, [&found, &here])?;
        plan::tell(&session.screen, [&from.name, &to.name], &rows, self.dry_run);
        let any = rows.iter().any(|row| row.fate.is_brought());
        if self.dry_run || !any {
            if !any && !session.screen.json {
                session.screen.line(&format!("{} has all that it should have of {}", to.name, from.name));
            }
            return Ok(exit);
        }
        let record = Record::begin(session, "import");
        let brought = bring(session, both, &rows, pairs);
        let end = brought.as_ref().map_or_else(|failure| failure.exit, |brought| exit.worst(*brought));
        record.end(end);
        brought?;
        if !siblings.is_empty() {
            session.screen.note(&format!("{} will have them after `bk copy`", siblings.join(", ")));
        }
        Ok(end)
    }

    fn open_destination(&self, session: &Session, target: &Target) -> Result<Opened, Failure> {
        if !self.dry_run {
            return open_or_create(session, target);
        }
        session.open(target).map_err(|mut failure| {
            if target.embedded && failure.exit == Exit::NoRepository {
                failure.hint =
                    Some("without --dry-run it is made; to look at the source, use `bk --repo … snapshots`".into());
            }
            failure
        })
    }

    /// Opens the source with what opens it.
    fn open_source(&self, session: &Session, source: &Target) -> Result<Opened, Failure> {
        let repository = match (source.format, &self.from_key_file, &self.from_password_file) {
            (Format::Restic, None, None) => {
                let restic = open_restic(session, source, Access::Read, &self.restic)?;
                restic.into_repository(&|text| session.screen.warning(text))?
            }
            (Format::Restic, ..) => {
                return Err(Failure::usage(
                    format!("{} is opened by the password of restic", source.name),
                    "use --restic-password-file or --restic-password-command",
                ));
            }
            (Format::Bk, None, None) => return session.open(source),
            (Format::Bk, Some(path), _) => {
                let text = read_secret(path, "key file")?;
                let key = KeyFile::parse(&text).map_err(|error| {
                    let message = format!("{} is no key file: {error}", path.display());
                    Failure::new(Exit::WrongKey, message, "use --from-password-file for a password")
                })?;
                open_bk(session, source, &Credential::KeyFile(key))?
            }
            (Format::Bk, None, Some(path)) => {
                let password = passphrase_of(&read_secret(path, "password file")?);
                open_bk(session, source, &Credential::Passphrase(password))?
            }
        };
        Ok(Opened { name: source.name.clone(), repository })
    }

    /// The snapshots that were asked for.
    fn meant(
        &self,
        all: Vec<(SnapshotInfo, Presence)>,
        ids: &[IdPrefix],
    ) -> Result<Vec<(SnapshotInfo, Presence)>, Failure> {
        for id in ids {
            let many = all.iter().filter(|(info, _)| id.matches(&info.id.0)).count();
            if many != 1 {
                let what = if many == 0 { "there is no snapshot" } else { "more than one snapshot begins with" };
                return Err(Failure::usage(
                    format!("{what} {id} in {}", self.from),
                    "see `bk import LOCATION --dry-run --all`; ids are those of the source",
                ));
            }
        }
        let is_meant = |info: &SnapshotInfo| {
            use std::os::unix::ffi::OsStrExt as _;
            let snapshot = &info.snapshot;
            let has = |path: &PathBuf| snapshot.roots.iter().any(|root| root.path == path.as_os_str().as_bytes());
            (ids.is_empty() || ids.iter().any(|id| id.matches(&info.id.0)))
                && self.host.as_ref().is_none_or(|host| *host == snapshot.host)
                && self.tag.iter().all(|tag| snapshot.tags.contains(tag))
                && self.path.iter().all(has)
        };
        Ok(all.into_iter().filter(|(info, _)| is_meant(info)).collect())
    }

    fn plan(
        &self,
        session: &Session,
        [from, to]: [&Opened; 2],
        meant: Vec<(SnapshotInfo, Presence)>,
        assignment: &Assignment,
        both: [&Snapshots; 2],
    ) -> Result<Vec<Row>, Failure> {
        let policy = |group: &Group| {
            let profile = group.profile.as_deref();
            let keep = session.config.keep(profile, &to.name);
            Some(Policy { keep, max_age: session.config.max_age(profile) })
        };
        let (zone, now) = (TimeZone::system(), session.clock.wall());
        let options =
            ForgetOptions { policy: &policy, zone: &zone, now, even_if_overdue: true, despite_anomalies: true };
        let choice = match (self.snapshots.is_empty(), self.all) {
            (false, _) => Choice::Named,
            (true, true) => Choice::All,
            (true, false) => Choice::ByRules(&options),
        };
        let index = session.index(from)?;
        let mut reader = BlobReader::new(&from.repository, &index)?;
        let [_, here] = both;
        let mut mended =
            |info: &SnapshotInfo, id: &crate::id::SnapshotId| match here.all.iter().find(|one| one.id == *id) {
                Some(brought) => is_mended(&mut reader, &info.snapshot, &brought.snapshot, session.interrupted()),
                None => Ok::<bool, RepositoryError>(false),
            };
        Ok(plan::plan(meant, assignment, &choice, both, &mut mended)?)
    }
}

/// The nearest repository of bk among those that are meant, and the names of the others.
fn destination(session: &Session) -> Result<(Target, Vec<String>), Failure> {
    let mut targets = session.targets(&[])?;
    targets.retain(|target| target.format == Format::Bk);
    targets.sort_by_key(|target| target.location.local().is_none());
    let mut targets = targets.into_iter();
    let first = targets.next().ok_or_else(|| {
        Failure::usage("there is no repository of bk to import into", "name one with --repo, or make it with `bk init`")
    })?;
    Ok((first, targets.map(|target| target.name).collect()))
}

fn open_bk(session: &Session, source: &Target, credential: &Credential) -> Result<Repository, Failure> {
    Ok(Repository::open(session.open_store(source, Copies::Kept)?, credential)?)
}

/// Brings what the plan says; gives what it came to.
fn bring(session: &Session, [from, to]: [&Opened; 2], rows: &[Row], pairs: Vec<Pair>) -> Result<Exit, Failure> {
    let brought: Vec<_> = rows.iter().filter(|row| row.fate.is_brought()).collect();
    let wanted: Vec<_> = brought.iter().map(|row| row.wanted()).collect();
    let progress = session.screen.progress("import");
    let import = Import {
        from: &from.repository,
        to: &to.repository,
        threads: workers(MOST_THREADS),
        clock: &session.clock,
        progress: &*progress,
        cancel: session.interrupted(),
    };
    let mut total = Total::default();
    let mut rows = brought.into_iter();
    let ended: Result<(), ImportError> = import.run(&wanted, pairs, &mut |one| {
        if let Some(row) = rows.next() {
            tell(session, to, row, one, &mut total);
        }
    });
    progress.finish();
    if ended.is_ok() || total.snapshots > 0 {
        sum_up(session, [from, to], &total);
    }
    ended?;
    Ok(if total.lossy > 0 { Exit::Damage } else { Exit::Complete })
}

/// A line for a snapshot that was brought, and its losses.
fn tell(session: &Session, to: &Opened, row: &Row, brought: &Brought, total: &mut Total) {
    let counted = &brought.statistics;
    total.snapshots += u64::from(brought.target.is_some());
    total.files += counted.files;
    total.read_bytes += brought.fetched_bytes;
    total.stored_bytes += counted.stored_bytes;
    total.lossy += u64::from(brought.lost_count > 0);
    let (screen, id) = (&session.screen, brought.target.as_ref().map(|info| info.id));
    if screen.json {
        let shown = brought
            .lost
            .iter()
            .map(|one| json!({ "kind": one.kind, "path": String::from_utf8_lossy(&one.path), "message": one.message }));
        let lost: Vec<_> = shown.collect();
        screen.json_line(&json!({
            "message_type": "imported", "id": brought.source.to_string(), "snapshot_id": id.map(|id| id.to_string()),
            "profile": brought.target.as_ref().and_then(|info| info.snapshot.profile.clone()),
            "files_new": counted.new_files, "files_changed": counted.changed_files,
            "files_unmodified": counted.unchanged_files, "total_files_processed": counted.files,
            "total_bytes_processed": counted.total_bytes, "bytes_read": brought.fetched_bytes,
            "data_added": counted.new_bytes, "data_added_packed": counted.stored_bytes,
            "problem_count": brought.lost_count, "problems": lost, "total_duration": brought.seconds,
        }));
        return;
    }
    for one in brought.lost.iter().take(LOSSES_SHOWN) {
        screen.warning(&format!("{} cannot be read: {}", path_text(&one.path), one.message));
    }
    let more = brought.lost_count.saturating_sub(LOSSES_SHOWN as u64);
    if more > 0 {
        screen.warning(&format!("and {more} more; `bk snapshots ID` lists them"));
    }
    let time = time_text(row.info.snapshot.start);
    let from = brought.source.short();
    let Some(id) = id else {
        screen.line(&format!("{from} of {time} was not imported: nothing of it can be read"));
        return;
    };
    let state = if brought.lost_count > 0 { ", INCOMPLETE" } else { "" };
    let (files, read) = (count(counted.files, "file", "files"), ByteSize(brought.fetched_bytes));
    let stored = ByteSize(counted.stored_bytes);
    let name = &to.name;
    screen.line(&format!("{from} of {time} is {} in {name}{state}: {files}, read {read}, stored {stored}", id.short()));
    if let (Fate::Again, Some(old)) = (row.fate, row.target) {
        screen.note(&format!("hint: nobody needs snapshot {0} with its losses any more: `bk forget {0}`", old.short()));
    }
}

fn sum_up(session: &Session, [from, to]: [&Opened; 2], total: &Total) {
    let Total { snapshots, files, read_bytes, stored_bytes, lossy } = *total;
    let screen = &session.screen;
    if screen.json {
        screen.json_line(&json!({
            "message_type": "summary", "from": from.name, "to": to.name, "snapshots": snapshots,
            "total_files_processed": files, "bytes_read": read_bytes, "data_added_packed": stored_bytes,
            "snapshots_with_problems": lossy,
        }));
        return;
    }
    let what = count(snapshots, "snapshot", "snapshots");
    let (files, read, stored) = (count(files, "file", "files"), ByteSize(read_bytes), ByteSize(stored_bytes));
    let name = &to.name;
    screen.line(&format!("{name} got {what} from {}: {files}; {read} read, {stored} stored", from.name));
    if lossy > 0 {
        let what = count(lossy, "snapshot", "snapshots");
        screen.warning(&format!("of {what} something cannot be read in the source, as listed above"));
        screen.note("hint: repair the source, then import again: it is brought once more when all of it can be read");
    }
}
