//! Every tree of every snapshot: is all that they reach in the index, in a pack that is there?
//!
//! A tree or list that was found whole is not looked at again, whatever snapshot reaches it. Memory is one decoded
//! tree per level of folders, and 50 bytes for each distinct tree.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::Checker;
use super::contents::Contents;
use super::packs::BadPack;
use super::report::{AffectedSnapshot, Severity, reason, severity};
use crate::format::content::decode_list;
use crate::format::index_file::PackName;
use crate::format::node::{Content, Node, NodeKind, Part, XattrValue};
use crate::format::tree::{self, MAX_DEPTH, Tree};
use crate::id::{BlobId, SnapshotId};
use crate::repository::{AddedBlobs, BlobReader, RepositoryError, SnapshotInfo};

/// What a damaged pack touches.
#[derive(Debug, Default)]
pub(super) struct Touched {
    pub(super) snapshots: Vec<SnapshotId>,
    pub(super) entries: u64,
}

/// What all walks have shown.
#[derive(Default)]
pub(super) struct Walked {
    pub(super) affected: Vec<AffectedSnapshot>,
    /// By the pack that should serve, or by `None` what no index object lists.
    pub(super) touched: BTreeMap<Option<PackName>, Touched>,
    /// Packs of which a tree could not be read.
    pub(super) tree_packs: BTreeMap<PackName, (Severity, String)>,
    /// Trees that no reader could use although they are as they were stored.
    pub(super) malformed: BTreeMap<BlobId, String>,
    /// Distinct blobs that no index object lists.
    pub(super) missing_blobs: u64,
    pub(super) trees: u64,
    pub(super) entries: u64,
    pub(super) read_bytes: u64,
}

impl Walked {
    /// Whether anything is wrong.
    pub(super) fn is_clean(&self) -> bool {
        self.affected.is_empty()
    }
}

/// Where the names of a tree must lie: at or after the first, before the second.
#[derive(Debug, Clone, Default)]
struct Bounds {
    from: Vec<u8>,
    to: Option<Vec<u8>>,
}

impl Bounds {
    fn hold(&self, name: &[u8]) -> bool {
        self.from.as_slice() <= name && self.to.as_deref().is_none_or(|to| name < to)
    }
}

/// A tree that is yet to be entered.
struct Below {
    tree: BlobId,
    /// Name of the folder; `None` for a part of the same folder.
    name: Option<Vec<u8>>,
    bounds: Bounds,
    depth: u8,
}

/// A tree that was entered.
struct Frame {
    tree: BlobId,
    path_len: usize,
    below: std::vec::IntoIter<Below>,
    is_whole: bool,
}

/// The walk through one repository.
struct Walk<'a> {
    checker: &'a Checker<'a>,
    contents: &'a Contents,
    bad: &'a HashMap<PackName, BadPack>,
    reader: BlobReader<'a>,
    lists: BlobReader<'a>,
    blobs: BlobReader<'a>,
    whole: HashSet<BlobId>,
    missing: AddedBlobs,
    result: Walked,
    current: Option<AffectedSnapshot>,
    culprits: Vec<Option<PackName>>,
}

/// Walks every snapshot.
pub(super) fn walk<'a>(
    checker: &'a Checker<'a>,
    contents: &'a Contents,
    bad: &'a HashMap<PackName, BadPack>,
) -> Result<Walked, RepositoryError> {
    checker.progress.phase("walking snapshots", None);
    checker.progress.total(contents.snapshots.len() as u64, 0);
    let mut walk = Walk {
        checker,
        contents,
        bad,
        reader: BlobReader::new(checker.repository, &contents.trees)?.without_reload(),
        lists: BlobReader::new(checker.repository, &contents.trees)?.without_reload(),
        blobs: BlobReader::new(checker.repository, &contents.data)?.without_reload(),
        whole: HashSet::new(),
        missing: AddedBlobs::default(),
        result: Walked::default(),
        current: None,
        culprits: Vec::new(),
    };
    for info in &contents.snapshots {
        walk.snapshot(info)?;
        checker.progress.advance(1, 0);
    }
    walk.result.read_bytes = walk.reader.fetched_bytes() + walk.lists.fetched_bytes() + walk.blobs.fetched_bytes();
    Ok(walk.result)
}

