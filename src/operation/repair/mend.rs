//! What is left of a snapshot when something of it is lost: every entry that can be restored whole, in new trees where
//! they have to be, and the names of the others.
//!
//! Memory is one decoded tree per level of folders, and 50 bytes for each distinct tree.

use std::collections::HashSet;
use std::ops::Range;

use crate::crypto::Identifier;
use crate::format::content::decode_list;
use crate::format::node::{Content, Node, NodeKind, Part, XattrValue};
use crate::format::snapshot::{Root, Snapshot, Statistics};
use crate::format::tree::{self, MAX_DEPTH, Tree, TreeWriter, encode_node};
use crate::id::BlobId;
use crate::repository::RepositoryError;

/// What is lost of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Loss {
    /// Some of its content, so that it is left out.
    Content,
    /// Which entries the folder had, so that it is left out with all below.
    Folder,
    /// Some of the entries that the folder had; which is not known any more.
    Entries,
    /// An extended attribute; the rest of the entry is kept.
    Attribute,
}

impl Loss {
    /// For people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Content => "its content is lost",
            Self::Folder => "the folder and all below it is lost",
            Self::Entries => "some of the entries of the folder are lost",
            Self::Attribute => "an extended attribute of it is lost",
        }
    }
}

/// An entry that is lost, or something of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lost {
    /// Where it was on the machine; with a `/` at its end it stands for everything below.
    pub path: Vec<u8>,
    /// What of it.
    pub loss: Loss,
}

/// Where blobs are looked for.
pub(super) trait Holdings {
    /// A tree or list blob, when somebody has it.
    fn tree(&mut self, id: &BlobId) -> Result<Option<Vec<u8>>, RepositoryError>;
    /// Whether somebody has a data blob of this length.
    fn has(&mut self, part: &Part) -> Result<bool, RepositoryError>;
}

/// Keeps a tree blob and gives its id.
pub(super) type Keep<'k> = dyn FnMut(&[u8]) -> Result<BlobId, RepositoryError> + 'k;

/// What is left of a snapshot.
pub(super) struct Mended {
    /// The roots that something is left of.
    pub(super) roots: Vec<Root>,
    /// What is not in them.
    pub(super) lost: Vec<Lost>,
    /// Of what was left out, as far as it is known.
    pub(super) left_out: Statistics,
}

enum Kept {
    AsItIs,
    Changed(Box<Node>),
    Lost,
}

/// What became of a folder.
enum Folder {
    Whole,
    New(BlobId),
    Lost,
}

/// A folder that was entered.
struct Level<'i> {
    node: Option<(Node, Vec<u8>)>,
    tree: BlobId,
    path_len: usize,
    next: Option<BlobId>,
    inner: Vec<std::vec::IntoIter<(Vec<u8>, BlobId)>>,
    blob: Vec<u8>,
    leaf: std::vec::IntoIter<(Node, Range<usize>)>,
    writer: TreeWriter<'i>,
    last: Vec<u8>,
    is_whole: bool,
    has_gap: bool,
    was_read: bool,
}

/// Walks snapshots and knows what it has found whole.
pub(super) struct Mender<'a, H> {
    identifier: &'a Identifier,
    pub(super) holdings: H,
    whole: HashSet<BlobId>,
    /// Every blob that nobody has.
    pub(super) lost_blobs: HashSet<BlobId>,
    lost: Vec<Lost>,
    left_out: Statistics,
}

impl<'a, H: Holdings> Mender<'a, H> {
    pub(super) fn new(identifier: &'a Identifier, holdings: H) -> Self {
        let (whole, lost_blobs, lost) = (HashSet::new(), HashSet::new(), Vec::new());
        Self { identifier, holdings, whole, lost_blobs, lost, left_out: Statistics::default() }
    }

