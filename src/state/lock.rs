//! One run of a profile at a time on this machine: a lock that ends with its process, however it ends.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

use super::StateError;

/// A lock that this process holds until it is dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// What came of an attempt to take a lock.
#[derive(Debug)]
pub enum Attempt {
    /// It is ours.
    Taken(Lock),
    /// Another process holds it; who, as it wrote itself.
    Held(String),
}

impl Lock {
    /// Tries to take the lock `name` in the data folder `folder`; `who` is what another one reads who tries.
    ///
    /// # Errors
    /// When its file cannot be made.
    pub fn attempt(folder: &Path, name: &str, who: &str) -> Result<Attempt, StateError> {
        let locks = folder.join("locks");
        let failed = |source| StateError::Folder { folder: locks.clone(), source };
        std::fs::create_dir_all(&locks).map_err(failed)?;
        let path = locks.join(name);
        let mut options = File::options();
        let mut file = options.read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {
                // For people only: nobody is kept from working because it cannot be written.
                let _ = file.set_len(0).and_then(|()| file.write_all(who.as_bytes()));
                Ok(Attempt::Taken(Self { file }))
            }
            Err(TryLockError::WouldBlock) => {
                let mut who = String::new();
                let _ = file.take(200).read_to_string(&mut who);
                Ok(Attempt::Held(if who.is_empty() { "another process".into() } else { who }))
            }
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}

impl Lock {
    /// Takes its file away: of a name that nobody will ever lock again.
    pub fn remove(self, folder: &Path, name: &str) {
        let _ = std::fs::remove_file(folder.join("locks").join(name));
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The file stays: one that was deleted could be locked twice.
        let _ = self.file.set_len(0).and_then(|()| self.file.rewind());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_once_and_says_by_whom() {
        let folder = tempfile::tempdir().unwrap();
        let take = |who| Lock::attempt(folder.path(), "plex", who).unwrap();
        let Attempt::Taken(first) = take("process 1") else { panic!() };
        assert!(matches!(take("process 2"), Attempt::Held(who) if who == "process 1"));
        assert!(matches!(Lock::attempt(folder.path(), "gitea", "x").unwrap(), Attempt::Taken(_)));
        drop(first);
        assert!(matches!(take("process 3"), Attempt::Taken(_)));
    }
}
