//! `bk restore NAME --database DB --to …`: a dump into a server, or an SQLite database to its place.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use serde_json::json;

use super::look::read_ahead;
use super::{Opened, Session};
use crate::format::node::{Node, NodeKind, TableRows};
use crate::format::snapshot::Snapshot;
use crate::hook::Facts;
use crate::job::{DUMPS, LoadError, Server, Surroundings, decoded, hook_of, is_of_server, load};
use crate::operation::dump::{self, DumpError};
use crate::operation::list::{Located, Step, roots, walk};
use crate::repository::{BlobReader, Index, ReadAhead, RepositoryError, SnapshotInfo};
use crate::source::sqlite;
use crate::ui::text::{count, path_text, time_text};
use crate::ui::{Exit, Failure};

/// What to load, and where to.
pub(super) struct Load<'a> {
    pub session: &'a Session,
    pub opened: &'a Opened,
    pub info: &'a SnapshotInfo,
    /// As the user calls it.
    pub database: &'a str,
    /// A URL, or `sqlite:PATH`.
    pub to: &'a str,
    /// What is there already may go.
    pub replace: bool,
    pub dry_run: bool,
}

/// The dumps of a snapshot: the folder of the hook that made each, its stream, and the entry.
pub(super) fn dumps(snapshot: &Snapshot) -> Vec<(String, String, Located)> {
    let split = |entry: Located| {
        let path = String::from_utf8(entry.path.clone()).ok()?;
        let (folder, stream) = path.strip_prefix(DUMPS)?.strip_prefix('/')?.split_once('/')?;
        Some((folder.to_owned(), stream.to_owned(), entry))
    };
    roots(snapshot).into_iter().filter_map(split).collect()
}

/// The database that a stream is of: its name without the ending; what a file name cannot hold is in it as `%2F`.
pub(super) fn database_of(stream: &str) -> String {
    decoded(stream.rsplit_once('.').map_or(stream, |(name, _)| name))
}

/// Whether the user means this dump: by the name of the database, of the stream, or with its folder.
pub(super) fn is_meant(database: &str, folder: &str, stream: &str) -> bool {
    let name = !is_of_server(stream) && database_of(stream) == database;
    name || stream == database || database.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/')) == Some(stream)
}

