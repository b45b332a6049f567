//! A sibling as a source of what is lost here: the same keys, the same ids, often the same packs byte for byte.

use std::collections::HashMap;

use crate::clock::Clock;
use crate::format::index_file::IndexedPack;
use crate::format::pack::PackKind;
use crate::id::{BlobId, PackId};
use crate::repository::{BlobReader, Index, Purpose, Repository, RepositoryError};

/// A sibling that can be read.
pub struct Sibling {
    /// What it is called.
    pub name: String,
    /// Open.
    pub repository: Repository,
    pub(super) index: Index,
    by_id: HashMap<PackId, u32>,
}

impl Sibling {
    /// Reads its index. Packs that its store does not list, or with another length, serve for nothing.
    ///
    /// # Errors
    /// When the store cannot be listed or read.
    pub fn open(name: String, repository: Repository, clock: &dyn Clock) -> Result<Self, RepositoryError> {
        let index = Index::load(&repository, Purpose::Read, clock)?;
        let stored: HashMap<_, _> = repository
            .store()
            .list(crate::store::Area::Packs)?
            .into_iter()
            .filter_map(|listed| match listed.name {
                crate::store::ObjectName::Pack(pack) => Some((pack, listed.size)),
                _ => None,
            })
            .collect();
        let present = (0..).zip(index.packs()).filter(|(_, (pack, size, ..))| stored.get(pack) == Some(size));
        let by_id: HashMap<_, _> = present.map(|(number, (pack, ..))| (pack.id, number)).collect();
        Ok(Self { name, repository, index, by_id })
    }

    /// The pack of the same bytes, when it is there.
    pub(super) fn pack(&self, id: &PackId) -> Option<IndexedPack> {
        self.by_id.get(id).and_then(|number| self.index.described(*number))
    }

    /// Whether a blob is in a pack that is there.
    pub(super) fn has(&self, id: &BlobId, kind: PackKind) -> bool {
        self.index.find(id).any(|entry| {
            self.index.kind(&entry) == Some(kind) && self.by_id.contains_key(&self.index.pack_name(&entry).id)
        })
    }

    pub(super) fn reader(&self) -> Result<BlobReader<'_>, RepositoryError> {
        BlobReader::new(&self.repository, &self.index)
    }
}
