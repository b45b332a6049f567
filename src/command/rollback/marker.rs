//! That a rollback is going on, or did not end: a small file in the data folder for each profile.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::command::session::data_folder;
use crate::ui::{Exit, Failure};

/// A rollback that has begun to change things.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Begun {
    /// What is put back, for people.
    pub name: String,
    /// Where it goes back to: the id of a snapshot.
    pub snapshot: String,
    /// The snapshot of the state before it.
    pub before: Option<String>,
    /// When it began, in seconds since 1970.
    pub began_seconds: i64,
}

/// Held while a rollback of something goes on.
pub(super) struct Marker {
    path: PathBuf,
    /// Holds the lock.
    _lock: File,
}

impl Marker {
    /// Begins one for what is called `name`.
    ///
    /// # Errors
    /// When another is going on, or the data folder cannot be written.
    pub fn hold(name: &str) -> Result<Self, Failure> {
        let folder = data_folder()?.join("rollback");
        let hash = crate::id::to_hex(&blake3::hash(name.as_bytes()).as_bytes()[..8]);
        let path = folder.join(format!("{hash}.json"));
        let failed = |error: io::Error| unwritable(&folder, &error);
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(failed)?;
        let lock = folder.join(format!("{hash}.lock"));
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(lock).map_err(failed)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            let message = format!("another rollback of {name} is going on");
            Failure::new(Exit::Failed, message, "wait until it has ended")
        })?;
        Ok(Self { path, _lock: lock })
    }

    /// What an earlier one began and did not end. A complete snapshot since then, of `newest_seconds`, shows that the
    /// service has gone on from there: the state is one of its own, and worth keeping.
    pub fn earlier(&self, newest_seconds: i64) -> Option<Begun> {
        let begun: Begun = serde_json::from_slice(&std::fs::read(&self.path).ok()?).ok()?;
        (newest_seconds <= begun.began_seconds).then_some(begun)
    }

    /// Writes down that things change from now on.
    ///
    /// # Errors
    /// When it cannot be written; nothing may change then.
    pub fn write(&self, begun: &Begun) -> Result<(), Failure> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let write = || -> io::Result<()> {
            let mut named = tempfile::NamedTempFile::new_in(folder)?;
            named.write_all(&serde_json::to_vec(begun)?)?;
            named.as_file().sync_all()?;
            named.persist(&self.path).map_err(|error| error.error)?;
            File::open(folder)?.sync_all()
        };
        write().map_err(|error| unwritable(folder, &error))
    }

    /// It has ended.
    pub fn clear(&self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn unwritable(folder: &Path, error: &io::Error) -> Failure {
    let mut failure =
        Failure::of(Exit::Failed, error, "make room, or set BK_DATA_DIR to a folder that you may write to");
    failure.message = format!("{} cannot be written: {error}", folder.display());
    failure
}
