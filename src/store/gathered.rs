//! A large object gathered in memory: for stores that want to know its length first, or send it again from its
//! beginning.

use bytes::Bytes;

use super::{ObjectName, Store, StoreError, Upload};

/// Put with [`Store::put_bytes`] once it is whole.
pub(super) struct Gathered<S> {
    store: S,
    bytes: Vec<u8>,
}

impl<S: Store + 'static> Gathered<S> {
    /// Empty, for `store`.
    pub(super) fn begin(store: S) -> Box<dyn Upload> {
        Box::new(Self { store, bytes: Vec::new() })
    }
}

impl<S: Store> Upload for Gathered<S> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn read_back(&self, offset: u64, length: u64, into: &mut Vec<u8>) -> Result<(), StoreError> {
        into.clear();
        let end = offset.saturating_add(length);
        let range = usize::try_from(offset).unwrap_or(usize::MAX)..usize::try_from(end).unwrap_or(usize::MAX);
        match self.bytes.get(range) {
            Some(bytes) => into.extend_from_slice(bytes),
            None => {
                let (name, location, size) = ("(new)".to_owned(), self.store.location(), self.bytes.len() as u64);
                return Err(StoreError::Short { name, location, size, end });
            }
        }
        Ok(())
    }

    fn finish(self: Box<Self>, name: &ObjectName) -> Result<Option<Bytes>, StoreError> {
        let bytes = Bytes::from(self.bytes);
        self.store.put_bytes(name, bytes.clone())?;
        Ok(Some(bytes))
    }
}
