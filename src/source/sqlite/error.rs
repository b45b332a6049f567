//! What can go wrong when a database is copied, on which file, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::ErrorCode;
use rusqlite::ffi;

/// A database that could not be copied. Nothing is left in the scratch directory then.
#[derive(Debug, thiserror::Error)]
pub enum SqliteError {
    /// There is nothing at the path; nothing has been created there.
    #[error("database `{}` does not exist", path.display())]
    Missing {
        /// The database.
        path: PathBuf,
    },
    /// The path or its directory cannot be examined.
    #[error("database `{}` cannot be reached", path.display())]
    Unreachable {
        /// The database.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A symbolic link, a directory or a device: only regular files are opened.
    #[error("`{}` is not a regular file, so it is not opened as a database", path.display())]
    NotAFile {
        /// The entry.
        path: PathBuf,
    },
    /// SQLite opens no path that leaves less than eight of its 512 bytes for `-journal`.
    #[error("the path of database `{}` is longer than the {} bytes SQLite can open", path.display(), super::MAX_PATH_LEN)]
    PathTooLong {
        /// The database.
        path: PathBuf,
    },
    /// A file of zero pages.
    #[error("database `{}` is empty: it has no pages", path.display())]
    Empty {
        /// The database.
        path: PathBuf,
    },
    /// The content is no SQLite database: another format, or an encrypted database.
    #[error("`{}` is not an SQLite database, or it is an encrypted one", path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// Another process kept it locked for the whole waiting time.
    #[error("database `{}` stayed locked by another program for {} s", path.display(), waited.as_secs_f32())]
    Locked {
        /// The database.
        path: PathBuf,
        /// How long the lock was waited for.
        waited: Duration,
    },
    /// Truncated, or damaged so badly that its pages cannot be listed.
    #[error("database `{}` is damaged", path.display())]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// A program stopped in the middle of a change; its rollback journal has to be played back first.
    #[error("database `{}` holds an unfinished change, to be undone from its -journal file", path.display())]
    UnfinishedChange {
        /// The database.
        path: PathBuf,
    },
    /// Reading a WAL database needs files beside it, and they can be neither used nor created.
    #[error("database `{}` has a -wal or -journal file that cannot be read without writing to its directory", path.display())]
    ReadOnlyDirectory {
        /// The database.
        path: PathBuf,
    },
    /// It was copied as a file nobody writes, and then somebody wrote.
    #[error("database `{}` changed while it was copied", path.display())]
    Changed {
        /// The database.
        path: PathBuf,
    },
    /// Any other failure to open or read it.
    #[error("database `{}` cannot be read", path.display())]
    Read {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The copy could not be written.
    #[error("no database can be copied into the scratch directory `{}`", directory.display())]
    Scratch {
        /// The scratch directory.
        directory: PathBuf,
        /// What the system or SQLite said.
        source: io::Error,
    },
}

impl SqliteError {
    /// The next step for the user, printed under the message as `hint: …`.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "it may have been removed meanwhile: check the path",
            Self::Unreachable { .. } | Self::Read { .. } => {
                "check that the user who runs bk may read the file and search its directory, and that the disk is healthy"
            }
            Self::NotAFile { .. } => "give the path of the database itself, not of a link to it",
            Self::PathTooLong { .. } => "name the database by a shorter path, for example through a bind mount",
            Self::Empty { .. } | Self::NotADatabase { .. } => {
                "it is to be stored as a plain file; if its program encrypts it, stop the program first or use its own export"
            }
            Self::Locked { .. } => {
                "a program holds a long transaction: raise the waiting time or run the backup when it is idle"
            }
            Self::Corrupt { .. } => {
                "it is to be stored as a plain file; check it with `sqlite3 FILE 'PRAGMA integrity_check'` and recover it from an older snapshot"
            }
            Self::UnfinishedChange { .. } => {
                "start the program that owns it once so that it recovers, or store the database and its -journal file as plain files"
            }
            Self::ReadOnlyDirectory { .. } => {
                "let bk write to the directory, or store the database and its -wal file as plain files of one file system snapshot"
            }
            Self::Changed { .. } => {
                "let bk write to the directory, so that the database can be locked while it is copied"
            }
            Self::Scratch { .. } => "the scratch directory must be writable and have room for the largest database",
        }
    }

    /// Names a failure of the copy: `path` is the database, `directory` the scratch directory.
    pub(super) fn of_step(source: rusqlite::Error, path: &Path, directory: &Path, waited: Duration) -> Self {
        let path = path.to_owned();
        let rusqlite::Error::SqliteFailure(error, _) = source else {
            return Self::Read { path, source };
        };
        match (error.code, error.extended_code) {
            (ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked, _) => Self::Locked { path, waited },
            (ErrorCode::NotADatabase, _) => Self::NotADatabase { path },
            (ErrorCode::DatabaseCorrupt, _) => Self::Corrupt { path, source },
            (_, ffi::SQLITE_IOERR_SHORT_READ) => Self::Corrupt { path, source },
            (_, ffi::SQLITE_READONLY_ROLLBACK) => Self::UnfinishedChange { path },
            (ErrorCode::DiskFull, _) | (_, ffi::SQLITE_IOERR_WRITE | ffi::SQLITE_IOERR_TRUNCATE) => {
                Self::Scratch { directory: directory.to_owned(), source: io::Error::other(source) }
            }
            _ => Self::Read { path, source },
        }
    }
}

/// Whether SQLite failed because it could not use or create the files beside the database.
pub(super) fn lacks_sidecars(error: &rusqlite::Error) -> bool {
    let rusqlite::Error::SqliteFailure(error, _) = error else { return false };
    match error.code {
        ErrorCode::CannotOpen => true,
        ErrorCode::ReadOnly => error.extended_code != ffi::SQLITE_READONLY_ROLLBACK,
        _ => false,
    }
}
