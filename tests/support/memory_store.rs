//! A store in memory that keeps every promise of [`Store`]; its clock is set by the test.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;

use bk::format::node::Timestamp;
use bk::store::{Area, Listed, ObjectName, Store, StoreError, Upload};

const LOCATION: &str = "memory:";

#[derive(Debug, Clone, Default)]
struct State {
    objects: BTreeMap<ObjectName, (Vec<u8>, Timestamp)>,
    time: Timestamp,
}

/// Objects in memory. Clones share them; [`MemoryStore::fork`] copies them.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore(Arc<Mutex<State>>);

impl MemoryStore {
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// A store of its own that holds the same objects now.
    pub fn fork(&self) -> Self {
        Self(Arc::new(Mutex::new(self.state().clone())))
    }

    /// The time that objects get from now on.
    pub fn set_time(&self, time: Timestamp) {
        self.state().time = time;
    }

    /// Names of all objects of an area, sorted.
    pub fn names(&self, area: Area) -> Vec<ObjectName> {
        self.state().objects.keys().filter(|name| name.area() == area).copied().collect()
    }

    /// Changes the bytes of an object behind everybody's back.
    pub fn change(&self, name: &ObjectName, change: impl FnOnce(&mut Vec<u8>)) {
        change(&mut self.state().objects.get_mut(name).expect("the object is there").0);
    }

    /// Sum of the lengths of the objects of an area, in bytes.
    pub fn bytes(&self, area: Area) -> u64 {
        let state = self.state();
        state.objects.iter().filter(|(name, _)| name.area() == area).map(|(_, (bytes, _))| bytes.len() as u64).sum()
    }
}

fn missing(name: &ObjectName) -> StoreError {
    StoreError::Missing { name: name.to_string(), location: LOCATION.into() }
}

impl Store for MemoryStore {
    fn location(&self) -> String {
        LOCATION.into()
    }

    fn get(&self, name: &ObjectName) -> Result<Vec<u8>, StoreError> {
        self.state().objects.get(name).map(|(bytes, _)| bytes.clone()).ok_or_else(|| missing(name))
    }

    fn get_range(&self, name: &ObjectName, offset: u64, length: u64, into: &mut Vec<u8>) -> Result<(), StoreError> {
        let state = self.state();
        let (bytes, _) = state.objects.get(name).ok_or_else(|| missing(name))?;
        let end = offset + length;
        let range = bytes.get(offset as usize..end as usize).ok_or_else(|| StoreError::Short {
            name: name.to_string(),
            location: LOCATION.into(),
            size: bytes.len() as u64,
            end,
        })?;
        into.clear();
        into.extend_from_slice(range);
        Ok(())
    }

    fn put_new(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError> {
        let mut state = self.state();
        if state.objects.contains_key(name) {
            return Err(StoreError::Exists { name: name.to_string(), location: LOCATION.into() });
        }
        let time = state.time;
        state.objects.insert(*name, (bytes.to_vec(), time));
        Ok(())
    }

    fn begin(&self) -> Result<Box<dyn Upload>, StoreError> {
        Ok(Box::new(MemoryUpload { store: self.clone(), bytes: Vec::new() }))
    }

    fn list(&self, area: Area) -> Result<Vec<Listed>, StoreError> {
        let state = self.state();
        let of_area = state.objects.iter().filter(|(name, _)| name.area() == area);
        Ok(of_area.map(|(name, (bytes, time))| Listed { name: *name, size: bytes.len() as u64, time: *time }).collect())
    }

    fn stat(&self, name: &ObjectName) -> Result<Option<u64>, StoreError> {
        Ok(self.state().objects.get(name).map(|(bytes, _)| bytes.len() as u64))
    }

    fn time(&self) -> Result<Timestamp, StoreError> {
        Ok(self.state().time)
    }

    fn delete(&self, name: &ObjectName) -> Result<(), StoreError> {
        self.state().objects.remove(name);
        Ok(())
    }
}

struct MemoryUpload {
    store: MemoryStore,
    bytes: Vec<u8>,
}

impl Upload for MemoryUpload {
    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn read_back(&self, offset: u64, length: u64, into: &mut Vec<u8>) -> Result<(), StoreError> {
        into.clear();
        into.extend_from_slice(&self.bytes[offset as usize..(offset + length) as usize]);
        Ok(())
    }

    fn finish(self: Box<Self>, name: &ObjectName) -> Result<Option<Bytes>, StoreError> {
        self.store.put_new(name, &self.bytes)?;
        Ok(Some(self.bytes.into()))
    }
}