impl Load<'_> {
    /// Loads it.
    ///
    /// # Errors
    /// When there is no such database in the snapshot, or it could not be loaded.
    pub fn run(&self) -> Result<Exit, Failure> {
        let index = self.session.index(self.opened)?;
        let mut reader = BlobReader::new(&self.opened.repository, &index)?;
        match self.to.strip_prefix("sqlite:") {
            Some(path) => self.put_sqlite(&mut reader, Path::new(path.strip_prefix("//").unwrap_or(path))),
            None => self.load_dump(&index),
        }
    }

    fn load_dump(&self, index: &Index) -> Result<Exit, Failure> {
        let mut server = Server::parse(self.to).map_err(|(problem, hint)| Failure::usage(problem, hint))?;
        let all = dumps(&self.info.snapshot);
        let of_hook = |folder: &str| hook_of(folder).0 == server.used.hook;
        let mut found =
            all.iter().filter(|(folder, stream, _)| of_hook(folder) && is_meant(self.database, folder, stream));
        let (first, others) = (found.next(), found.count());
        if let Some((folder, stream, _)) = first.filter(|_| others > 0) {
            return Err(Failure::usage(
                format!("the snapshot holds several dumps of `{}`", self.database),
                format!("say which, as in .bk/RESTORE.txt of a restore: {folder}/{stream}, for example"),
            ));
        }
        let Some((_, stream, entry)) = first else {
            let known: Vec<String> = all
                .iter()
                .map(|(folder, stream, _)| match is_of_server(stream) {
                    true => format!("{stream} ({})", hook_of(folder).0),
                    false => format!("{} ({})", database_of(stream), hook_of(folder).0),
                })
                .collect();
            let hint = match known.as_slice() {
                [] => "this snapshot holds no dumps; SQLite databases are restored with `--to sqlite:PATH`".to_owned(),
                known => format!("it holds: {}", known.join(", ")),
            };
            let hook = &server.used.hook;
            return Err(Failure::usage(format!("the snapshot holds no {hook} dump of `{}`", self.database), hint));
        };
        if !is_of_server(stream) {
            server.used.settings.entry("name".into()).or_insert_with(|| vec![database_of(stream)]);
        }
        let NodeKind::File { size, rows, .. } = &entry.node.kind else {
            return Err(Failure::new(Exit::Damage, format!("{} is no file", path_text(&entry.path)), "run `bk check`"));
        };
        self.announce(&path_text(&entry.path));
        if self.dry_run {
            self.session.screen.line(&format!("would load {stream} ({})", crate::size::ByteSize(*size)));
            return Ok(Exit::Complete);
        }
        let surroundings = super::service::surroundings(self.session)?;
        let profile = self.info.snapshot.profile.clone().unwrap_or_default();
        let from = (self.session, self.opened, index);
        let facts = stream_into(from, &surroundings, &profile, &server, (stream, &entry.node), self.replace)?;
        for warning in &facts.warnings {
            self.session.screen.warning(warning);
        }
        Ok(self.compare(stream, rows, &facts.rows))
    }

    fn announce(&self, what: &str) {
        self.session.screen.note(&format!(
            "{what} of snapshot {}, {}, from {}",
            self.info.id.short(),
            time_text(self.info.snapshot.start),
            self.opened.name
        ));
    }

    /// Says how what was loaded compares with what was counted when it was dumped.
    fn compare(&self, stream: &str, expected: &[TableRows], loaded: &BTreeMap<String, u64>) -> Exit {
        let screen = &self.session.screen;
        let differing = differing(expected, loaded);
        let total: u64 = loaded.values().sum();
        let exit = if differing.is_empty() { Exit::Complete } else { Exit::Verification };
        if screen.json {
            screen.json_line(&json!({
                "message_type": "summary", "snapshot_id": self.info.id.to_string(), "stream": stream,
                "rows": loaded, "rows_expected": expected.iter().map(|one| (one.table.clone(), one.rows)).collect::<BTreeMap<_, _>>(),
                "verified": (!expected.is_empty()).then_some(differing.is_empty()), "code": exit.code(),
            }));
            return exit;
        }
        for table in differing.iter().take(20) {
            let now = loaded.get(&table.table).map_or_else(|| "none".to_owned(), u64::to_string);
            screen.warning(&format!("{}: {} rows when it was dumped, {now} now", table.table, table.rows));
        }
        let tables = count(loaded.len() as u64, "table", "tables");
        let counted = format!("{tables}, {}", count(total, "row", "rows"));
        screen.line(&match (expected.is_empty(), differing.is_empty()) {
            (true, _) => format!("loaded {stream}: {counted}; nothing was counted when it was dumped"),
            (false, true) => format!("loaded {stream}: {counted}, as many as when it was dumped"),
            (false, false) => {
                format!("loaded {stream}: {counted}, DIFFERENT in {} tables, listed above", differing.len())
            }
        });
        exit
    }

    fn put_sqlite(&self, reader: &mut BlobReader<'_>, target: &Path) -> Result<Exit, Failure> {
        let entry = self.find_sqlite(reader)?;
        self.announce(&path_text(&entry.path));
        let occupied = |path: &Path| std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.len() > 0);
        if occupied(target) && !self.replace {
            return Err(Failure::usage(
                format!("{} is there already", target.display()),
                "choose another place, or add --replace to lose what is there; stop the service first",
            ));
        }
        if self.dry_run {
            self.session.screen.line(&format!("would write {}", target.display()));
            return Ok(Exit::Complete);
        }
        let failed = |error: std::io::Error| {
            let mut failure =
                Failure::of(Exit::Failed, &error, "choose a folder that you may write to, with enough room");
            failure.message = format!("{} cannot be written: {error}", target.display());
            failure
        };
        let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let named = tempfile::Builder::new().prefix(".bk-").tempfile_in(folder).map_err(failed)?;
        let mut out = BufWriter::with_capacity(256 << 10, named.as_file());
        dump::file(reader, &entry.node, &mut out, self.session.interrupted()).map_err(dump_failed)?;
        out.flush().map_err(failed)?;
        drop(out);
        named.as_file().sync_all().map_err(failed)?;
        self.set_owner(named.as_file(), &entry.node.metadata);
        // Counted before it has its name: looking into it may leave a log beside it.
        let scratch = super::service::scratch(self.session)?;
        let counted = sqlite::copy(named.path(), &scratch, &sqlite::CopyOptions::default());
        for beside in sidecars(named.path()) {
            let _ = std::fs::remove_file(beside);
        }
        // A log of the old database would be played into the new one.
        for beside in sidecars(target) {
            match std::fs::remove_file(&beside) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
                _ => {}
            }
        }
        named.persist(target).map_err(|error| failed(error.error))?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        let NodeKind::File { rows, .. } = &entry.node.kind else { return Ok(Exit::Complete) };
        match counted {
            Ok(copy) => {
                let counted = copy.rows.into_iter().map(|one| (one.table, one.rows)).collect();
                Ok(self.compare(&target.display().to_string(), rows, &counted))
            }
            Err(error) => {
                self.session.screen.warning(&format!("{}: its rows cannot be counted: {error}", target.display()));
                Ok(Exit::Verification)
            }
        }
    }

    /// As it was; whoever may not give files away keeps it.
    fn set_owner(&self, file: &File, metadata: &crate::format::node::Metadata) {
        use std::os::unix::fs::PermissionsExt as _;
        let (user, group) = (Some(metadata.uid), Some(metadata.gid));
        let given = !rustix::process::geteuid().is_root() || std::os::unix::fs::fchown(file, user, group).is_ok();
        let mode = file.set_permissions(std::fs::Permissions::from_mode(metadata.mode & 0o777));
        if !given || mode.is_err() {
            self.session.screen.warning("its owner or mode could not be set; give it to the user of the service");
        }
    }

    /// The one SQLite database whose path ends with what the user said.
    fn find_sqlite(&self, reader: &mut BlobReader<'_>) -> Result<Located, Failure> {
        let wanted = self.database.trim_start_matches('/').as_bytes();
        let (mut found, mut known) = (Vec::new(), Vec::new());
        for root in roots(&self.info.snapshot) {
            let never = AtomicBool::new(false);
            walk(reader, root, &never, &mut |_: &mut BlobReader<'_>,
                                             entry: &Located|
             -> Result<Step, RepositoryError> {
                if let NodeKind::File { rows, .. } = &entry.node.kind
                    && !rows.is_empty()
                    && !entry.path.starts_with(DUMPS.as_bytes())
                {
                    known.push(path_text(&entry.path));
                    let ends = entry.path.ends_with(wanted);
                    let before = entry.path.len().checked_sub(wanted.len() + 1).and_then(|at| entry.path.get(at));
                    if ends && matches!(before, None | Some(b'/')) {
                        found.push(entry.clone());
                    }
                }
                Ok(Step::Into)
            })?;
        }
        match (found.pop(), found.is_empty()) {
            (Some(entry), true) => Ok(entry),
            (Some(_), false) => Err(Failure::usage(
                format!("several databases of the snapshot end with `{}`", self.database),
                format!("say more of the path: {}", known.join(", ")),
            )),
            (None, _) => Err(Failure::usage(
                format!("the snapshot holds no SQLite database `{}`", self.database),
                if known.is_empty() {
                    "it holds none at all".to_owned()
                } else {
                    format!("it holds: {}", known.join(", "))
                },
            )),
        }
    }
}

