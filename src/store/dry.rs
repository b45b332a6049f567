//! A store that keeps nothing: for dry runs, which do everything but that.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::{Area, Listed, ObjectName, Store, StoreError, Traffic, Upload};
use crate::format::node::Timestamp;

/// Reads from another store and forgets what it is given, but for the lengths.
pub struct DryStore {
    inner: Arc<dyn Store>,
    lengths: Arc<Mutex<HashMap<ObjectName, u64>>>,
}

impl DryStore {
    /// Reads from `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, lengths: Arc::default() }
    }
}

impl Store for DryStore {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn is_far(&self) -> bool {
        self.inner.is_far()
    }

    fn syncs(&self) -> bool {
        self.inner.syncs()
    }

    fn keeps_deleted(&self, name: &ObjectName) -> Option<bool> {
        self.inner.keeps_deleted(name)
    }

    fn get(&self, name: &ObjectName) -> Result<Vec<u8>, StoreError> {
        self.inner.get(name)
    }

    fn get_range(&self, name: &ObjectName, offset: u64, length: u64, into: &mut Vec<u8>) -> Result<(), StoreError> {
        self.inner.get_range(name, offset, length, into)
    }

    fn get_range_of_trees(
        &self,
        name: &ObjectName,
        size: u64,
        offset: u64,
        length: u64,
        into: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        self.inner.get_range_of_trees(name, size, offset, length, into)
    }

    fn drop_copy(&self, name: &ObjectName) -> bool {
        self.inner.drop_copy(name)
    }

    fn put_new(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError> {
        self.lengths.lock().unwrap_or_else(PoisonError::into_inner).insert(*name, bytes.len() as u64);
        Ok(())
    }

    fn begin(&self) -> Result<Box<dyn Upload>, StoreError> {
        Ok(Box::new(DryUpload { lengths: Arc::clone(&self.lengths), bytes: Vec::new() }))
    }

    fn list(&self, area: Area) -> Result<Vec<Listed>, StoreError> {
        self.inner.list(area)
    }

    fn stat(&self, name: &ObjectName) -> Result<Option<u64>, StoreError> {
        let forgotten = self.lengths.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied();
        forgotten.map_or_else(|| self.inner.stat(name), |length| Ok(Some(length)))
    }

    fn time(&self) -> Result<Timestamp, StoreError> {
        self.inner.time()
    }

    fn traffic(&self) -> Option<Traffic> {
        self.inner.traffic()
    }

    fn delete(&self, _name: &ObjectName) -> Result<(), StoreError> {
        Ok(())
    }

    fn move_new(&self, _from: &ObjectName, _to: &ObjectName) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Keeps its bytes until it ends: remainders of packs are read back.
struct DryUpload {
    lengths: Arc<Mutex<HashMap<ObjectName, u64>>>,
    bytes: Vec<u8>,
}

impl Upload for DryUpload {
    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn read_back(&self, offset: u64, length: u64, into: &mut Vec<u8>) -> Result<(), StoreError> {
        into.clear();
        let (start, end) = (offset as usize, offset.saturating_add(length) as usize);
        into.extend_from_slice(self.bytes.get(start..end).unwrap_or_default());
        Ok(())
    }

    fn finish(self: Box<Self>, name: &ObjectName) -> Result<Option<Bytes>, StoreError> {
        self.lengths.lock().unwrap_or_else(PoisonError::into_inner).insert(*name, self.bytes.len() as u64);
        Ok(None)
    }
}
