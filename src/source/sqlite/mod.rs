//! Live SQLite databases as files: a consistent copy of one, taken while its program keeps writing.
//!
//! The online backup API is used with all pages in one step. In steps, every write of another process restarts
//! it (12 s instead of 0.7 s for 60 MB, and possibly never done). It copies pages, so the layout stays (unchanged
//! pages deduplicate) and collations or tokenizers we lack do not matter; `VACUUM INTO` has neither property.
//! In WAL mode writers go on; in rollback mode they wait until the copy is done.
//!
//! **What happens to the original.** It is opened read-only and never created, checkpointed or recovered; a
//! symbolic link in its place is refused. A reader of a WAL database needs `-wal` and `-shm` beside it: SQLite
//! creates them when they are missing, with the owner and mode of the database, and they stay (empty) until its
//! program opens it again. So the directory must be writable unless both files exist already. If it is not, and
//! neither `-wal` nor `-journal` exists, the file is read as one nobody writes; a change meanwhile is an error.
//!
//! **Locks.** POSIX drops all locks a process holds on a file when it closes *any* descriptor of that file. So
//! no other part of this process may open and close a database while it is copied here. Locks do not work over
//! NFS, SMB or virtiofs.

mod error;
mod examine;
mod rows;
#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Seek as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

pub use self::error::SqliteError;
pub use self::examine::{Examined, Value, examine};
use crate::format::node::TableRows;

/// The first bytes of every SQLite database that is not encrypted.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// The longest path SQLite opens, in bytes: 512 less the longest suffix.
const MAX_PATH_LEN: usize = 512 - "-journal".len();
/// What SQLite appends to the name of a database for its own files.
const SIDECARS: [&[u8]; 3] = [b"-wal", b"-shm", b"-journal"];
/// Where the header holds the file format versions: 1 for a rollback journal, 2 for WAL.
const VERSIONS_OFFSET: u64 = 18;

/// How long a copy may take where it could take for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyOptions {
    /// How long to wait for a lock that another process holds.
    pub busy: Duration,
    /// How long to count rows; tables not counted by then are [`DatabaseCopy::uncounted`].
    pub counting: Duration,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self { busy: Duration::from_secs(30), counting: Duration::from_secs(120) }
    }
}

/// A consistent copy of a database. It has no name any more: it is gone when `file` is closed.
#[derive(Debug)]
pub struct DatabaseCopy {
    /// The copy, positioned at its beginning.
    pub file: File,
    /// Its length in bytes.
    pub length: u64,
    /// Bytes per page: a power of two from 512 to 65536.
    pub page_size: u32,
    /// Rows of every ordinary table in the copy, sorted by name; shadow tables of virtual ones included.
    pub rows: Vec<TableRows>,
    /// Tables that could not be counted: damaged, or `WITHOUT ROWID` with a collation only their program knows.
    /// `sqlite_schema` stands for all tables when not even they could be listed.
    pub uncounted: Vec<String>,
    /// Those of them whose pages are damaged: the copy is not whole, and the files beside the original may be what
    /// saves it.
    pub damaged: Vec<String>,
}

/// Whether a file that begins with `first_bytes` (at least 16 of them) is an SQLite database.
///
/// Encrypted databases are not recognised, and neither is an empty file, which SQLite takes for an empty database.
#[must_use]
pub fn looks_like_database(first_bytes: &[u8]) -> bool {
    first_bytes.starts_with(MAGIC)
}

/// Bytes per page, from the first 18 or more bytes of a database; `None` for anything else.
#[must_use]
pub fn page_size(header: &[u8]) -> Option<u32> {
    let [high, low] = header.strip_prefix(MAGIC)?.first_chunk::<2>()?;
    match u16::from_be_bytes([*high, *low]) {
        1 => Some(65_536),
        size if size >= 512 && size.is_power_of_two() => Some(u32::from(size)),
        _ => None,
    }
}

/// For the name of a `-wal`, `-shm` or `-journal` file, the name of the database it would belong to.
#[must_use]
pub fn is_sidecar(name: &[u8]) -> Option<&[u8]> {
    SIDECARS.iter().find_map(|suffix| name.strip_suffix(*suffix)).filter(|database| !database.is_empty())
}

/// Copies the database at `path` into a nameless file of mode 0600 in the directory `scratch`.
///
/// # Errors
/// See [`SqliteError`]; the original is untouched and nothing stays in `scratch`.
pub fn copy(path: &Path, scratch: &Path, options: &CopyOptions) -> Result<DatabaseCopy, SqliteError> {
    let Some(name) = path.file_name() else {
        return Err(SqliteError::NotAFile { path: path.to_owned() });
    };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let dir = rustix::fs::open(parent, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| unreachable(path, error))?;
    copy_at(dir.as_fd(), name.as_bytes(), path, scratch, options)
}

