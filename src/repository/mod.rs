//! What is kept: a store, the keys that open it, the index that finds blobs in it.
//!
//! [`Repository`] is open: its keys and configuration are known. Finding blobs needs an [`Index`] besides, adding
//! them a [`Writer`]; what cannot work without them cannot be called without them.

mod catalog;
mod commit;
mod error;
mod facts;
mod follower;
mod foreign;
mod index;
mod keys;
mod packer;
mod read_ahead;
mod reader;
mod salvage;
mod snapshots;
mod tree_reader;
mod verification;
mod writer;

use std::sync::Arc;

use bytes::Bytes;

pub use catalog::{
    BLOBS_PER_OBJECT, Catalog, IndexObject, Listing, Purpose, StoredPack, marks, put_index_object, read_index_object,
    replace_index,
};
pub use commit::Commit;
pub use error::RepositoryError;
pub(crate) use facts::is_past;
pub use facts::{Facts, Readings, add_facts, join_facts, run_detail, until_detail};
pub use follower::{Follower, NewPack};
pub use foreign::{Foreign, ForeignSnapshots};
pub use index::{Entry, Index};
pub use keys::{Slot, Slots, add_slot, open_slots, opened_by, put_slot, remove_slot, seal_slot, slots};
pub use packer::target_len;
pub use read_ahead::ReadAhead;
pub use reader::{Blob, BlobReader, PackContents, read_pack};
pub use salvage::{TakeBlob, describe_pack, salvage};
pub use snapshots::{Filter, SnapshotInfo, Snapshots};
pub use tree_reader::{ContentCursor, TreeCursor, TreeEntry};
pub use verification::{Files, Verification};
pub use writer::{AddedBlobs, SegmentBuilder, Writer, WriterStats};

use crate::chunk::CLASS_RULE;
use crate::crypto::Keys;
use crate::format::config::{CHUNKER_KEYED_GEAR, Config, FORMAT_VERSION};
use crate::format::index_file::{IndexedPack, PackName};
use crate::format::key_slot::{Credential, Note};
use crate::format::node::Timestamp;
use crate::format::object;
use crate::format::{Header, Kind};
use crate::id::{ObjectId, RepositoryId};
use crate::store::{Area, DryStore, ObjectName, Store, StoreError};

/// An open repository.
#[derive(Clone)]
pub struct Repository {
    store: Arc<dyn Store>,
    keys: Arc<Keys>,
    config: Arc<Config>,
    /// Whence blobs and snapshots come when they are in another format.
    foreign: Option<Arc<dyn Foreign>>,
}

/// The area that objects of `kind` are in.
const fn area(kind: Kind) -> Area {
    match kind {
        Kind::Config => Area::Config,
        Kind::KeySlot => Area::Keys,
        Kind::DataPack | Kind::TreePack => Area::Packs,
        Kind::Index => Area::Index,
        Kind::Snapshot => Area::Snapshots,
        Kind::Facts => Area::Facts,
        Kind::Mark => Area::Marks,
    }
}

impl Repository {
    /// Makes a repository in an empty store: one key slot, then the configuration.
    ///
    /// # Errors
    /// As they come; an unfinished repository has no configuration and is not one.
    pub fn create(
        store: Arc<dyn Store>,
        keys: Keys,
        credential: &Credential,
        note: &Note,
    ) -> Result<Self, RepositoryError> {
        add_slot(&*store, &keys, credential, note)?;
        Self::finish(store, Arc::new(keys), note.created)
    }