impl Walk<'_> {
    fn snapshot(&mut self, info: &SnapshotInfo) -> Result<(), RepositoryError> {
        self.current = Some(AffectedSnapshot {
            id: info.id,
            start: info.snapshot.start,
            host: info.snapshot.host.clone(),
            profile: info.snapshot.profile.clone(),
            paths: Vec::new(),
            entries: 0,
        });
        for root in &info.snapshot.roots {
            self.checker.progress.current(&root.path);
            let mut path = root.path.clone();
            self.node(&root.node, &path);
            if let NodeKind::Directory { tree } = root.node.kind {
                self.folder(tree, &mut path)?;
            }
        }
        self.result.affected.extend(self.current.take().filter(|snapshot| snapshot.entries > 0));
        Ok(())
    }

    /// Notes that the entry at `path` cannot be restored whole, because of the culprits found since the last note.
    fn affected(&mut self, path: &[u8]) {
        let Some(snapshot) = &mut self.current else { return };
        snapshot.entries += 1;
        if snapshot.paths.len() < self.checker.options.shown_paths {
            snapshot.paths.push(path.to_vec());
        }
        self.culprits.sort_unstable();
        self.culprits.dedup();
        for culprit in self.culprits.drain(..) {
            let touched = self.result.touched.entry(culprit).or_default();
            touched.entries += 1;
            if touched.snapshots.last() != Some(&snapshot.id) {
                touched.snapshots.push(snapshot.id);
            }
        }
    }

    /// Walks a folder and everything below it; whether it is whole is noted, not told.
    fn folder(&mut self, tree: BlobId, path: &mut Vec<u8>) -> Result<(), RepositoryError> {
        let mut stack = Vec::new();
        let root = Below { tree, name: None, bounds: Bounds::default(), depth: 0 };
        self.enter(root, path, &mut stack);
        while let Some(frame) = stack.last_mut() {
            self.checker.go_on()?;
            path.truncate(frame.path_len);
            if let Some(below) = frame.below.next() {
                if let Some(name) = &below.name {
                    push_name(path, name);
                }
                if !self.enter(below, path, &mut stack)
                    && let Some(frame) = stack.last_mut()
                {
                    frame.is_whole = false;
                }
                continue;
            }
            let (tree, is_whole) = (frame.tree, frame.is_whole);
            stack.pop();
            if is_whole {
                self.whole.insert(tree);
            } else if let Some(above) = stack.last_mut() {
                above.is_whole = false;
            }
        }
        Ok(())
    }

    /// Reads a tree and puts it on the stack, unless it is known to be whole; `false` when it cannot be used.
    fn enter(&mut self, below: Below, path: &[u8], stack: &mut Vec<Frame>) -> bool {
        if self.whole.contains(&below.tree) {
            return true;
        }
        let decoded = match self.reader.tree(&below.tree) {
            Ok(blob) => tree::decode(&blob).map_err(|error| error.to_string()),
            Err(error) => {
                self.unreadable_tree(&below.tree, &error);
                self.affected_below(path);
                return false;
            }
        };
        self.result.trees += 1;
        let entered = decoded.and_then(|decoded| self.entered(&below, decoded, path));
        match entered {
            Ok(frame) => {
                stack.push(frame);
                true
            }
            Err(reason) => {
                self.result.malformed.insert(below.tree, reason);
                self.affected_below(path);
                false
            }
        }
    }

    fn affected_below(&mut self, path: &[u8]) {
        let mut path = path.to_vec();
        if path.last() != Some(&b'/') {
            path.push(b'/');
        }
        self.affected(&path);
    }

    fn entered(&mut self, below: &Below, decoded: Tree, path: &[u8]) -> Result<Frame, String> {
        let outside = "its names lie outside of what the tree above says".to_owned();
        let mut frame = Frame { tree: below.tree, path_len: path.len(), below: Vec::new().into_iter(), is_whole: true };
        let mut next = Vec::new();
        match decoded {
            Tree::Leaf(entries) => {
                if entries.iter().any(|(node, _)| !below.bounds.hold(&node.name)) {
                    return Err(outside);
                }
                let mut path = path.to_vec();
                for (node, _) in entries {
                    path.truncate(frame.path_len);
                    push_name(&mut path, &node.name);
                    frame.is_whole &= self.node(&node, &path);
                    if let NodeKind::Directory { tree } = node.kind {
                        next.push(Below { tree, name: Some(node.name), bounds: Bounds::default(), depth: 0 });
                    }
                }
            }
            Tree::Inner(_) if below.depth + 1 >= MAX_DEPTH => return Err("trees are nested too deeply".into()),
            Tree::Inner(entries) => {
                if entries.iter().any(|(name, _)| !below.bounds.hold(name)) {
                    return Err(outside);
                }
                let ends: Vec<_> = entries.iter().skip(1).map(|(name, _)| Some(name.clone())).collect();
                for ((from, tree), to) in entries.into_iter().zip(ends.into_iter().chain([None])) {
                    let bounds = Bounds { from, to: to.or_else(|| below.bounds.to.clone()) };
                    next.push(Below { tree, name: None, bounds, depth: below.depth + 1 });
                }
            }
        }
        frame.below = next.into_iter();
        Ok(frame)
    }

    /// Looks up everything that a node holds itself; `false` when some of it is missing.
    fn node(&mut self, node: &Node, path: &[u8]) -> bool {
        self.result.entries += 1;
        let mut is_whole = true;
        for xattr in &node.metadata.xattrs {
            if let XattrValue::Stored(content) = &xattr.value {
                is_whole &= self.content(content);
            }
        }
        if let NodeKind::File { content, .. } = &node.kind {
            is_whole &= self.content(content);
        }
        if !is_whole {
            self.affected(path);
        }
        is_whole
    }

    /// Looks up every blob of a content. Nested at most as deep as [`crate::format::content::MAX_LEVEL`].
    fn content(&mut self, content: &Content) -> bool {
        let mut is_whole = true;
        for part in &content.parts {
            is_whole &= match content.level {
                0 => self.data(part),
                level => self.list(part, level),
            };
        }
        is_whole
    }

    fn list(&mut self, part: &Part, level: u8) -> bool {
        if self.whole.contains(&part.id) {
            return true;
        }
        let content = match self.lists.tree(&part.id) {
            Ok(blob) => decode_list(&blob, level, part.length),
            Err(error) => {
                self.unreadable_tree(&part.id, &error);
                return false;
            }
        };
        self.result.trees += 1;
        match content {
            Ok(content) => {
                let is_whole = self.content(&content);
                if is_whole {
                    self.whole.insert(part.id);
                }
                is_whole
            }
            Err(error) => {
                self.result.malformed.insert(part.id, error.to_string());
                false
            }
        }
    }

    /// Whether a data blob can be had from some pack. What a damaged pack still gives is found out by reading it.
    fn data(&mut self, part: &Part) -> bool {
        let before = self.culprits.len();
        let mut known = false;
        let mut is_suspect = false;
        for entry in self.contents.data.find(&part.id) {
            known = true;
            let pack = self.contents.data.pack_name(&entry);
            let bad = self.bad.get(&pack);
            if u64::from(entry.length) == part.length {
                if bad.is_none_or(|bad| bad.severity == Severity::Unread) {
                    return true;
                }
                let is_lost = bad.is_some_and(|bad| bad.lost.contains(&part.id));
                is_suspect |= !is_lost && self.contents.stored.contains_key(&pack);
            }
            self.culprits.push(Some(pack));
        }
        if !known {
            self.not_indexed(&part.id);
        }
        let is_whole = is_suspect && self.blobs.data(&part.id).is_ok();
        if is_whole {
            self.culprits.truncate(before);
        }
        is_whole
    }

    fn not_indexed(&mut self, id: &BlobId) {
        self.culprits.push(None);
        self.result.missing_blobs += u64::from(self.missing.insert(*id));
    }

    fn unreadable_tree(&mut self, id: &BlobId, error: &RepositoryError) {
        let packs: Vec<_> = self.contents.trees.find(id).map(|entry| self.contents.trees.pack_name(&entry)).collect();
        if packs.is_empty() {
            self.not_indexed(id);
        }
        for pack in packs {
            self.culprits.push(Some(pack));
            self.result
                .tree_packs
                .entry(pack)
                .or_insert_with(|| (severity(error), format!("tree {} in it: {}", id.short(), reason(error))));
        }
    }
}

/// Adds a name to a path.
fn push_name(path: &mut Vec<u8>, name: &[u8]) {
    if path.last().is_some_and(|last| *last != b'/') {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}