/// Copies the database called `name` in the directory `dir`; `display` is its path for messages only.
///
/// SQLite finds the files beside a database by name, so the directory's current path is asked of the kernel;
/// however `dir` was reached, that path with `name` may be at most 504 bytes long.
///
/// # Errors
/// See [`SqliteError`]; the original is untouched and nothing stays in `scratch`.
pub fn copy_at(
    dir: BorrowedFd<'_>,
    name: &[u8],
    display: &Path,
    scratch: &Path,
    options: &CopyOptions,
) -> Result<DatabaseCopy, SqliteError> {
    let original = Original::find(dir, name, display)?;
    if original.has_log() && original.stands_still() {
        return original.copy_with_log(scratch, options);
    }
    let stage = match original.transfer(Access::Locked, scratch, options)? {
        Transfer::Done(stage) => stage,
        Transfer::NoSidecars(cause) => original.transfer_unlocked(cause, scratch, options)?,
    };
    stage.finish(options.counting).map_err(|error| match error {
        StageError::File(source) => scratch_error(scratch, source),
        StageError::NotADatabase => SqliteError::NotADatabase { path: display.to_owned() },
    })
}

fn unreachable(path: &Path, error: Errno) -> SqliteError {
    let path = path.to_owned();
    match error {
        Errno::NOENT => SqliteError::Missing { path },
        Errno::NAMETOOLONG => SqliteError::PathTooLong { path },
        error => SqliteError::Unreachable { path, source: error.into() },
    }
}

fn scratch_error(directory: &Path, source: io::Error) -> SqliteError {
    SqliteError::Scratch { directory: directory.to_owned(), source }
}

/// How the original is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// Under SQLite's locks, beside its writers.
    Locked,
    /// As a file that nobody writes, without the files beside it.
    Unlocked,
}

enum Transfer {
    Done(Stage),
    /// SQLite could not use or create the files beside the database.
    NoSidecars(rusqlite::Error),
}

/// The database to copy.
struct Original<'a> {
    dir: BorrowedFd<'a>,
    name: &'a [u8],
    /// Absolute, without any symbolic link.
    path: PathBuf,
    display: &'a Path,
}

impl<'a> Original<'a> {
    fn find(dir: BorrowedFd<'a>, name: &'a [u8], display: &'a Path) -> Result<Self, SqliteError> {
        let name_is_plain = !matches!(name, b"" | b"." | b"..") && !name.iter().any(|byte| matches!(byte, 0 | b'/'));
        let mut original = Self { dir, name, path: PathBuf::new(), display };
        if !name_is_plain {
            return Err(SqliteError::NotAFile { path: display.to_owned() });
        }
        let stat = original.stat().map_err(|error| unreachable(display, error))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(SqliteError::NotAFile { path: display.to_owned() });
        }
        if stat.st_size == 0 {
            return Err(SqliteError::Empty { path: display.to_owned() });
        }
        let parent = directory_path(dir).map_err(|error| unreachable(display, error))?;
        original.path = parent.join(OsStr::from_bytes(name));
        if original.path.as_os_str().len() > MAX_PATH_LEN {
            return Err(SqliteError::PathTooLong { path: display.to_owned() });
        }
        Ok(original)
    }

    fn stat(&self) -> rustix::io::Result<Stat> {
        rustix::fs::statat(self.dir, self.name, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Whether a write-ahead log or a rollback journal is there.
    fn has_log(&self) -> bool {
        [&b"-wal"[..], b"-journal"].iter().any(|suffix| {
            let name = [self.name, suffix].concat();
            let found = rustix::fs::statat(self.dir, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW);
            found.err() != Some(Errno::NOENT)
        })
    }

    /// Whether nobody can write here: a snapshot of a file system, or one that is mounted read-only.
    fn stands_still(&self) -> bool {
        let writable = rustix::fs::accessat(self.dir, ".", rustix::fs::Access::WRITE_OK, AtFlags::empty());
        writable == Err(Errno::ROFS)
    }

    /// Where nobody writes, the database and its log belong together as they are, but SQLite wants to write beside
    /// them: a copy of both is read instead.
    fn copy_with_log(&self, scratch: &Path, options: &CopyOptions) -> Result<DatabaseCopy, SqliteError> {
        let failed = |source| scratch_error(scratch, source);
        let folder = tempfile::Builder::new().prefix(".bk-sqlite-").tempdir_in(scratch).map_err(failed)?;
        for ending in [&b""[..], b"-wal", b"-journal"] {
            let name = [self.name, ending].concat();
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut from = match rustix::fs::openat(self.dir, name.as_slice(), flags, Mode::empty()) {
                Ok(file) => File::from(file),
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(unreachable(self.display, error)),
            };
            let mut to = File::create(folder.path().join(OsStr::from_bytes(&name))).map_err(failed)?;
            io::copy(&mut from, &mut to).map_err(failed)?;
        }
        let path = folder.path().join(OsStr::from_bytes(self.name));
        copy(&path, scratch, options)
    }

    fn open(&self, access: Access, busy: Duration) -> rusqlite::Result<Connection> {
        let flags =
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NOFOLLOW | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = match access {
            Access::Locked => Connection::open_with_flags(&self.path, flags)?,
            Access::Unlocked => {
                let uri = immutable_uri(&self.path);
                Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)?
            }
        };
        connection.busy_timeout(busy)?;
        // A read-only connection cannot checkpoint when it is closed; this says it once more.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        Ok(connection)
    }

    fn transfer(&self, access: Access, scratch: &Path, options: &CopyOptions) -> Result<Transfer, SqliteError> {
        let mut stage = Stage::new(scratch).map_err(|source| scratch_error(scratch, source))?;
        let result = self.open(access, options.busy).and_then(|original| copy_pages(&original, &mut stage.writer));
        match result {
            Ok(()) => Ok(Transfer::Done(stage)),
            Err(error) if error::lacks_sidecars(&error) => Ok(Transfer::NoSidecars(error)),
            Err(error) => Err(SqliteError::of_step(error, self.display, scratch, options.busy)),
        }
    }

    /// Copies a database whose directory cannot be written, when nothing speaks of a writer.
    fn transfer_unlocked(
        &self,
        cause: rusqlite::Error,
        scratch: &Path,
        options: &CopyOptions,
    ) -> Result<Stage, SqliteError> {
        let before = self.stat().map_err(|error| unreachable(self.display, error))?;
        if self.has_log() {
            return Err(SqliteError::ReadOnlyDirectory { path: self.display.to_owned() });
        }
        let stage = match self.transfer(Access::Unlocked, scratch, options)? {
            Transfer::Done(stage) => stage,
            Transfer::NoSidecars(_) => return Err(SqliteError::Read { path: self.display.to_owned(), source: cause }),
        };
        let after = self.stat().map_err(|error| unreachable(self.display, error))?;
        if identity(&before) != identity(&after) || self.has_log() {
            return Err(SqliteError::Changed { path: self.display.to_owned() });
        }
        Ok(stage)
    }
}

