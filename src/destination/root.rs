//! The folder a restore may write below.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::error::DestinationError;
use super::folder::{Folder, Shared};
use super::name::{check_name, shown};
use super::owner::{OwnerPolicy, Owners};
use super::place::Place;
use super::resolve::{DIRECTORY, Resolve, retry};

/// Room on the file system of a [`Destination`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreeSpace {
    /// Bytes an ordinary user may still use.
    pub bytes: u64,
    /// Entries that can still be made; `None` where the file system does not count them.
    pub inodes: Option<u64>,
}

/// The target of a restore: one open folder, below which everything happens.
#[derive(Debug, Clone)]
pub struct Destination {
    root: Folder,
}

impl Destination {
    /// Opens the existing folder `path`, for a restore in place. Links in `path` itself are followed: the user typed it.
    ///
    /// # Errors
    /// [`DestinationError::NotADirectory`] or [`DestinationError::System`].
    pub fn open(path: &Path, owners: OwnerPolicy) -> Result<Self, DestinationError> {
        Ok(Self::new(open_parent(path)?, path, owners))
    }

    /// Makes the folder `name` in `parent`, for nobody but the current user (0700), or reuses it if it is like that.
    ///
    /// # Errors
    /// An existing `name` is refused unless it is a real directory ([`DestinationError::NotADirectory`]) of the current
    /// user ([`DestinationError::NotYours`]) that lets nobody else in ([`DestinationError::NotPrivate`]): otherwise
    /// others could plant or read things in it. Its permissions are never changed, for it might be in use.
    pub fn create_private(parent: &Path, name: &str, owners: OwnerPolicy) -> Result<Self, DestinationError> {
        check_name(name.as_bytes()).map_err(|source| DestinationError::Name {
            folder: shown(parent.as_os_str().as_bytes()),
            name: shown(name.as_bytes()),
            source,
        })?;
        let parent_fd = open_parent(parent)?;
        let path = parent.join(name);
        let text = || shown(path.as_os_str().as_bytes());
        match rustix::fs::mkdirat(&parent_fd, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(source) => return Err(DestinationError::System { action: "creating", path: text(), source }),
        }
        let resolve = Resolve::detect(parent_fd.as_fd());
        let fd = resolve
            .open(parent_fd.as_fd(), name.as_bytes(), DIRECTORY, Mode::empty())
            .map_err(|errno| not_opened(text(), errno))?;
        let found = rustix::fs::fstat(&fd).map_err(|errno| not_opened(text(), errno))?;
        if found.st_uid != rustix::process::geteuid().as_raw() {
            return Err(DestinationError::NotYours { path: text(), uid: found.st_uid });
        }
        if found.st_mode & 0o077 != 0 {
            return Err(DestinationError::NotPrivate { path: text(), mode: found.st_mode & 0o7777 });
        }
        Ok(Self::new(fd, &path, owners))
    }

    fn new(fd: OwnedFd, path: &Path, owners: OwnerPolicy) -> Self {
        let shared = Shared { resolve: Resolve::detect(fd.as_fd()), owners: Owners::new(owners) };
        Self { root: Folder::new(fd, Place::root(path.as_os_str().as_bytes()), Arc::new(shared)) }
    }

    #[cfg(test)]
    pub(super) fn without_openat2(path: &Path) -> Self {
        let shared = Shared { resolve: Resolve::Component, owners: Owners::default() };
        let root = Place::root(path.as_os_str().as_bytes());
        Self { root: Folder::new(open_parent(path).unwrap(), root, Arc::new(shared)) }
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> Folder {
        self.root.clone()
    }

    /// What still fits.
    ///
    /// # Errors
    /// [`DestinationError::System`].
    pub fn free_space(&self) -> Result<FreeSpace, DestinationError> {
        let found = rustix::fs::fstatvfs(self.root.fd()).map_err(|errno| self.root.failed_here("looking at", errno))?;
        Ok(FreeSpace {
            bytes: found.f_bavail.saturating_mul(found.f_frsize),
            inodes: (found.f_files != 0).then_some(found.f_favail),
        })
    }

    /// Waits until everything on the folder's file system is on disk, and learns of writes that failed since
    /// the folder was opened. Other file systems mounted below need [`Folder::sync`].
    ///
    /// # Errors
    /// [`DestinationError::System`]: what was restored may be incomplete.
    pub fn sync(&self) -> Result<(), DestinationError> {
        self.root.sync()
    }
}

fn open_parent(path: &Path) -> Result<OwnedFd, DestinationError> {
    let flags = DIRECTORY | OFlags::CLOEXEC;
    retry(|| rustix::fs::openat(CWD, path, flags, Mode::empty()))
        .map_err(|errno| not_opened(shown(path.as_os_str().as_bytes()), errno))
}

fn not_opened(path: String, errno: Errno) -> DestinationError {
    match errno {
        Errno::NOTDIR | Errno::LOOP => DestinationError::NotADirectory { path },
        source => DestinationError::System { action: "opening", path, source },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::bench::Bench;
    use super::*;

    #[test]
    fn a_private_folder_is_made_for_its_user_only_and_is_reused() {
        let bench = Bench::new();
        for _ in 0..2 {
            let made = Destination::create_private(&bench.path(""), "plex", OwnerPolicy::Numeric).unwrap();
            assert_eq!(made.root().shown_path(), bench.path("plex").display().to_string());
        }
        assert_eq!(std::fs::metadata(bench.path("plex")).unwrap().permissions().mode() & 0o7777, 0o700);
    }

    #[test]
    fn a_planted_link_or_file_or_foreign_or_open_folder_is_no_private_folder() {
        let bench = Bench::new();
        std::os::unix::fs::symlink("/etc", bench.path("link")).unwrap();
        std::fs::write(bench.path("file"), b"").unwrap();
        std::fs::create_dir(bench.path("open")).unwrap();
        let create = |name| Destination::create_private(&bench.path(""), name, OwnerPolicy::Numeric).unwrap_err();
        assert!(matches!(create("link"), DestinationError::NotADirectory { .. }));
        assert!(matches!(create("file"), DestinationError::NotADirectory { .. }));
        assert!(matches!(create("open"), DestinationError::NotPrivate { mode: 0o755, .. }));
        assert!(matches!(create(".."), DestinationError::Name { .. }));
        if super::super::bench::is_root() {
            std::fs::create_dir(bench.path("foreign")).unwrap();
            std::os::unix::fs::chown(bench.path("foreign"), Some(65534), None).unwrap();
            let error = create("foreign");
            assert_eq!(
                error.to_string(),
                format!("{} belongs to user 65534, not to you", bench.path("foreign").display())
            );
            assert!(!error.hint().is_empty());
        }
    }

    #[test]
    fn free_space_is_known() {
        let free = Bench::new().destination().free_space().unwrap();
        assert!(free.bytes > 0 && free.inodes != Some(0));
    }
}
