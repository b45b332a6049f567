//! Where objects lie. A store keeps named, immutable byte strings and knows nothing of what is in them.

pub mod cache;
pub mod dry;
pub mod error;
mod gathered;
pub mod layout;
pub mod local;
pub mod location;
mod outside;
pub mod probe;
pub mod remote;
pub mod sftp;
mod stop;

pub use cache::CachedStore;
pub use dry::DryStore;
pub use error::StoreError;
pub use layout::{Area, ObjectName, Quarantined, ResticArea};
pub use local::LocalStore;
pub use location::{Format, Location, LocationError};
pub use outside::OutsideStore;
pub use remote::RemoteStore;
pub use sftp::SftpStore;
pub use stop::Stop;

use bytes::Bytes;

use crate::format::node::Timestamp;

/// An object as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: ObjectName,
    /// Length, in bytes.
    pub size: u64,
    /// When the store took it, by the store's own clock.
    pub time: Timestamp,
}

/// What a store asked of its server, and how much moved. Heads of requests and encryption are not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Requests, each try of each.
    pub requests: u64,
    /// Bytes of their bodies.
    pub sent_bytes: u64,
    /// Bytes of the bodies of the answers.
    pub received_bytes: u64,
}

/// A place for objects.
///
/// # Required of every implementation
/// - What [`Store::put_new`] and [`Upload::finish`] returned from is durable: it is there after a power cut.
/// - An object is visible whole or not at all.
/// - Whoever reads or lists after a put returned sees the object.
/// - A list is complete or an error; a failing store never looks like an empty one.
/// - An object that exists is never replaced by other bytes. Where a store can tell, a second put of a name is
///   [`StoreError::Exists`]. Many remote stores cannot: there a second put of *equal* bytes may succeed, and one of
///   others never comes, since every name holds the hash of the bytes.
/// - It may be used from many threads at once.
pub trait Store: Send + Sync {
    /// Where this is, for people; holds no secret.
    fn location(&self) -> String;

    /// Whether it is on another machine: a request waits for the network, and what is read may be paid for.
    fn is_far(&self) -> bool {
        false
    }

    /// Whether what was put is made durable before the store says so. One that cannot be asked to may lose the newest
    /// objects in a power cut.
    fn syncs(&self) -> bool {
        true
    }

    /// Whether the object, which was deleted, is still kept as an older version of itself; `None` when that cannot be
    /// found out.
    fn keeps_deleted(&self, _name: &ObjectName) -> Option<bool> {
        None
    }

    /// The whole object.
    ///
    /// # Errors
    /// [`StoreError::Missing`] when there is none of this name; others as they come.
    fn get(&self, name: &ObjectName) -> Result<Vec<u8>, StoreError>;

    /// Exactly `length` bytes from `offset`, put into `into`, whose old contents go.
    ///
    /// # Errors
    /// [`StoreError::Missing`]; [`StoreError::Short`] when the object ends before.
    fn get_range(&self, name: &ObjectName, offset: u64, length: u64, into: &mut Vec<u8>) -> Result<(), StoreError>;

    /// As [`Store::get_range`], of a pack of `size` bytes that holds trees: those are read again and again.
    ///
    /// # Errors
    /// As [`Store::get_range`].
    fn get_range_of_trees(
        &self,
        name: &ObjectName,
        _size: u64,
        offset: u64,
        length: u64,
        into: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        self.get_range(name, offset, length, into)
    }

    /// Says that an object that is stored will be read soon. Only who keeps copies does anything.
    fn expect_reading(&self, _name: &ObjectName, _bytes: &[u8]) {}

    /// Drops the copy of an object, as what was read is not what it should be. Whether there was one.
    fn drop_copy(&self, _name: &ObjectName) -> bool {
        false
    }

    /// Keeps `bytes` under a new name.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the name is taken and the store can tell; others as they come, and then nothing is visible, or,
    /// when the answer was lost, all of it.
    fn put_new(&self, name: &ObjectName, bytes: &[u8]) -> Result<(), StoreError>;

    /// As [`Store::put_new`], for bytes that a store may keep instead of copying them.
    ///
    /// # Errors
    /// As [`Store::put_new`].
    fn put_bytes(&self, name: &ObjectName, bytes: Bytes) -> Result<(), StoreError> {
        self.put_new(name, &bytes)
    }

    /// Begins a large object whose name is known only at its end.
    ///
    /// # Errors
    /// As they come.
    fn begin(&self) -> Result<Box<dyn Upload>, StoreError>;

    /// Every object of an area, in no order. Names that are not of the layout are left out.
    ///
    /// # Errors
    /// As they come; never a part of the list.
    fn list(&self, area: Area) -> Result<Vec<Listed>, StoreError>;

    /// Length of an object in bytes, or `None` when there is none of this name.
    ///
    /// # Errors
    /// As they come.
    fn stat(&self, name: &ObjectName) -> Result<Option<u64>, StoreError>;

    /// Takes an object away; one that is gone already is no error.
    ///
    /// # Errors
    /// As they come.
    fn delete(&self, name: &ObjectName) -> Result<(), StoreError>;

    /// Gives an object another name, which nobody has. Where there is no better way, it is read, put, read back and
    /// compared, and only then deleted: stopped in between, it has both names.
    ///
    /// # Errors
    /// [`StoreError::Missing`] when there is none of the old name, [`StoreError::Exists`] when the new one is taken by
    /// other bytes; others as they come. The object has its old name then, or both.
    fn move_new(&self, from: &ObjectName, to: &ObjectName) -> Result<(), StoreError> {
        let bytes = self.get(from)?;
        match self.put_new(to, &bytes) {
            // Most likely an earlier call that was stopped before it deleted.
            Err(StoreError::Exists { name, location }) => {
                if self.get(to)? != bytes {
                    return Err(StoreError::Exists { name, location });
                }
            }
            put => {
                put?;
                let stored = self.get(to)?;
                if stored != bytes {
                    let _ = self.delete(to);
                    let (name, location, end) = (to.to_string(), self.location(), bytes.len() as u64);
                    return Err(StoreError::Short { name, location, size: stored.len() as u64, end });
                }
            }
        }
        self.delete(from)
    }

    /// The time that an object put now would get, by the store's own clock.
    ///
    /// # Errors
    /// As they come.
    fn time(&self) -> Result<Timestamp, StoreError>;

    /// Takes away what writers that died have left. Never touches what a living one uses.
    ///
    /// # Errors
    /// As they come.
    fn clean(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// What was asked of its server since it was opened; `None` when it has none.
    fn traffic(&self) -> Option<Traffic> {
        None
    }
}

/// A large object on its way. Dropped before [`Upload::finish`], it leaves nothing.
pub trait Upload: Send {
    /// Adds bytes at the end.
    ///
    /// # Errors
    /// As they come; the upload is lost then.
    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError>;

    /// Reads back what was written: `length` bytes from `offset`, put into `into`.
    ///
    /// # Errors
    /// As they come.
    fn read_back(&self, offset: u64, length: u64, into: &mut Vec<u8>) -> Result<(), StoreError>;

    /// Makes the object durable and visible under its name. Gives its bytes when they are in memory anyway.
    ///
    /// # Errors
    /// As [`Store::put_new`].
    fn finish(self: Box<Self>, name: &ObjectName) -> Result<Option<Bytes>, StoreError>;
}
