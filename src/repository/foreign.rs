//! Repositories of another format, read as if they were ours: their trees and snapshots are translated on the way.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Repository, RepositoryError};
use crate::crypto::Keys;
use crate::format::config::{CHUNKER_KEYED_GEAR, Config, FORMAT_VERSION};
use crate::format::node::Timestamp;
use crate::format::snapshot::Snapshot;
use crate::id::{BlobId, RepositoryId, SnapshotId};
use crate::store::OutsideStore;

/// Snapshots of another format, translated.
#[derive(Debug, Default)]
pub struct ForeignSnapshots {
    /// Each with the id that it has there.
    pub all: Vec<(SnapshotId, Snapshot)>,
    /// Of those that bk wrote there, the id of the snapshot of ours that each was made from.
    pub originals: HashMap<SnapshotId, SnapshotId>,
    /// Objects of snapshots that cannot be read, with the reason.
    pub damaged: Vec<(String, String)>,
}

/// Where trees and data of another format come from. Ids are those of that format, 32 bytes each.
pub trait Foreign: Send + Sync {
    /// Where it is, for people; holds no secret.
    fn location(&self) -> String;

    /// All snapshots.
    ///
    /// # Errors
    /// When they cannot be listed.
    fn snapshots(&self) -> Result<ForeignSnapshots, RepositoryError>;

    /// A data blob, checked against its id.
    ///
    /// # Errors
    /// [`RepositoryError::Foreign`], naming the blob.
    fn data(&self, id: &BlobId) -> Result<Vec<u8>, RepositoryError>;

    /// A tree, checked against its id, as the one tree blob of bk-repository(7) that says the same.
    ///
    /// # Errors
    /// [`RepositoryError::Foreign`], naming the tree.
    fn tree(&self, id: &BlobId) -> Result<Vec<u8>, RepositoryError>;
}

impl Repository {
    /// A repository whose blobs and snapshots are those of `foreign`. It has no objects of its own and takes none; its
    /// keys open nothing.
    ///
    /// # Errors
    /// [`RepositoryError::Random`] when the kernel has no random bytes.
    pub fn of_foreign(foreign: Arc<dyn Foreign>) -> Result<Self, RepositoryError> {
        let keys = Keys::generate()?;
        let config = Config {
            version: FORMAT_VERSION,
            repository: RepositoryId(crate::crypto::random()?),
            family: keys.family(),
            chunker: CHUNKER_KEYED_GEAR,
            class_rule: 0,
            read_features: Vec::new(),
            write_features: Vec::new(),
            prune_features: Vec::new(),
            created: Timestamp::default(),
            generation: 0,
        };
        let store = Arc::new(OutsideStore::new(foreign.location()));
        Ok(Self { store, keys: Arc::new(keys), config: Arc::new(config), foreign: Some(foreign) })
    }

    /// Where its blobs come from when it is of another format.
    #[must_use]
    pub(super) fn foreign(&self) -> Option<&dyn Foreign> {
        self.foreign.as_deref()
    }

    /// Whether it is of another format, and can only be read.
    #[must_use]
    pub const fn is_foreign(&self) -> bool {
        self.foreign.is_some()
    }
}
