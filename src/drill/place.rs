//! The folder that a throw-away server lives in.
//!
//! A server does not run as root, so its user must be able to reach the folder: every folder above it can be passed
//! through by others, what is in it cannot. Whatever a drill that was killed has left is taken away by the next one.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

/// What such folders begin with.
const PREFIX: &str = "bk-drill-";
/// Longer paths leave no room for the name of a socket, which may have 107 bytes with its folder.
const MAX_LEN: usize = 60;

/// How often, and how fast one after the other, a folder is tried to be removed that something still writes to.
const REMOVALS: u32 = 40;
const BETWEEN_REMOVALS: Duration = Duration::from_millis(50);

/// There is no room for a drill.
#[derive(Debug, thiserror::Error)]
#[error("there is no folder for a throw-away server: {} cannot be used: {source}", folder.display())]
pub struct PlaceError {
    folder: PathBuf,
    source: io::Error,
}

/// A folder that goes when this goes.
#[derive(Debug)]
pub struct Place {
    folder: TempDir,
    /// Held as long as the drill lives.
    _lock: File,
}

impl Place {
    /// Makes one, below `scratch` when a server can live there, else in `/var/tmp`.
    ///
    /// # Errors
    /// [`PlaceError`].
    pub fn make(scratch: &Path) -> Result<Self, PlaceError> {
        let base = if is_passable(scratch) && scratch.as_os_str().len() <= MAX_LEN - 20 {
            scratch.to_owned()
        } else {
            PathBuf::from("/var/tmp")
        };
        Self::make_in(base, 0o711)
    }

    /// Makes one below `scratch` that nobody else may enter.
    ///
    /// # Errors
    /// [`PlaceError`].
    pub fn private(scratch: &Path) -> Result<Self, PlaceError> {
        Self::make_in(scratch.to_owned(), 0o700)
    }

    fn make_in(base: PathBuf, mode: u32) -> Result<Self, PlaceError> {
        let failed = |source| PlaceError { folder: base.clone(), source };
        sweep(&base);
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&base).map_err(failed)?;
        let lock = File::open(folder.path()).map_err(failed)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| failed(error.into()))?;
        lock.set_permissions(Permissions::from_mode(mode)).map_err(failed)?;
        Ok(Self { folder, _lock: lock })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Place {
    /// A server that was killed is not gone at once, and may write once more.
    fn drop(&mut self) {
        for _ in 0..REMOVALS {
            match fs::remove_dir_all(self.path()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => std::thread::sleep(BETWEEN_REMOVALS),
                _ => return,
            }
        }
    }
}

/// Whether every user can pass through a folder and all above it.
fn is_passable(folder: &Path) -> bool {
    let Ok(folder) = fs::canonicalize(folder) else { return false };
    folder.ancestors().all(|one| fs::metadata(one).is_ok_and(|metadata| metadata.mode() & 0o001 != 0))
}

/// Takes away what drills have left that do not live any more.
fn sweep(base: &Path) {
    let own = rustix::process::geteuid().as_raw();
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let named = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        let is_own = entry.metadata().is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == own);
        if !named || !is_own {
            continue;
        }
        let Ok(folder) = File::open(entry.path()) else { continue };
        if flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok() {
            // What cannot be taken away now is tried again by the next drill.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_drill_left_goes_and_a_living_one_stays() {
        let base = tempfile::tempdir_in("/var/tmp").unwrap();
        fs::set_permissions(base.path(), Permissions::from_mode(0o711)).unwrap();
        let living = Place::make(base.path()).unwrap();
        assert!(living.path().starts_with(base.path()), "{}", living.path().display());
        let dead = base.path().join("bk-drill-dead");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join("rows"), "secret").unwrap();
        let other = base.path().join("other");
        fs::create_dir(&other).unwrap();
        let second = Place::make(base.path()).unwrap();
        assert!(!dead.exists() && other.exists() && living.path().exists());
        let path = second.path().to_owned();
        drop(second);
        assert!(!path.exists());
    }

    #[test]
    fn a_folder_that_others_cannot_pass_is_not_used() {
        let base = tempfile::tempdir_in("/var/tmp").unwrap();
        fs::set_permissions(base.path(), Permissions::from_mode(0o700)).unwrap();
        let place = Place::make(base.path()).unwrap();
        assert!(!place.path().starts_with(base.path()));
        assert_eq!(fs::metadata(place.path()).unwrap().mode() & 0o777, 0o711);
    }
}