    /// Makes a sibling in an empty store: the same keys, and the same key slots, so that whatever opens one opens
    /// the other.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn create_sibling(&self, store: Arc<dyn Store>, created: Timestamp) -> Result<Self, RepositoryError> {
        keys::copy_slots(&*self.store, &*store, &self.keys)?;
        Self::finish(store, Arc::clone(&self.keys), created)
    }

    /// Puts the first configuration; from then on it is a repository.
    fn finish(store: Arc<dyn Store>, keys: Arc<Keys>, created: Timestamp) -> Result<Self, RepositoryError> {
        let repository = RepositoryId(crate::crypto::random()?);
        let config = Config {
            version: FORMAT_VERSION,
            repository,
            family: keys.family(),
            chunker: CHUNKER_KEYED_GEAR,
            class_rule: CLASS_RULE,
            read_features: Vec::new(),
            write_features: Vec::new(),
            prune_features: Vec::new(),
            created,
            generation: 0,
        };
        let bytes = object::encode(&keys, repository, Kind::Config, &config.encode())
            .map_err(|source| RepositoryError::Object { name: "config".into(), source })?;
        let name = ObjectName::Config(0, ObjectId(*blake3::hash(&bytes).as_bytes()));
        store.put_new(&name, &bytes)?;
        if let Err(error) = read_named(&*store, &name) {
            let _ = store.delete(&name);
            return Err(error);
        }
        Ok(Self { store, keys, config: Arc::new(config), foreign: None })
    }

    /// Opens a repository with whatever slot `credential` fits.
    ///
    /// # Errors
    /// [`RepositoryError::WrongKey`] when it fits none; [`RepositoryError::Feature`] when the repository needs a
    /// later version.
    pub fn open(store: Arc<dyn Store>, credential: &Credential) -> Result<Self, RepositoryError> {
        // A slot that an unfinished `create` left opens with the same key, and then not the configuration.
        let (keys, config) = keys::open_each(&*store, credential, |keys| {
            let config = read_config(&*store, &keys)?;
            Ok((keys, config))
        })?;
        Ok(Self { store, keys: Arc::new(keys), config: Arc::new(config), foreign: None })
    }

    /// Opens a sibling of a repository that is open, with its keys.
    ///
    /// # Errors
    /// [`RepositoryError::NotSibling`] when it is of another family; others as they come.
    pub fn open_sibling(&self, store: Arc<dyn Store>) -> Result<Self, RepositoryError> {
        let config = read_config(&*store, &self.keys).map_err(|error| match error {
            RepositoryError::Object { .. } => {
                RepositoryError::NotSibling { location: store.location(), other: self.location() }
            }
            error => error,
        })?;
        Ok(Self { store, keys: Arc::clone(&self.keys), config: Arc::new(config), foreign: None })
    }

    /// The same repository, of which nothing that is written will be kept.
    #[must_use]
    pub fn dry(&self) -> Self {
        let store = Arc::new(DryStore::new(Arc::clone(&self.store)));
        let foreign = self.foreign.clone();
        Self { store, keys: Arc::clone(&self.keys), config: Arc::clone(&self.config), foreign }
    }

    /// Where it is.
    #[must_use]
    pub fn location(&self) -> String {
        self.store.location()
    }

    /// Its store.
    #[must_use]
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// Its keys.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Its configuration.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether this version may write to it.
    ///
    /// # Errors
    /// [`RepositoryError::Feature`] when it needs a later version.
    pub fn check_writable(&self) -> Result<(), RepositoryError> {
        if self.is_foreign() {
            return Err(StoreError::OtherFormat { location: self.location() }.into());
        }
        let chunks_alike = self.config.chunker == CHUNKER_KEYED_GEAR && self.config.class_rule == CLASS_RULE;
        match self.config.write_features.first() {
            Some(feature) => {
                Err(RepositoryError::Feature { location: self.location(), needed: "to write", feature: *feature })
            }
            None if chunks_alike => Ok(()),
            None => Err(RepositoryError::Feature { location: self.location(), needed: "to write", feature: 0 }),
        }
    }

    /// Whether this version may take anything out of it.
    ///
    /// # Errors
    /// [`RepositoryError::Feature`] when it needs a later version.
    pub fn check_prunable(&self) -> Result<(), RepositoryError> {
        self.check_writable()?;
        match self.config.prune_features.first() {
            Some(feature) => {
                Err(RepositoryError::Feature { location: self.location(), needed: "to prune", feature: *feature })
            }
            None => Ok(()),
        }
    }

    /// Reads a sealed object of `kind` and checks its name against its bytes.
    ///
    /// # Errors
    /// [`RepositoryError::Damaged`] or [`RepositoryError::Object`], naming the object.
    pub fn read_object(&self, kind: Kind, name: &ObjectName) -> Result<Vec<u8>, RepositoryError> {
        let bytes = read_named(&*self.store, name)?;
        object::decode(&self.keys, self.config.repository, kind, bytes)
            .map_err(|source| RepositoryError::Object { name: name.to_string(), source })
    }

    /// Seals `payload` as an object of `kind`, puts it and compares the stored size with what was written.
    ///
    /// # Errors
    /// As they come; [`StoreError::Short`] when the store said that it kept the object and did not.
    pub fn write_object(&self, kind: Kind, payload: &[u8]) -> Result<(ObjectName, u64), RepositoryError> {
        let (name, length) = self.put_object(kind, payload)?;
        self.check_stored(&name, length)?;
        Ok((name, length))
    }

    /// Like [`Self::write_object`], but reads back what was stored and compares every byte: for what others are deleted
    /// or relied on for.
    ///
    /// # Errors
    /// As they come; [`RepositoryError::Damaged`] when it is not what was written.
    fn write_and_read_back(&self, kind: Kind, payload: &[u8]) -> Result<ObjectName, RepositoryError> {
        let (name, length) = self.put_object(kind, payload)?;
        match self.read_object(kind, &name) {
            Ok(stored) if stored == payload => Ok(name),
            Err(error) if !error.is_damage() => Err(error),
            _ => {
                self.check_stored(&name, length)?;
                let _ = self.store.delete(&name);
                Err(RepositoryError::Damaged { name: name.to_string() })
            }
        }
    }

    fn put_object(&self, kind: Kind, payload: &[u8]) -> Result<(ObjectName, u64), RepositoryError> {
        let bytes = object::encode(&self.keys, self.config.repository, kind, payload)
            .map_err(|source| RepositoryError::Object { name: kind.word().into(), source })?;
        let name = ObjectName::Plain(area(kind), ObjectId(*blake3::hash(&bytes).as_bytes()));
        self.store.put_new(&name, &bytes)?;
        Ok((name, bytes.len() as u64))
    }

    /// Compares the stored size of an object with what was written: a store may have said so and kept less. Such an
    /// object is deleted: nothing can refer to it yet, and it would be reported as damage for ever.
    fn check_stored(&self, name: &ObjectName, length: u64) -> Result<(), RepositoryError> {
        let stored = self.store.stat(name)?;
        if stored == Some(length) {
            return Ok(());
        }
        let _ = self.store.delete(name);
        let (name, location) = (name.to_string(), self.location());
        Err(StoreError::Short { name, location, size: stored.unwrap_or(0), end: length }.into())
    }

    /// Puts a pack of a sibling, byte for byte and under a name of its own, and compares the stored size.
    ///
    /// # Errors
    /// [`RepositoryError::Damaged`] when the bytes are not those of the pack; others as they come.
    pub fn put_pack(&self, pack: &IndexedPack, bytes: Bytes) -> Result<IndexedPack, RepositoryError> {
        let id = pack.name.id;
        if bytes.len() as u64 != pack.size || *blake3::hash(&bytes).as_bytes() != id.0 {
            return Err(RepositoryError::Damaged { name: ObjectName::Pack(pack.name).to_string() });
        }
        let name = PackName { id, nonce: crate::crypto::random()? };
        let object = ObjectName::Pack(name);
        self.store.put_bytes(&object, bytes)?;
        self.check_stored(&object, pack.size)?;
        Ok(IndexedPack { name, ..pack.clone() })
    }

    /// Every object of `kind`, decoded by `decode`.
    ///
    /// # Errors
    /// The first object that cannot be read, by name.
    fn read_all<T>(
        &self,
        kind: Kind,
        decode: impl Fn(&[u8]) -> Result<T, crate::format::DecodeError>,
    ) -> Result<Vec<(ObjectName, T)>, RepositoryError> {
        let mut all = Vec::new();
        for listed in self.store.list(area(kind))? {
            let payload = match self.read_object(kind, &listed.name) {
                // Taken away by a prune or a forget since the list was made.
                Err(RepositoryError::Store(error)) if error.is_missing() => continue,
                payload => payload?,
            };
            let value = decode(&payload)
                .map_err(|source| RepositoryError::Malformed { name: listed.name.to_string(), source })?;
            all.push((listed.name, value));
        }
        Ok(all)
    }
}

