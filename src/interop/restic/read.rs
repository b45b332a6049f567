//! Reading in place: a repository in restic's format as if it were ours.

use std::sync::Arc;

use rustic_core::repofile::{BlobType, SnapshotFile, SnapshotId as ResticSnapshotId};
use rustic_core::{DataId, FileType, Id, IndexedFullStatus, ReadBackend as _, Repository};
use sha2::{Digest as _, Sha256};

use super::backend::{Backend, Shared, bytes_of, id_of};
use super::error::ResticError;
use super::lock::Lock;
use super::{Restic, snapshot, tree};
use crate::format::node::Node;
use crate::format::tree::leaf;
use crate::id::{BlobId, SnapshotId, to_hex};
use crate::repository::{Foreign, ForeignSnapshots, Repository as Ours, RepositoryError};
use crate::store::{ResticArea, StoreError};

/// Snapshots are read by so many threads: their top folders are one request each where the repository is far away.
const READERS: usize = 8;

/// A repository that is read as if it were ours. It is locked as long as this lives.
pub(super) struct Reader {
    backend: Arc<Backend>,
    repository: Repository<IndexedFullStatus>,
    id: String,
    _lock: Option<Lock>,
}

impl Restic {
    /// The repository for reading, with its index; `warn` is told of index objects that cannot be used.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn into_repository(self, warn: &dyn Fn(&str)) -> Result<Ours, ResticError> {
        let reader = self.into_reader(warn)?;
        Ok(Ours::of_foreign(Arc::new(reader))?)
    }

    pub(super) fn into_reader(self, warn: &dyn Fn(&str)) -> Result<Reader, ResticError> {
        let repository = self.indexed(warn)?;
        Ok(Reader { backend: self.backend, repository, id: self.id, _lock: self.lock })
    }

    /// What every snapshot says of itself, and those that cannot be read, with the reason.
    ///
    /// # Errors
    /// When they cannot be listed, or not be reached.
    pub(super) fn files(&self) -> Result<Files, ResticError> {
        files(&self.backend, |id| self.repository.get_file::<SnapshotFile>(id))
    }
}

/// What every snapshot that can be read says, each with its id; and names of those that cannot, with the reason.
type Files = (Vec<([u8; 32], SnapshotFile)>, Vec<(String, String)>);

fn files(
    backend: &Arc<Backend>,
    get: impl Fn(&ResticSnapshotId) -> rustic_core::RusticResult<SnapshotFile> + Sync,
) -> Result<Files, ResticError> {
    let listed = Shared(Arc::clone(backend)).list(FileType::Snapshot);
    let ids = listed.map_err(|error| backend.error("list the snapshots of", &error))?;
    let read = in_parallel(&ids, |id: &Id| match get(&ResticSnapshotId::from(*id)) {
        Ok(file) => Ok(Ok((bytes_of(*id), file))),
        Err(error) => match backend.error("read a snapshot of", &error) {
            // Forgotten since the list was made.
            ResticError::Store(error) if error.is_missing() => Ok(Err(None)),
            ResticError::Store(error) if !matches!(error, StoreError::Short { .. }) => Err(error.into()),
            ResticError::Interrupted => Err(ResticError::Interrupted),
            error => {
                let name = ResticArea::Snapshots.object(bytes_of(*id)).to_string();
                Ok(Err(Some((name, error.to_string()))))
            }
        },
    })?;
    let (mut all, mut damaged) = (Vec::new(), Vec::new());
    for one in read {
        match one {
            Ok(file) => all.push(file),
            Err(reason) => damaged.extend(reason),
        }
    }
    Ok((all, damaged))
}

