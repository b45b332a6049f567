//! What bk remembers on this machine beside its repositories: which runs there were and how they ended, who was told
//! what, and when something was last due.
//!
//! Nothing of it is needed for a restore. What cannot be read is laid aside and begun anew, and no run fails because
//! of it. An SQLite database: runs of several processes write to it at the same time.

mod error;
mod lock;
mod runs;
mod told;

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

pub use error::StateError;
pub use lock::{Attempt, Lock};
pub use runs::{Done, Figures, Run, RunId, Verb};
pub use told::Waiting;

/// Name of the database in the data folder.
pub const FILE_NAME: &str = "state.sqlite";

/// Its shape; another one is begun anew.
const VERSION: i32 = 1;
/// How often, and how fast one after the other, a database is tried that others begin at the same moment.
const BEGINNINGS: u32 = 200;
const BETWEEN_BEGINNINGS: Duration = Duration::from_millis(50);

const TABLES: &str = "
    CREATE TABLE run (
        id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, began INTEGER NOT NULL, ended INTEGER, exit INTEGER
    );
    CREATE TABLE done (
        run INTEGER NOT NULL REFERENCES run(id) ON DELETE CASCADE,
        verb TEXT NOT NULL, profile TEXT, repository TEXT NOT NULL, began INTEGER NOT NULL, seconds REAL NOT NULL,
        exit INTEGER NOT NULL, snapshot TEXT, figures TEXT NOT NULL, message TEXT
    );
    CREATE INDEX done_of ON done (verb, profile, repository, began);
    CREATE TABLE due (job TEXT PRIMARY KEY, at INTEGER NOT NULL);
    CREATE TABLE told (subject TEXT PRIMARY KEY, event TEXT NOT NULL, at INTEGER NOT NULL);
    CREATE TABLE waiting (id INTEGER PRIMARY KEY, channel TEXT NOT NULL, notice TEXT NOT NULL, at INTEGER NOT NULL);
";

/// The database, open.
pub struct State {
    connection: Connection,
    folder: PathBuf,
}

/// Whether the database could be read.
#[derive(Debug)]
pub enum Health {
    /// It was there, or there was none.
    Sound,
    /// It could not be read, and lies there now.
    LaidAside {
        /// Where it lies.
        path: PathBuf,
        /// Why it was laid aside.
        reason: String,
    },
}