    /// What is left of a snapshot. `keep` gets the trees that have to be made anew.
    pub(super) fn snapshot(&mut self, snapshot: &Snapshot, keep: &mut Keep<'_>) -> Result<Mended, RepositoryError> {
        let mut roots = Vec::new();
        for root in &snapshot.roots {
            let mut path = root.path.clone();
            let mut node = match self.node(&root.node, &path)? {
                Kept::AsItIs => root.node.clone(),
                Kept::Changed(node) => *node,
                Kept::Lost => continue,
            };
            if let NodeKind::Directory { tree } = &mut node.kind {
                match self.folder(*tree, &mut path, keep)? {
                    Folder::Whole => {}
                    Folder::New(new) => *tree = new,
                    Folder::Lost => continue,
                }
            }
            roots.push(Root { node, ..root.clone() });
        }
        let (lost, left_out) = (std::mem::take(&mut self.lost), std::mem::take(&mut self.left_out));
        Ok(Mended { roots, lost, left_out })
    }

    fn lose(&mut self, path: &[u8], loss: Loss) {
        let mut path = path.to_vec();
        if matches!(loss, Loss::Folder | Loss::Entries) && path.last() != Some(&b'/') {
            path.push(b'/');
        }
        self.lost.push(Lost { path, loss });
    }

    fn folder(&mut self, tree: BlobId, path: &mut Vec<u8>, keep: &mut Keep<'_>) -> Result<Folder, RepositoryError> {
        if self.whole.contains(&tree) {
            return Ok(Folder::Whole);
        }
        let mut stack = vec![Level::new(self.identifier, None, tree, path.len())];
        loop {
            let Some(level) = stack.last_mut() else { return Ok(Folder::Whole) };
            path.truncate(level.path_len);
            if let Some((node, encoded)) = self.next_entry(level)? {
                push_name(path, &node.name);
                let (node, encoded) = match self.node(&node, path)? {
                    Kept::AsItIs => (node, encoded),
                    Kept::Changed(node) => {
                        level.is_whole = false;
                        let encoded = encode_node(&node);
                        (*node, encoded)
                    }
                    Kept::Lost => {
                        level.is_whole = false;
                        continue;
                    }
                };
                match node.kind {
                    NodeKind::Directory { tree } if !self.whole.contains(&tree) => {
                        stack.push(Level::new(self.identifier, Some((node, encoded)), tree, path.len()));
                    }
                    _ => level.writer.push(&node.name, &encoded, &mut |blob| keep(&blob))?,
                }
                continue;
            }
            let Some(level) = stack.pop() else { return Ok(Folder::Whole) };
            let (node, tree) = (level.node.clone(), level.tree);
            let ended = self.leave(level, path, keep)?;
            if matches!(ended, Folder::Whole) {
                self.whole.insert(tree);
            }
            let Some(above) = stack.last_mut() else { return Ok(ended) };
            let Some((mut node, mut encoded)) = node else { continue };
            match ended {
                Folder::Whole => {}
                Folder::New(new) => {
                    above.is_whole = false;
                    node.kind = NodeKind::Directory { tree: new };
                    encoded = encode_node(&node);
                }
                Folder::Lost => {
                    above.is_whole = false;
                    continue;
                }
            }
            above.writer.push(&node.name, &encoded, &mut |blob| keep(&blob))?;
        }
    }

    fn leave(&mut self, level: Level<'_>, path: &[u8], keep: &mut Keep<'_>) -> Result<Folder, RepositoryError> {
        if level.is_whole {
            return Ok(Folder::Whole);
        }
        if !level.was_read {
            self.lose(path, Loss::Folder);
            return Ok(Folder::Lost);
        }
        if level.has_gap {
            self.lose(path, Loss::Entries);
        }
        level.writer.finish(&mut |blob| keep(&blob)).map(Folder::New)
    }

