//! A repository in restic's format in a folder behind SSH. What is being written lies in a folder of ours, `tmp`, that
//! restic does not look at.

use std::sync::atomic::Ordering;

use super::{Inner, SftpStore, TEMPORARY};
use crate::store::location::Remote;
use crate::store::remote::Settings;
use crate::store::{Area, Listed, ResticArea, Store as _, StoreError};

impl SftpStore {
    /// Opens the folder of a repository in restic's format. That it can be read is enough.
    ///
    /// # Errors
    /// [`StoreError::NoRepository`] when there is none; [`StoreError::Ssh`] with the reason when it cannot be used.
    pub fn open_restic(remote: &Remote, settings: &Settings) -> Result<Self, StoreError> {
        let store = Self::connect(remote, settings)?;
        if store.inner.list_restic(ResticArea::Config)?.is_empty() {
            return Err(StoreError::NoRepository { location: store.location() });
        }
        store.inner.holds_restic.store(true, Ordering::Relaxed);
        Ok(store)
    }

    /// Makes the folders of a new repository in restic's format. The place may hold folders that an interrupted call of
    /// this left.
    ///
    /// # Errors
    /// [`StoreError::NotEmpty`] when anything else is there; others as they come.
    pub fn create_restic(remote: &Remote, settings: &Settings) -> Result<Self, StoreError> {
        let store = Self::connect(remote, settings)?;
        if !store.inner.is_free_for_restic()? {
            return Err(StoreError::NotEmpty { location: store.location() });
        }
        let areas = ResticArea::ALL.into_iter().filter(|area| *area != ResticArea::Config);
        let areas = areas.map(|area| area.folder().to_owned()).chain([TEMPORARY.to_owned()]);
        store.inner.make_all([areas.collect(), ResticArea::Data.folders().collect()])?;
        Ok(store)
    }
}

impl Inner {
    /// Whether nothing but folders is there, and what was on its way. Not even keys: restic might try one that was left
    /// over first, and its master key is another one.
    fn is_free_for_restic(&self) -> Result<bool, StoreError> {
        let found = match self.found("look at", "") {
            Err(StoreError::Missing { .. }) => return Ok(true),
            found => found?,
        };
        for one in found.into_iter().filter(|one| one.name != TEMPORARY) {
            let free = match ResticArea::ALL.into_iter().find(|area| one.name == area.folder()) {
                None | Some(ResticArea::Config) => false,
                Some(ResticArea::Data) => self.holds_empty_folders(ResticArea::Data.folder())?,
                Some(area) => self.found("look at", area.folder())?.is_empty(),
            };
            if !free {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn look_at_config(&self) -> Result<Option<Listed>, StoreError> {
        let found = self.look_at(&ResticArea::CONFIG.to_string())?;
        // One of ours has a folder of that name.
        Ok(found.filter(|found| found.is_file).map(|found| found.listed(ResticArea::CONFIG)))
    }

    /// Every object of an area. One that is not there holds none, as long as there is a configuration.
    pub(super) fn list_restic(&self, area: ResticArea) -> Result<Vec<Listed>, StoreError> {
        let listed = match area {
            ResticArea::Config => self.look_at_config()?.into_iter().collect(),
            area => match self.list_area(Area::Restic(area)) {
                // Some programs make a folder with its first object. A link to a place that is not there is none.
                Err(StoreError::Missing { .. }) if self.look_at(area.folder())?.is_none() => Vec::new(),
                listed => listed?,
            },
        };
        if listed.is_empty() && self.holds_restic.load(Ordering::Relaxed) && self.look_at_config()?.is_none() {
            let name = ResticArea::CONFIG.to_string();
            return Err(StoreError::Missing { name, location: self.location.clone() });
        }
        Ok(listed)
    }
}
