//! What the target has of the source already, by folder: what a tree of the source became, and how much is below it.
//!
//! A tree that is taken over is one that a snapshot of the target names; that snapshot may be forgotten and a prune may
//! run meanwhile. So every blob below it is relied on, as if it had been stored now: the commit then finds out whether
//! it stays. For that the trees of the target are read, once in a run; of the source nothing is.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

use crate::format::node::{Content, Node, NodeKind, XattrValue};
use crate::format::tree::{self, Tree};
use crate::id::BlobId;
use crate::repository::{BlobReader, ContentCursor, RepositoryError, Writer};

/// So many trees of either repository are remembered, some 12 MiB; beyond that they are looked at anew.
const MOST: usize = 1 << 17;

/// What is below a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    pub(super) files: u64,
    pub(super) directories: u64,
    pub(super) others: u64,
    /// Sum of the sizes of the files.
    pub(super) total_bytes: u64,
}

impl Counts {
    pub(super) const fn add(&mut self, other: Self) {
        self.files += other.files;
        self.directories += other.directories;
        self.others += other.others;
        self.total_bytes += other.total_bytes;
    }
}

/// Remembers some of what it is told.
struct Remembered<K, V>(Mutex<HashMap<K, V>>);

impl<K: Eq + Hash, V: Copy> Remembered<K, V> {
    fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    fn get(&self, key: &K) -> Option<V> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).copied()
    }

    fn insert(&self, key: K, value: V) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST {
            all.clear();
        }
        all.insert(key, value);
    }
}

/// What a run knows; every blob below what is in it is relied on or was added by the run.
pub(super) struct Known {
    /// By tree of the source: the tree of the target that says the same, whole.
    became: Remembered<BlobId, (BlobId, Counts)>,
    /// By tree of the target.
    counted: Remembered<BlobId, Counts>,
}

impl Known {
    pub(super) fn new() -> Self {
        Self { became: Remembered::new(), counted: Remembered::new() }
    }

    /// What a tree of the source became, and what is below it.
    pub(super) fn became(&self, source: &BlobId) -> Option<(BlobId, Counts)> {
        self.became.get(source)
    }

    /// Notes what a tree of the source became. Nothing of it may be missing.
    pub(super) fn note(&self, source: BlobId, tree: BlobId, counts: Counts) {
        self.became.insert(source, (tree, counts));
        self.counted.insert(tree, counts);
    }
}

/// Whether the target has a blob; from now on it is relied on.
pub(super) fn has(writer: &Writer<'_>, id: &BlobId) -> bool {
    writer.has(id) || writer.has_added(id)
}

/// Whether the target has every blob of a content.
pub(super) fn has_content(reader: &mut BlobReader<'_>, writer: &Writer<'_>, content: &Content) -> bool {
    if content.level == 0 {
        return content.parts.iter().all(|part| has(writer, &part.id));
    }
    let mut cursor = ContentCursor::new(content.clone());
    let mut lists = true;
    loop {
        match cursor.next_with(reader, &mut |list| lists &= has(writer, list)) {
            Ok(Some(part)) if lists && has(writer, &part.id) => {}
            Ok(None) => return lists,
            _ => return false,
        }
    }
}

/// Whether the target has all that an entry needs but for what is below a folder.
pub(super) fn has_node(reader: &mut BlobReader<'_>, writer: &Writer<'_>, node: &Node) -> bool {
    let xattrs = node.metadata.xattrs.iter().all(|xattr| match &xattr.value {
        XattrValue::Inline(_) => true,
        XattrValue::Stored(content) => has_content(reader, writer, content),
    });
    match &node.kind {
        NodeKind::File { content, .. } => xattrs && has_content(reader, writer, content),
        _ => xattrs,
    }
}

/// A tree of the target that is being counted.
struct Level {
    tree: BlobId,
    /// A folder of its own, not a piece of a large one.
    is_folder: bool,
    counts: Counts,
    /// What is below it and not counted yet, with whether it is a folder of its own.
    below: Vec<(BlobId, bool)>,
}

/// Counts what is below a tree of the target, and relies on it. `None` when something of it is not there any more.
///
/// # Errors
/// When the store does not answer.
pub(super) fn rely_on(
    reader: &mut BlobReader<'_>,
    writer: &Writer<'_>,
    known: &Known,
    tree: BlobId,
) -> Result<Option<Counts>, RepositoryError> {
    let mut stack: Vec<Level> = Vec::new();
    let mut next = Some((tree, true));
    loop {
        let mut counted = None;
        if let Some((tree, is_folder)) = next.take() {
            match known.counted.get(&tree) {
                Some(counts) => counted = Some((counts, is_folder)),
                None => match open(reader, writer, tree, is_folder)? {
                    Some(level) => stack.push(level),
                    None => return Ok(None),
                },
            }
        } else if let Some(level) = stack.last_mut() {
            next = level.below.pop();
            if next.is_none()
                && let Some(Level { tree, is_folder, counts, .. }) = stack.pop()
            {
                known.counted.insert(tree, counts);
                counted = Some((counts, is_folder));
            }
        }
        let Some((counts, is_folder)) = counted else { continue };
        let Some(above) = stack.last_mut() else { return Ok(Some(counts)) };
        above.counts.add(counts);
        above.counts.directories += u64::from(is_folder);
    }
}

/// Reads one tree blob and relies on all that its entries name.
fn open(
    reader: &mut BlobReader<'_>,
    writer: &Writer<'_>,
    tree: BlobId,
    is_folder: bool,
) -> Result<Option<Level>, RepositoryError> {
    if !has(writer, &tree) {
        return Ok(None);
    }
    let blob = match reader.tree(&tree) {
        Err(error) if error.is_damage() => return Ok(None),
        blob => blob?,
    };
    let mut level = Level { tree, is_folder, counts: Counts::default(), below: Vec::new() };
    match tree::decode(&blob) {
        Err(_) => return Ok(None),
        Ok(Tree::Inner(entries)) => level.below.extend(entries.into_iter().map(|(_, tree)| (tree, false))),
        Ok(Tree::Leaf(entries)) => {
            for (node, _) in entries {
                if !has_node(reader, writer, &node) {
                    return Ok(None);
                }
                match node.kind {
                    NodeKind::Directory { tree } => level.below.push((tree, true)),
                    NodeKind::File { size, .. } => {
                        level.counts.files += 1;
                        level.counts.total_bytes += size;
                    }
                    _ => level.counts.others += 1,
                }
            }
        }
    }
    Ok(Some(level))
}