/// Reads an object and checks its name against its bytes.
fn read_named(store: &dyn Store, name: &ObjectName) -> Result<Vec<u8>, RepositoryError> {
    let bytes = store.get(name)?;
    if blake3::hash(&bytes).as_bytes() == name.hash() {
        Ok(bytes)
    } else {
        Err(RepositoryError::Damaged { name: name.to_string() })
    }
}

/// The valid configuration of the highest generation.
fn read_config(store: &dyn Store, keys: &Keys) -> Result<Config, RepositoryError> {
    let mut listed = store.list(Area::Config)?;
    listed.sort_by_key(|listed| std::cmp::Reverse(listed.name));
    let mut first_error = None;
    for object in &listed {
        let read = || -> Result<Config, RepositoryError> {
            let name = object.name.to_string();
            let bytes = read_named(store, &object.name)?;
            let malformed = |source| RepositoryError::Malformed { name: name.clone(), source };
            let scope = Header::decode(&bytes).map_err(malformed)?.scope.unwrap_or_default();
            let payload = object::decode(keys, RepositoryId(scope), Kind::Config, bytes)
                .map_err(|source| RepositoryError::Object { name: name.clone(), source })?;
            let config = Config::decode(&payload).map_err(malformed)?;
            // The name's hash does not cover its generation: an old configuration must not pass for a newer one.
            let is_renamed =
                !matches!(object.name, ObjectName::Config(generation, _) if generation == config.generation);
            if config.repository.0 != scope || config.family != keys.family() || is_renamed {
                return Err(RepositoryError::Damaged { name });
            }
            Ok(config)
        };
        match read() {
            Ok(config) => return judge(config, &store.location()),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    Err(first_error.unwrap_or_else(|| RepositoryError::NoConfig { location: store.location() }))
}

fn judge(config: Config, location: &str) -> Result<Config, RepositoryError> {
    if config.version != FORMAT_VERSION {
        return Err(RepositoryError::Version { location: location.to_owned(), version: config.version });
    }
    match config.read_features.first() {
        Some(feature) => {
            Err(RepositoryError::Feature { location: location.to_owned(), needed: "to read", feature: *feature })
        }
        None => Ok(config),
    }
}

/// A note for a slot made now.
#[must_use]
pub fn note(label: &str, created: Timestamp, host: &str) -> Note {
    Note { label: label.to_owned(), created, host: host.to_owned() }
}