/// What changes when a file is written or replaced.
fn identity(stat: &Stat) -> impl PartialEq + use<> {
    (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime, stat.st_mtime_nsec, stat.st_ctime, stat.st_ctime_nsec)
}

/// The current path of an open directory, checked to lead back to it.
fn directory_path(dir: BorrowedFd<'_>) -> rustix::io::Result<PathBuf> {
    let link = format!("/proc/self/fd/{}", dir.as_raw_fd());
    let path = rustix::fs::readlink(link, Vec::new())?;
    let path = PathBuf::from(OsStr::from_bytes(path.as_bytes()));
    let (found, meant) = (rustix::fs::lstat(&path)?, rustix::fs::fstat(dir)?);
    if (found.st_dev, found.st_ino) == (meant.st_dev, meant.st_ino) { Ok(path) } else { Err(Errno::NOENT) }
}

/// `path` as a URI that tells SQLite that nobody writes the file; every unusual byte is escaped.
fn immutable_uri(path: &Path) -> String {
    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => uri.push(char::from(*byte)),
            byte => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri.push_str("?immutable=1");
    uri
}

fn copy_pages(original: &Connection, copy: &mut Connection) -> rusqlite::Result<()> {
    let busy = || rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY), None);
    match Backup::new(original, copy)?.step(-1)? {
        StepResult::Done => Ok(()),
        _ => Err(busy()),
    }
}

/// The copy while it is made: a file without a name, held open by SQLite and by us.
struct Stage {
    file: File,
    writer: Connection,
    /// Opened while the file still had a name; it has read nothing yet.
    reader: Connection,
}

enum StageError {
    File(io::Error),
    NotADatabase,
}

impl Stage {
    /// Only an empty file can be left behind, when the process dies between its creation and its unlinking.
    fn new(scratch: &Path) -> io::Result<Self> {
        let scratch = fs::canonicalize(scratch)?;
        let named = tempfile::Builder::new().prefix(".bk-sqlite-").tempfile_in(&scratch)?;
        let flags = OpenFlags::SQLITE_OPEN_NOFOLLOW | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = |access| Connection::open_with_flags(named.path(), flags | access).map_err(io::Error::other);
        let writer = open(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let reader = open(OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        // Without a journal no file appears beside the copy; without syncs a copy costs no disk flush.
        writer.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;").map_err(io::Error::other)?;
        let (file, name) = named.into_parts();
        name.close()?;
        Ok(Self { file, writer, reader })
    }

    fn finish(self, counting: Duration) -> Result<DatabaseCopy, StageError> {
        let Self { mut file, writer, reader } = self;
        drop(writer);
        let length = file.metadata().map_err(StageError::File)?.len();
        let mut header = [0; 20];
        file.read_exact_at(&mut header, 0).map_err(|_| StageError::NotADatabase)?;
        let page_size = page_size(&header).ok_or(StageError::NotADatabase)?;
        // A database in WAL mode would be opened with files beside it: hide the mode while rows are counted.
        file.write_all_at(&[1, 1], VERSIONS_OFFSET).map_err(StageError::File)?;
        let counted = rows::count(&reader, counting, &AtomicBool::new(false));
        drop(reader);
        let [.., write_version, read_version] = header;
        file.write_all_at(&[write_version, read_version], VERSIONS_OFFSET).map_err(StageError::File)?;
        file.rewind().map_err(StageError::File)?;
        let rows::Counted { rows, uncounted, damaged, .. } = counted;
        Ok(DatabaseCopy { file, length, page_size, rows, uncounted, damaged })
    }
}
