//! What snapshots need: every tree is read once, every blob on the way is noted. Memory is one bit for each entry of
//! the index, and the folders that are still to be entered.

use super::PruneError;
use super::view::Bits;
use crate::format::content::decode_list;
use crate::format::node::{Content, Node, NodeKind, XattrValue};
use crate::format::tree::{self, Tree};
use crate::id::{BlobId, SnapshotId};
use crate::operation::prune::PruneOptions;
use crate::progress::Progress;
use crate::repository::{BlobReader, Index, Repository, RepositoryError, SnapshotInfo};

/// The blobs that snapshots need, each by the number of its first entry.
pub(super) fn live(
    repository: &Repository,
    index: &Index,
    snapshots: &[SnapshotInfo],
    options: &PruneOptions<'_>,
    progress: &dyn Progress,
) -> Result<Bits, PruneError> {
    progress.phase("finding what snapshots need", None);
    progress.total(snapshots.len() as u64, 0);
    let mut walk = Walk {
        index,
        reader: BlobReader::new(repository, index)?,
        lists: BlobReader::new(repository, index)?,
        live: Bits::new(index.len()),
        stack: Vec::new(),
        snapshot: SnapshotId([0; 32]),
    };
    for info in snapshots {
        walk.snapshot = info.id;
        for root in &info.snapshot.roots {
            walk.node(&root.node)?;
        }
        while let Some(tree) = walk.stack.pop() {
            options.go_on()?;
            walk.enter(&tree)?;
        }
        progress.advance(1, 0);
    }
    Ok(walk.live)
}

struct Walk<'a> {
    index: &'a Index,
    reader: BlobReader<'a>,
    /// Lists are read between the nodes of a tree: a cache of their own keeps the tree's.
    lists: BlobReader<'a>,
    live: Bits,
    stack: Vec<BlobId>,
    snapshot: SnapshotId,
}

impl Walk<'_> {
    /// Notes a blob; whether it was not noted before.
    fn note(&mut self, id: &BlobId) -> Result<bool, PruneError> {
        match self.index.numbers(id).next() {
            Some(number) => Ok(self.live.set(number)),
            None => Err(PruneError::Missing { blob: *id, blobs: 1, snapshot: Some(self.snapshot) }),
        }
    }

    fn unreadable(&self, id: BlobId, source: RepositoryError) -> PruneError {
        match source {
            RepositoryError::NotIndexed { .. } => {
                PruneError::Missing { blob: id, blobs: 1, snapshot: Some(self.snapshot) }
            }
            source => PruneError::Unreadable { snapshot: self.snapshot, source },
        }
    }

    fn malformed(&self, id: &BlobId, source: crate::format::DecodeError) -> PruneError {
        self.unreadable(*id, RepositoryError::Malformed { name: format!("tree {id}"), source })
    }

    fn enter(&mut self, tree: &BlobId) -> Result<(), PruneError> {
        let blob = self.reader.tree(tree).map_err(|error| self.unreadable(*tree, error))?;
        match tree::decode(&blob).map_err(|error| self.malformed(tree, error))? {
            Tree::Leaf(entries) => entries.iter().try_for_each(|(node, _)| self.node(node)),
            Tree::Inner(entries) => entries.iter().try_for_each(|(_, below)| self.below(below)),
        }
    }

    fn below(&mut self, tree: &BlobId) -> Result<(), PruneError> {
        if self.note(tree)? {
            self.stack.push(*tree);
        }
        Ok(())
    }

    fn node(&mut self, node: &Node) -> Result<(), PruneError> {
        for xattr in &node.metadata.xattrs {
            if let XattrValue::Stored(content) = &xattr.value {
                self.content(content)?;
            }
        }
        match &node.kind {
            NodeKind::File { content, .. } => self.content(content),
            NodeKind::Directory { tree } => self.below(tree),
            _ => Ok(()),
        }
    }

    fn content(&mut self, content: &Content) -> Result<(), PruneError> {
        for part in &content.parts {
            if !self.note(&part.id)? || content.level == 0 {
                continue;
            }
            let blob = self.lists.tree(&part.id).map_err(|error| self.unreadable(part.id, error))?;
            let below = decode_list(&blob, content.level, part.length).map_err(|e| self.malformed(&part.id, e))?;
            self.content(&below)?;
        }
        Ok(())
    }
}