    /// The next entry of a folder with its encoded form; pieces that nobody has are passed over.
    fn next_entry(&mut self, level: &mut Level<'_>) -> Result<Option<(Node, Vec<u8>)>, RepositoryError> {
        loop {
            if let Some((node, range)) = level.leaf.next() {
                // What no reader would accept is not kept either.
                if level.last >= node.name && !level.last.is_empty() {
                    level.gap();
                    continue;
                }
                level.last.clone_from(&node.name);
                return Ok(Some((node, level.blob.get(range).unwrap_or_default().to_vec())));
            }
            let next = level.next.take().or_else(|| {
                while let Some(inner) = level.inner.last_mut() {
                    if let Some((_, id)) = inner.next() {
                        return Some(id);
                    }
                    level.inner.pop();
                }
                None
            });
            let Some(id) = next else { return Ok(None) };
            let Some(blob) = self.holdings.tree(&id)? else {
                self.lost_blobs.insert(id);
                level.gap();
                continue;
            };
            match tree::decode(&blob) {
                Ok(Tree::Leaf(entries)) => {
                    (level.blob, level.leaf) = (blob, entries.into_iter());
                    level.was_read = true;
                }
                Ok(Tree::Inner(entries)) if level.inner.len() < usize::from(MAX_DEPTH) => {
                    level.inner.push(entries.into_iter());
                }
                _ => level.gap(),
            }
        }
    }

    /// Looks up everything that a node holds itself.
    fn node(&mut self, node: &Node, path: &[u8]) -> Result<Kept, RepositoryError> {
        if let NodeKind::File { content, size, .. } = &node.kind
            && !self.content(content)?
        {
            self.left_out.files += 1;
            self.left_out.total_bytes = self.left_out.total_bytes.saturating_add(*size);
            self.lose(path, Loss::Content);
            return Ok(Kept::Lost);
        }
        let mut kept = Vec::new();
        for xattr in &node.metadata.xattrs {
            let is_whole = match &xattr.value {
                XattrValue::Inline(_) => true,
                XattrValue::Stored(content) => self.content(content)?,
            };
            if is_whole {
                kept.push(xattr.clone());
            }
        }
        if kept.len() == node.metadata.xattrs.len() {
            return Ok(Kept::AsItIs);
        }
        self.lose(path, Loss::Attribute);
        let mut node = Box::new(node.clone());
        node.metadata.xattrs = kept;
        Ok(Kept::Changed(node))
    }

    /// Looks up every blob of a content. Nested at most as deep as [`crate::format::content::MAX_LEVEL`].
    fn content(&mut self, content: &Content) -> Result<bool, RepositoryError> {
        let mut is_whole = true;
        for part in &content.parts {
            let is_here = match content.level {
                0 => self.holdings.has(part)?,
                level => self.list(part, level)?,
            };
            if !is_here {
                self.lost_blobs.insert(part.id);
                is_whole = false;
            }
        }
        Ok(is_whole)
    }

    fn list(&mut self, part: &Part, level: u8) -> Result<bool, RepositoryError> {
        if self.whole.contains(&part.id) {
            return Ok(true);
        }
        let Some(blob) = self.holdings.tree(&part.id)? else { return Ok(false) };
        let Ok(below) = decode_list(&blob, level, part.length) else { return Ok(false) };
        let is_whole = self.content(&below)?;
        if is_whole {
            self.whole.insert(part.id);
        }
        Ok(is_whole)
    }
}

impl<'i> Level<'i> {
    fn new(identifier: &'i Identifier, node: Option<(Node, Vec<u8>)>, tree: BlobId, path_len: usize) -> Self {
        Self {
            node,
            tree,
            path_len,
            next: Some(tree),
            inner: Vec::new(),
            blob: Vec::new(),
            leaf: Vec::new().into_iter(),
            writer: TreeWriter::new(identifier),
            last: Vec::new(),
            is_whole: true,
            has_gap: false,
            was_read: false,
        }
    }

    const fn gap(&mut self) {
        self.is_whole = false;
        self.has_gap = true;
    }
}

/// Adds a name to a path.
fn push_name(path: &mut Vec<u8>, name: &[u8]) {
    if path.last().is_some_and(|last| *last != b'/') {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}
