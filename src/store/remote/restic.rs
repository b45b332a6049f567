//! Repositories in restic's format on another machine.

use std::sync::atomic::Ordering;

use super::{Credentials, Inner, RemoteStore, Settings, TEMPORARY};
use crate::store::location::Remote;
use crate::store::{Area, Listed, ResticArea, Store as _, StoreError};

impl RemoteStore {
    /// Opens the place of a repository in restic's format.
    ///
    /// # Errors
    /// [`StoreError::NoRepository`] when there is none; [`StoreError::Remote`] with the reason when it cannot be used.
    pub fn open_restic(
        remote: &Remote,
        settings: &Settings,
        credentials: Option<Credentials>,
    ) -> Result<Self, StoreError> {
        let store = Self::connect(remote, settings, credentials)?;
        // Read and not only looked at: an answer without a body would not say why it is refused.
        match store.get(&ResticArea::CONFIG) {
            Err(StoreError::Missing { .. }) => return Err(StoreError::NoRepository { location: store.location() }),
            config => drop(config?),
        }
        store.inner.holds_restic.store(true, Ordering::Relaxed);
        Ok(store)
    }

    /// Prepares a place for a new repository in restic's format.
    ///
    /// # Errors
    /// [`StoreError::NotEmpty`] when anything is there; others as they come.
    pub fn create_restic(
        remote: &Remote,
        settings: &Settings,
        credentials: Option<Credentials>,
    ) -> Result<Self, StoreError> {
        let store = Self::connect(remote, settings, credentials)?;
        let inner = &store.inner;
        if !inner.is_free_for_restic()? {
            return Err(StoreError::NotEmpty { location: store.location() });
        }
        let make = |name: &str| inner.ask("make", name, |operator| async move { operator.create_dir(name).await });
        if inner.is_rest {
            make("/")?;
        } else if !inner.is_object_store {
            for area in ResticArea::ALL.into_iter().filter(|area| *area != ResticArea::Config) {
                make(&format!("{}/", area.folder()))?;
            }
        }
        Ok(store)
    }
}

impl Inner {
    fn is_free_for_restic(&self) -> Result<bool, StoreError> {
        if self.is_rest {
            // There are no others that could be asked for.
            for area in ResticArea::ALL {
                if !self.list_restic(area)?.is_empty() {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        match self.list("", |path, _, _| (!path.starts_with(TEMPORARY)).then_some(())) {
            Err(StoreError::Missing { .. }) => Ok(true),
            strange => Ok(strange?.is_empty()),
        }
    }

    /// Every object of an area. One that is not there holds none, as long as there is a configuration.
    pub(super) fn list_restic(&self, area: ResticArea) -> Result<Vec<Listed>, StoreError> {
        let config = ResticArea::CONFIG.to_string();
        let size = |name: &str| self.length(name);
        let found = match area {
            ResticArea::Config => size(&config)?.map(|size| (ResticArea::CONFIG, size, None)).into_iter().collect(),
            area => match self.list_area(Area::Restic(area)) {
                Err(StoreError::Missing { .. }) => Vec::new(),
                found => found?,
            },
        };
        if found.is_empty() && self.holds_restic.load(Ordering::Relaxed) && size(&config)?.is_none() {
            return Err(StoreError::Missing { name: config, location: self.location.clone() });
        }
        found.into_iter().map(|one| self.timed(one)).collect()
    }
}