/// The tables that have not as many rows as they had when they were dumped.
pub(super) fn differing<'a>(expected: &'a [TableRows], loaded: &BTreeMap<String, u64>) -> Vec<&'a TableRows> {
    expected.iter().filter(|table| loaded.get(&table.table) != Some(&table.rows)).collect()
}

/// Loads one dump into one server; gives what its hook counted.
pub(super) fn stream_into(
    (session, opened, index): (&Session, &Opened, &Index),
    surroundings: &Surroundings,
    profile: &str,
    server: &Server,
    (stream, node): (&str, &Node),
    replace: bool,
) -> Result<Facts, Failure> {
    let size = if let NodeKind::File { size, .. } = node.kind { size } else { 0 };
    let ahead = read_ahead(session, opened, index, [node], &surroundings.scratch)?;
    let mut reader = BlobReader::new(&opened.repository, index)?.with_ahead(ahead.as_ref());
    let progress = session.screen.progress("load");
    progress.phase("loading", Some(size));
    let interrupted = session.interrupted();
    let write = |out: &mut dyn Write| {
        let mut told = Told { out, progress: &*progress };
        dump::file(&mut reader, node, &mut told, interrupted).map(drop)
    };
    let loaded =
        ReadAhead::while_working(ahead.as_ref(), || load(surroundings, profile, server, stream, replace, write));
    progress.finish();
    loaded.map_err(|error| match error {
        LoadError::Hook(error) => {
            let exit = if error.is_interrupted() { Exit::Interrupted } else { Exit::Hook };
            let mut failure = Failure::of(exit, &error, error.hint());
            failure.causes.extend(error.last_words());
            if !replace && failure.causes.iter().any(|cause| cause.contains("not empty")) {
                failure.hint = Some("load into another database, or add --replace to lose what is in this one".into());
            }
            failure
        }
        LoadError::NoWay(_) => Failure::of(Exit::Hook, &error, "restore with --to DIR and load the dump by hand"),
        LoadError::Source(error) => dump_failed(error),
    })
}

/// What SQLite keeps beside a database.
fn sidecars(database: &Path) -> impl Iterator<Item = PathBuf> {
    let name = database.as_os_str().to_owned();
    ["-wal", "-shm", "-journal"].into_iter().map(move |ending| {
        let mut name = name.clone();
        name.push(ending);
        name.into()
    })
}

pub(super) fn dump_failed(error: DumpError) -> Failure {
    let hint = "run `bk check --read-data`; what was loaded so far is not whole";
    Failure::of(Exit::Failed, &error, hint)
}

/// Tells how far it is.
struct Told<'a> {
    out: &'a mut dyn Write,
    progress: &'a dyn crate::progress::Progress,
}

impl Write for Told<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let length = self.out.write(bytes)?;
        self.progress.advance(0, length as u64);
        Ok(length)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}
