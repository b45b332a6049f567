//! A repository in restic's format in a folder. What is being written lies in a folder of ours, `tmp`, that restic does
//! not look at: it is made with the first object.

use std::io;
use std::path::Path;

use rustix::fs::AtFlags;

use super::{LocalStore, MayHold, TEMPORARY, holds_only};
use crate::store::{Area, Listed, ResticArea, Store as _, StoreError};

impl LocalStore {
    /// Whether `path` looks like a repository in restic's format.
    #[must_use]
    pub fn is_of_restic(path: &Path) -> bool {
        path.join(ResticArea::Config.folder()).is_file() && path.join(ResticArea::Snapshots.folder()).is_dir()
    }

    /// Opens the folder of a repository in restic's format. That it can be read is enough.
    ///
    /// # Errors
    /// [`StoreError::NoRepository`] when there is no configuration; others as they come.
    pub fn open_restic(path: &Path) -> Result<Self, StoreError> {
        let store = Self { holds_restic: true, ..Self::of(Self::open_folder(path)?) };
        let name = ResticArea::CONFIG.to_string();
        let is_file = match rustix::fs::statat(&store.folder.descriptor, &name, AtFlags::empty()) {
            Ok(stat) => rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::RegularFile,
            Err(rustix::io::Errno::NOENT) => false,
            Err(error) => return Err(store.folder.error("look at", &name, error)),
        };
        if is_file { Ok(store) } else { Err(StoreError::NoRepository { location: store.location() }) }
    }

    /// Makes the folders of a new repository in restic's format. `path` may exist when it is empty, or holds folders
    /// that an interrupted call of this left. Nobody else can make one there as long as this store lives.
    ///
    /// # Errors
    /// [`StoreError::NotEmpty`]; others as they come.
    pub fn create_restic(path: &Path) -> Result<Self, StoreError> {
        let above = ResticArea::Data.folder().to_owned();
        let names = std::iter::once(above).chain(ResticArea::ALL.into_iter().flat_map(ResticArea::folders));
        Self::make(path, names, ResticArea::Data.folder(), is_free)
    }

    pub(super) fn list_restic(&self, area: ResticArea) -> Result<Vec<Listed>, StoreError> {
        let mut listed = Vec::new();
        let is_config = area == ResticArea::Config;
        for folder in area.folders().chain(is_config.then(|| ".".to_owned())) {
            match self.list_folder(Area::Restic(area), &folder, &mut listed) {
                // Some programs make a folder with its first object.
                Err(StoreError::Missing { .. }) if !self.leads_nowhere(area) => {}
                result => result?,
            }
        }
        if listed.is_empty() && self.holds_restic && self.stat(&ResticArea::CONFIG)?.is_none() {
            let name = ResticArea::CONFIG.to_string();
            return Err(StoreError::Missing { name, location: self.location() });
        }
        Ok(listed)
    }

    /// Whether the folder of an area is a link to a place that is not there, as when its disk is not mounted.
    fn leads_nowhere(&self, area: ResticArea) -> bool {
        let folder = &self.folder.descriptor;
        let link = rustix::fs::statat(folder, area.folder(), AtFlags::SYMLINK_NOFOLLOW);
        link.is_ok() && rustix::fs::statat(folder, area.folder(), AtFlags::empty()).is_err()
    }
}

/// Whether nothing but folders is there, and what was on its way.
fn is_free(path: &Path) -> io::Result<bool> {
    holds_only(path, |name| match ResticArea::ALL.into_iter().find(|area| name == area.folder()) {
        Some(ResticArea::Config) => None,
        Some(ResticArea::Data) => Some(MayHold::EmptyFolders),
        // Not even keys: restic might try one that was left over first, and its master key is another one.
        Some(_) => Some(MayHold::Nothing),
        None => (name == TEMPORARY).then_some(MayHold::Anything),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_place_is_a_repository_of_restic_when_it_has_a_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r");
        let no_repository = |path: &Path| matches!(LocalStore::open_restic(path), Err(StoreError::NoRepository { .. }));
        assert!(no_repository(&path));
        let store = LocalStore::create_restic(&path).unwrap();
        assert!(no_repository(&path) && store.list(Area::Restic(ResticArea::Config)).unwrap().is_empty());
        store.put_new(&ResticArea::CONFIG, b"sealed").unwrap();
        let store = LocalStore::open_restic(&path).unwrap();
        assert_eq!(store.list(Area::Restic(ResticArea::Config)).unwrap().len(), 1);
        // One of ours has a folder of that name.
        drop(LocalStore::create(&folder.path().join("ours")).unwrap());
        assert!(no_repository(&folder.path().join("ours")));
        assert!(matches!(LocalStore::open(&path), Err(StoreError::NoRepository { .. })));
    }

    #[test]
    fn an_interrupted_making_is_taken_over_and_what_holds_anything_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let make = || LocalStore::create_restic(folder.path()).map(drop);
        make().unwrap();
        for name in ["data", "data/ff", "locks"] {
            let metadata = std::fs::metadata(folder.path().join(name)).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o777, 0o700, "{name}");
        }
        std::fs::remove_dir(folder.path().join("data/0a")).unwrap();
        make().unwrap();
        for strange in ["config", "keys/k", "data/00/x", "snapshots/x", "photos"] {
            std::fs::write(folder.path().join(strange), "x").unwrap();
            assert!(matches!(make(), Err(StoreError::NotEmpty { .. })), "{strange}");
            std::fs::remove_file(folder.path().join(strange)).unwrap();
        }
        make().unwrap();
    }

    #[test]
    fn folders_may_be_missing_but_nothing_looks_empty_that_is_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("r");
        let pack = ResticArea::Data.object([7; 32]);
        LocalStore::create_restic(&path).unwrap().put_new(&ResticArea::CONFIG, b"sealed").unwrap();
        for first in ResticArea::Data.folders().chain(["data", "locks"].map(str::to_owned)) {
            std::fs::remove_dir(path.join(first)).unwrap();
        }
        let store = LocalStore::open_restic(&path).unwrap();
        for area in [ResticArea::Data, ResticArea::Locks] {
            assert!(store.list(Area::Restic(area)).unwrap().is_empty());
        }
        std::fs::create_dir(path.join("data")).unwrap();
        store.put_new(&pack, b"pack").unwrap();
        assert_eq!(store.list(Area::Restic(ResticArea::Data)).unwrap().len(), 1);
        std::fs::rename(path.join("data"), folder.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink("../nowhere", path.join("data")).unwrap();
        assert!(store.list(Area::Restic(ResticArea::Data)).unwrap_err().is_missing());
        std::fs::remove_file(path.join("config")).unwrap();
        for area in [ResticArea::Config, ResticArea::Locks, ResticArea::Snapshots] {
            assert!(store.list(Area::Restic(area)).unwrap_err().is_missing(), "{area:?}");
        }
    }
}
