//! Trees and contents, read piece by piece: a folder of a million entries or a file of a terabyte takes the memory
//! of one piece.

use std::ops::Range;
use std::vec::IntoIter;

use super::RepositoryError;
use super::reader::{Blob, BlobReader};
use crate::format::content::decode_list;
use crate::format::node::{Content, Node, Part};
use crate::format::tree::{self, MAX_DEPTH, Tree};
use crate::id::BlobId;

/// An entry as a cursor gives it.
#[derive(Debug)]
pub struct TreeEntry {
    /// The entry.
    pub node: Node,
    blob: Blob,
    range: Range<usize>,
}

impl TreeEntry {
    /// Its encoded form, for taking it over unchanged.
    #[must_use]
    pub fn encoded(&self) -> &[u8] {
        self.blob.get(self.range.clone()).unwrap_or_default()
    }
}

/// The entries of a leaf that are still to come.
type LeafEntries = IntoIter<(Node, Range<usize>)>;

/// Walks the entries of one directory in the order of their names.
#[derive(Debug)]
pub struct TreeCursor {
    inner: Vec<IntoIter<(Vec<u8>, BlobId)>>,
    leaf: Option<(Blob, LeafEntries)>,
    next_tree: Option<BlobId>,
    last_name: Option<Vec<u8>>,
}

impl TreeCursor {
    /// Before the first entry of the directory whose tree is `tree`. Nothing is read yet.
    #[must_use]
    pub const fn new(tree: BlobId) -> Self {
        Self { inner: Vec::new(), leaf: None, next_tree: Some(tree), last_name: None }
    }

    fn malformed(tree: &BlobId, what: &'static str) -> RepositoryError {
        let source = crate::format::DecodeError { what, at: 0 };
        RepositoryError::Malformed { name: format!("tree {tree}"), source }
    }

    fn load(&mut self, reader: &mut BlobReader<'_>, id: &BlobId) -> Result<(), RepositoryError> {
        if self.inner.len() >= usize::from(MAX_DEPTH) {
            return Err(Self::malformed(id, "trees are nested too deeply"));
        }
        let blob = reader.tree(id)?;
        let decoded =
            tree::decode(&blob).map_err(|source| RepositoryError::Malformed { name: format!("tree {id}"), source })?;
        match decoded {
            Tree::Leaf(entries) => self.leaf = Some((blob, entries.into_iter())),
            Tree::Inner(entries) => self.inner.push(entries.into_iter()),
        }
        Ok(())
    }

    /// The next entry.
    ///
    /// # Errors
    /// When a tree blob cannot be read, or its names are out of order.
    pub fn next(&mut self, reader: &mut BlobReader<'_>) -> Result<Option<TreeEntry>, RepositoryError> {
        loop {
            if let Some((blob, entries)) = &mut self.leaf {
                if let Some((node, range)) = entries.next() {
                    if self.last_name.as_ref().is_some_and(|last| *last >= node.name) {
                        return Err(Self::malformed(&BlobId([0; 32]), "names of a directory are not in order"));
                    }
                    self.last_name = Some(node.name.clone());
                    return Ok(Some(TreeEntry { node, blob: blob.clone(), range }));
                }
                self.leaf = None;
            }
            let next = self.next_tree.take().or_else(|| {
                while let Some(inner) = self.inner.last_mut() {
                    if let Some((_, id)) = inner.next() {
                        return Some(id);
                    }
                    self.inner.pop();
                }
                None
            });
            match next {
                Some(id) => self.load(reader, &id)?,
                None => return Ok(None),
            }
        }
    }

    /// The entry called `name`, for calls with ascending names; entries before it are passed over.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn seek(
        &mut self,
        reader: &mut BlobReader<'_>,
        ahead: &mut Option<TreeEntry>,
        name: &[u8],
    ) -> Result<Option<TreeEntry>, RepositoryError> {
        loop {
            if ahead.is_none() {
                *ahead = self.next(reader)?;
            }
            match ahead.as_ref().map(|entry| entry.node.name.as_slice().cmp(name)) {
                Some(std::cmp::Ordering::Less) => *ahead = None,
                Some(std::cmp::Ordering::Equal) => return Ok(ahead.take()),
                _ => return Ok(None),
            }
        }
    }
}

/// Walks the data blobs of a content in order.
#[derive(Debug)]
pub struct ContentCursor {
    stack: Vec<(u8, IntoIter<Part>)>,
}

impl ContentCursor {
    /// Before the first blob.
    #[must_use]
    pub fn new(content: Content) -> Self {
        Self { stack: vec![(content.level, content.parts.into_iter())] }
    }

    /// The next data blob with its length in bytes.
    ///
    /// # Errors
    /// When a list blob cannot be read or does not fit.
    pub fn next(&mut self, reader: &mut BlobReader<'_>) -> Result<Option<Part>, RepositoryError> {
        self.next_with(reader, &mut |_| {})
    }

    /// Like [`Self::next`], telling `list` the id of every list blob on the way.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn next_with(
        &mut self,
        reader: &mut BlobReader<'_>,
        list: &mut dyn FnMut(&BlobId),
    ) -> Result<Option<Part>, RepositoryError> {
        while let Some((level, parts)) = self.stack.last_mut() {
            let level = *level;
            match parts.next() {
                None => drop(self.stack.pop()),
                Some(part) if level == 0 => return Ok(Some(part)),
                Some(part) => {
                    list(&part.id);
                    let blob = reader.tree(&part.id)?;
                    let content = decode_list(&blob, level, part.length).map_err(|source| {
                        RepositoryError::Malformed { name: format!("content list {}", part.id), source }
                    })?;
                    self.stack.push((content.level, content.parts.into_iter()));
                }
            }
        }
        Ok(None)
    }
}
