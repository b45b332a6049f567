//! Stands where the store of a repository in another format would be: whoever wants objects of ours from there gets none.

use super::{Area, Listed, ObjectName, Store, StoreError, Upload};
use crate::format::node::Timestamp;

/// A store without objects, which takes none.
#[derive(Debug)]
pub struct OutsideStore {
    location: String,
}

impl OutsideStore {
    /// Stands at `location`.
    #[must_use]
    pub const fn new(location: String) -> Self {
        Self { location }
    }

    fn refuse<T>(&self) -> Result<T, StoreError> {
        Err(StoreError::OtherFormat { location: self.location.clone() })
    }
}

impl Store for OutsideStore {
    fn location(&self) -> String {
        self.location.clone()
    }

    fn get(&self, name: &ObjectName) -> Result<Vec<u8>, StoreError> {
        Err(StoreError::Missing { name: name.to_string(), location: self.location.clone() })
    }

    fn get_range(&self, name: &ObjectName, _: u64, _: u64, _: &mut Vec<u8>) -> Result<(), StoreError> {
        self.get(name).map(drop)
    }

    fn put_new(&self, _: &ObjectName, _: &[u8]) -> Result<(), StoreError> {
        self.refuse()
    }

    fn begin(&self) -> Result<Box<dyn Upload>, StoreError> {
        self.refuse()
    }

    fn list(&self, _: Area) -> Result<Vec<Listed>, StoreError> {
        Ok(Vec::new())
    }

    fn stat(&self, _: &ObjectName) -> Result<Option<u64>, StoreError> {
        Ok(None)
    }

    fn delete(&self, _: &ObjectName) -> Result<(), StoreError> {
        self.refuse()
    }

    fn time(&self) -> Result<Timestamp, StoreError> {
        self.refuse()
    }
}