/// What `work` makes of each, in their order, by some threads; the first error ends it.
pub(super) fn in_parallel<T: Sync, R: Send, E: Send>(
    all: &[T],
    work: impl Fn(&T) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let share = all.len().div_ceil(READERS).max(1);
    std::thread::scope(|scope| {
        let threads: Vec<_> = all
            .chunks(share)
            .map(|some| scope.spawn(|| some.iter().map(&work).collect::<Result<Vec<_>, E>>()))
            .collect();
        let mut results = Vec::with_capacity(all.len());
        for thread in threads {
            match thread.join() {
                Ok(some) => results.extend(some?),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(results)
    })
}

impl Reader {
    fn damaged(&self, object: String, reason: String) -> RepositoryError {
        RepositoryError::Foreign { location: self.location(), object, reason, damage: true }
    }

    fn translate(&self, error: ResticError, object: String) -> RepositoryError {
        match error {
            ResticError::Store(error) => error.into(),
            ResticError::Interrupted => RepositoryError::Interrupted,
            error => self.damaged(object, error.to_string()),
        }
    }

    /// Length of a data blob in bytes, as the index says.
    pub(super) fn length(&self, id: &DataId) -> Option<u32> {
        self.repository.get_index_entry(id).ok().map(|entry| entry.data_length())
    }

    /// A blob, checked against its id.
    pub(super) fn blob(&self, id: &BlobId, kind: BlobType) -> Result<Vec<u8>, RepositoryError> {
        let shown = match kind {
            BlobType::Data => format!("blob {id}"),
            BlobType::Tree => format!("tree {id}"),
        };
        let is_known = match kind {
            BlobType::Data => self.repository.get_index_entry(&DataId::from(id_of(id.0))).is_ok(),
            BlobType::Tree => self.repository.get_index_entry(&rustic_core::TreeId::from(id_of(id.0))).is_ok(),
        };
        if !is_known {
            return Err(RepositoryError::NotIndexed { id: *id });
        }
        let read = self.repository.cat_blob(kind, &id.to_string());
        let bytes = read.map_err(|error| self.translate(self.backend.error("read from", &error), shown.clone()))?;
        if <[u8; 32]>::from(Sha256::digest(&bytes)) != id.0 {
            return Err(self.damaged(shown, "its bytes do not have its hash".into()));
        }
        Ok(bytes.into())
    }

    /// The entries of a tree.
    pub(super) fn entries(&self, id: &BlobId) -> Result<Vec<Node>, RepositoryError> {
        let json = self.blob(id, BlobType::Tree)?;
        tree::entries(&json, &|id| self.length(id)).map_err(|reason| self.damaged(format!("tree {id}"), reason))
    }

    pub(super) fn files(&self) -> Result<Files, RepositoryError> {
        files(&self.backend, |id| self.repository.get_file::<SnapshotFile>(id))
            .map_err(|error| self.translate(error, "the list of snapshots".into()))
    }
}

impl Foreign for Reader {
    fn location(&self) -> String {
        self.backend.store().location()
    }

    fn snapshots(&self) -> Result<ForeignSnapshots, RepositoryError> {
        let (files, mut damaged) = self.files()?;
        let look = |tree: &BlobId, name: &[u8]| -> Result<Option<Node>, RepositoryError> {
            Ok(self.entries(tree)?.into_iter().find(|node| node.name == name))
        };
        let translated = in_parallel(&files, |(id, file)| {
            let tree = BlobId(bytes_of(*file.tree));
            match snapshot::roots(tree, file, &look) {
                Ok(roots) => Ok(Ok((SnapshotId(*id), snapshot::ours(&self.id, *id, file, roots)))),
                Err(error) if error.is_damage() => {
                    Ok(Err((format!("snapshots/{}", to_hex(id)), format!("its top folders cannot be read: {error}"))))
                }
                Err(error) => Err(error),
            }
        })?;
        let exported =
            files.iter().filter_map(|(id, file)| Some((SnapshotId(*id), snapshot::exported(*id, file).original?)));
        let originals = exported.collect();
        let mut all = Vec::new();
        for one in translated {
            match one {
                Ok(snapshot) => all.push(snapshot),
                Err(reason) => damaged.push(reason),
            }
        }
        Ok(ForeignSnapshots { all, originals, damaged })
    }

    fn data(&self, id: &BlobId) -> Result<Vec<u8>, RepositoryError> {
        self.blob(id, BlobType::Data)
    }

    fn tree(&self, id: &BlobId) -> Result<Vec<u8>, RepositoryError> {
        Ok(leaf(&self.entries(id)?))
    }
}
