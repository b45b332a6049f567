//! An entry under a name nobody can guess, until it is complete.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::error::DestinationError;
use super::folder::Folder;
use super::thaw::thawed;

/// How temporary names begin; 16 hexadecimal digits follow.
const PREFIX: &str = ".bk-restore-";
/// How often another name is drawn when one is taken.
const MAX_TRIES: usize = 16;

/// A name unlike any other of this process, that other processes cannot foresee: a counter under a secret hash.
fn draw() -> String {
    static SECRET: OnceLock<RandomState> = OnceLock::new();
    static DRAWN: AtomicU64 = AtomicU64::new(0);
    let number = DRAWN.fetch_add(1, Ordering::Relaxed);
    format!("{PREFIX}{:016x}", SECRET.get_or_init(RandomState::new).hash_one(number))
}

/// Whether `name` has the form of a temporary name, so that it is a leftover of a restore that was killed.
pub(super) fn is_leftover(name: &[u8]) -> bool {
    name.strip_prefix(PREFIX.as_bytes()).is_some_and(|digits| {
        digits.len() == 16 && digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// A made entry that is removed again unless it is placed.
#[derive(Debug)]
pub(super) struct Temporary {
    folder: Folder,
    name: String,
    placed: bool,
}

impl Temporary {
    /// Draws names until `make` succeeds in creating one; `make` must refuse names that exist.
    pub(super) fn claim<T>(
        folder: &Folder,
        mut make: impl FnMut(&str) -> Result<T, Errno>,
    ) -> Result<(Self, T), Errno> {
        for _ in 0..MAX_TRIES {
            let name = draw();
            match make(&name) {
                Err(Errno::EXIST) => {}
                made => return Ok((Self { folder: folder.clone(), name, placed: false }, made?)),
            }
        }
        Err(Errno::EXIST)
    }

    pub(super) fn name(&self) -> &[u8] {
        self.name.as_bytes()
    }

    /// Gives the entry its `name`, in one step, replacing whatever had it unless that is a directory.
    pub(super) fn place(mut self, name: &[u8]) -> Result<(), DestinationError> {
        self.rename(name)?;
        self.placed = true;
        Ok(())
    }

    /// The same for a hard link. Renaming between two names of one inode does nothing, so the temporary one may
    /// still be there and is removed as if nothing had been placed.
    pub(super) fn place_link(self, name: &[u8]) -> Result<(), DestinationError> {
        self.rename(name)
    }

    fn rename(&self, name: &[u8]) -> Result<(), DestinationError> {
        let folder = &self.folder;
        let rename = || rustix::fs::renameat(folder.fd(), self.name.as_str(), folder.fd(), name);
        match thawed(folder.resolve(), folder.fd(), name, rename) {
            Ok(()) => Ok(()),
            Err(Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST) => {
                Err(DestinationError::InTheWay { path: folder.shown_below(name) })
            }
            Err(errno) => Err(folder.failed("replacing", name, errno)),
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.placed {
            let _ = rustix::fs::unlinkat(self.folder.fd(), self.name.as_str(), AtFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawn_names_differ_and_are_recognised_as_leftovers() {
        let (first, second) = (draw(), draw());
        assert_ne!(first, second);
        assert!(is_leftover(first.as_bytes()) && is_leftover(second.as_bytes()));
        assert!(!is_leftover(b".bk-restore-notes") && !is_leftover(b".bk-restore-0123456789abcdeg"));
    }
}
