//! Keyed identifiers: whoever lacks the key cannot tell whether a known file is in a repository.

use super::Secret;
use crate::id::{BlobId, SnapshotId};

/// Makes the identifiers of blobs and snapshots. Data and trees have different keys, so that a file which
/// happens to hold the bytes of a tree is not mistaken for one.
#[derive(Debug, Clone)]
pub struct Identifier {
    data: Secret,
    tree: Secret,
    snapshot: Secret,
    name: Secret,
}

impl Identifier {
    /// Derives its keys from `K_id`.
    #[must_use]
    pub fn new(id: &Secret) -> Self {
        Self {
            data: id.clone(),
            tree: id.derive("bk v1 tree id", &[]),
            snapshot: id.derive("bk v1 snapshot id", &[]),
            name: id.derive("bk v1 name", &[]),
        }
    }

    fn keyed(key: &Secret, bytes: &[u8]) -> [u8; 32] {
        *blake3::keyed_hash(key.bytes(), bytes).as_bytes()
    }

    /// Id of a data blob.
    #[must_use]
    pub fn data(&self, content: &[u8]) -> BlobId {
        BlobId(Self::keyed(&self.data, content))
    }

    /// Id of a tree or list blob.
    #[must_use]
    pub fn tree(&self, content: &[u8]) -> BlobId {
        BlobId(Self::keyed(&self.tree, content))
    }

    /// Id of a snapshot, from its CBOR bytes.
    #[must_use]
    pub fn snapshot(&self, plaintext: &[u8]) -> SnapshotId {
        SnapshotId(Self::keyed(&self.snapshot, plaintext))
    }

    /// Whether a large directory may be cut after the entry called `name`.
    #[must_use]
    pub fn cuts_after_name(&self, name: &[u8]) -> bool {
        let hash = Self::keyed(&self.name, name);
        let [low, high, ..] = hash;
        u16::from_le_bytes([low, high]).is_multiple_of(512)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_the_bytes_of_a_tree_has_another_id() {
        let identifier = Identifier::new(&Secret::new([9; 32]));
        assert_ne!(identifier.data(b"tree"), identifier.tree(b"tree"));
    }

    #[test]
    fn another_key_gives_other_ids() {
        let (one, two) = (Identifier::new(&Secret::new([1; 32])), Identifier::new(&Secret::new([2; 32])));
        assert_ne!(one.data(b"x"), two.data(b"x"));
    }
}
