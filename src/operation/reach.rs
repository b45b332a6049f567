//! What a snapshot needs: every tree is read once, every blob on the way is told.

use crate::format::DecodeError;
use crate::format::content::decode_list;
use crate::format::node::{Content, Node, NodeKind, XattrValue};
use crate::format::snapshot::Snapshot;
use crate::format::tree::{self, Tree};
use crate::id::BlobId;
use crate::repository::{BlobReader, Index, Repository, RepositoryError};

/// Walks snapshots. Memory is the folders that are still to be entered.
pub(crate) struct Reach<'a> {
    trees: BlobReader<'a>,
    /// Lists are read between the nodes of a tree: a cache of their own keeps the tree's.
    lists: BlobReader<'a>,
    stack: Vec<BlobId>,
}

/// Hears of a blob; says whether what is below it is to be told too, which it is not when it was told before.
pub(crate) type Note<'n> = dyn FnMut(&BlobId) -> Result<bool, RepositoryError> + 'n;

/// A blob that could not be read, or that nobody has.
#[derive(Debug)]
pub(crate) struct Unreadable {
    /// Which.
    pub(crate) blob: BlobId,
    /// Why not.
    pub(crate) source: RepositoryError,
}

fn malformed(blob: BlobId) -> impl FnOnce(DecodeError) -> Unreadable {
    move |source| Unreadable { blob, source: RepositoryError::Malformed { name: format!("tree {blob}"), source } }
}

impl<'a> Reach<'a> {
    /// Reads with `index`.
    pub(crate) fn new(repository: &'a Repository, index: &'a Index) -> Result<Self, RepositoryError> {
        let reader = || BlobReader::new(repository, index);
        Ok(Self { trees: reader()?, lists: reader()?, stack: Vec::new() })
    }

    /// Tells `note` every blob that a snapshot needs.
    pub(crate) fn tell(&mut self, snapshot: &Snapshot, note: &mut Note<'_>) -> Result<(), Unreadable> {
        snapshot.roots.iter().try_for_each(|root| self.tell_of(&root.node, note))
    }

    /// Tells `note` every blob that an entry, and all below it, needs.
    pub(crate) fn tell_of(&mut self, node: &Node, note: &mut Note<'_>) -> Result<(), Unreadable> {
        self.stack.clear();
        self.node(node, note)?;
        while let Some(tree) = self.stack.pop() {
            self.enter(tree, note)?;
        }
        Ok(())
    }

    fn enter(&mut self, tree: BlobId, note: &mut Note<'_>) -> Result<(), Unreadable> {
        let blob = self.trees.tree(&tree).map_err(|source| Unreadable { blob: tree, source })?;
        let above = self.stack.len();
        match tree::decode(&blob).map_err(malformed(tree))? {
            Tree::Leaf(entries) => entries.iter().try_for_each(|(node, _)| self.node(node, note))?,
            Tree::Inner(entries) => entries.iter().try_for_each(|(_, below)| self.below(*below, note))?,
        }
        // In the order of names, as they are restored.
        self.stack.get_mut(above..).unwrap_or_default().reverse();
        Ok(())
    }

    fn below(&mut self, tree: BlobId, note: &mut Note<'_>) -> Result<(), Unreadable> {
        if note(&tree).map_err(|source| Unreadable { blob: tree, source })? {
            self.stack.push(tree);
        }
        Ok(())
    }

    fn node(&mut self, node: &Node, note: &mut Note<'_>) -> Result<(), Unreadable> {
        for xattr in &node.metadata.xattrs {
            if let XattrValue::Stored(content) = &xattr.value {
                self.content(content, note)?;
            }
        }
        match &node.kind {
            NodeKind::File { content, .. } => self.content(content, note),
            NodeKind::Directory { tree } => self.below(*tree, note),
            _ => Ok(()),
        }
    }

    fn content(&mut self, content: &Content, note: &mut Note<'_>) -> Result<(), Unreadable> {
        for part in &content.parts {
            let blob = part.id;
            let is_new = note(&blob).map_err(|source| Unreadable { blob, source })?;
            if !is_new || content.level == 0 {
                continue;
            }
            let list = self.lists.tree(&blob).map_err(|source| Unreadable { blob, source })?;
            let below = decode_list(&list, content.level, part.length).map_err(malformed(blob))?;
            self.content(&below, note)?;
        }
        Ok(())
    }
}