impl State {
    /// Opens the database in `folder`, and makes both when they are missing.
    ///
    /// # Errors
    /// When the folder cannot be written to, or another process keeps the database locked.
    pub fn open(folder: &Path) -> Result<(Self, Health), StateError> {
        std::fs::create_dir_all(folder).map_err(|source| StateError::Folder { folder: folder.to_owned(), source })?;
        let path = folder.join(FILE_NAME);
        let failed = |source| StateError::Database { path: path.clone(), source };
        match connect(&path) {
            Ok(connection) => Ok((Self { connection, folder: folder.to_owned() }, Health::Sound)),
            Err(error) if is_unreadable(&error) => {
                let aside = aside(&path);
                for (from, to) in ["", "-wal", "-shm"].map(|end| (with_end(&path, end), with_end(&aside, end))) {
                    match std::fs::rename(&from, &to) {
                        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                            return Err(StateError::Folder { folder: folder.to_owned(), source: error });
                        }
                        _ => {}
                    }
                }
                let connection = connect(&path).map_err(failed)?;
                let health = Health::LaidAside { path: aside, reason: error.to_string() };
                Ok((Self { connection, folder: folder.to_owned() }, health))
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Opens the database only to look; `None` when there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn look(folder: &Path) -> Result<Option<Self>, StateError> {
        let path = folder.join(FILE_NAME);
        if !path.exists() {
            return Ok(None);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let opened = Connection::open_with_flags(&path, flags).and_then(|connection| {
            connection.busy_timeout(Duration::from_secs(10))?;
            let version: i32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
            Ok((version == VERSION).then_some(connection))
        });
        let connection = opened.map_err(|source| StateError::Database { path, source })?;
        Ok(connection.map(|connection| Self { connection, folder: folder.to_owned() }))
    }

    /// The data folder it is in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Forgets runs that ended before `until`, in seconds since 1970.
    ///
    /// # Errors
    /// When the database cannot be written to.
    pub fn forget_until(&self, until: i64) -> Result<(), StateError> {
        self.execute("DELETE FROM run WHERE began < ?1 AND ended IS NOT NULL", [until])
    }

    fn execute(&self, statement: &str, values: impl rusqlite::Params) -> Result<(), StateError> {
        self.asked(|connection| connection.prepare_cached(statement)?.execute(values).map(drop))
    }

    fn asked<T>(&self, ask: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StateError> {
        ask(&self.connection).map_err(|source| StateError::Database { path: self.folder.join(FILE_NAME), source })
    }
}

/// Of two processes that begin a database at once, SQLite tells one that it is locked, and does not wait.
fn into_wal_mode(connection: &Connection) -> rusqlite::Result<()> {
    let mut left = BEGINNINGS;
    loop {
        match connection.pragma_update(None, "journal_mode", "wal") {
            Err(error) if left > 0 && error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => {
                left -= 1;
                std::thread::sleep(BETWEEN_BEGINNINGS);
            }
            done => return done,
        }
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    // Nobody else's business; SQLite gives its other files the same mode. Only a new one: to close a database that this
    // process has open would drop its locks. What hinders this hinders SQLite, which says so.
    let _ = std::fs::File::options().create_new(true).append(true).mode(0o600).open(path);
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(10))?;
    into_wal_mode(&connection)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    let version =
        |connection: &Connection| connection.pragma_query_value(None, "user_version", |row| row.get::<_, i32>(0));
    if version(&connection)? == 0 {
        // Another process may be making it as well.
        let making = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        if version(&making)? == 0 {
            making.execute_batch(TABLES)?;
            making.pragma_update(None, "user_version", VERSION)?;
        }
        making.commit()?;
    }
    if version(&connection)? != VERSION {
        return Err(rusqlite::Error::InvalidQuery);
    }
    // Whether all of it can be read, and not its first page alone.
    connection.query_row("SELECT count(*) FROM done", [], |_| Ok(()))?;
    Ok(connection)
}

/// Whether waiting or more room would not help.
fn is_unreadable(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase, Unknown};
    match error {
        rusqlite::Error::SqliteFailure(error, _) => {
            matches!(error.code, DatabaseCorrupt | NotADatabase | Unknown)
        }
        rusqlite::Error::InvalidQuery => true,
        _ => false,
    }
}

/// A free name beside the database.
fn aside(path: &Path) -> PathBuf {
    let names = (1..1000).map(|number| with_end(path, &format!(".damaged-{number}")));
    names.into_iter().find(|name| !name.exists()).unwrap_or_else(|| with_end(path, ".damaged"))
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_laid_aside_and_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        std::fs::write(&path, b"this is no database, and long enough that nobody takes it for an empty one").unwrap();
        let (state, health) = State::open(folder.path()).unwrap();
        let Health::LaidAside { path: aside, .. } = health else { panic!("{health:?}") };
        assert!(std::fs::read(aside).unwrap().starts_with(b"this is no database"));
        let run = state.begin("run", 100).unwrap();
        state.end(run, 160, 0).unwrap();
        drop(state);
        let (_, health) = State::open(folder.path()).unwrap();
        assert!(matches!(health, Health::Sound));
    }

    #[test]
    fn one_of_another_version_is_laid_aside_too() {
        let folder = tempfile::tempdir().unwrap();
        drop(State::open(folder.path()).unwrap());
        let path = folder.path().join(FILE_NAME);
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        assert!(State::look(folder.path()).unwrap().is_none());
        let (_, health) = State::open(folder.path()).unwrap();
        assert!(matches!(health, Health::LaidAside { .. }));
    }

    #[test]
    fn many_processes_can_begin_it_at_once() {
        let folder = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let (state, health) = State::open(folder.path()).unwrap();
                    assert!(matches!(health, Health::Sound), "{health:?}");
                    state.begin("run", 1).unwrap();
                });
            }
        });
        let state = State::look(folder.path()).unwrap().unwrap();
        let runs: i64 = state.asked(|db| db.query_row("SELECT count(*) FROM run", [], |row| row.get(0))).unwrap();
        assert_eq!(runs, 8);
    }
}
