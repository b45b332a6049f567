//! The walk of an export: entries of a snapshot in the order of restic's trees.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use crossbeam_channel::Sender;

use super::super::node::{self, Attributes};
use super::Run;
use super::pieces::{Asked, Item, Open, Wanted};
use crate::format::DecodeError;
use crate::format::node::{Node, NodeKind, XattrValue};
use crate::format::snapshot::Root;
use crate::operation::list::MAX_NESTING;
use crate::repository::{BlobReader, ContentCursor, RepositoryError, TreeCursor, TreeEntry};

/// Hands over the entries of a snapshot in the order of restic's trees.
pub(super) struct Walker<'a> {
    pub(super) run: &'a Run<'a>,
    pub(super) reader: BlobReader<'a>,
    pub(super) items: Sender<Item>,
    pub(super) wanted: Sender<Asked>,
}

/// rustic_core takes no more: it failed, and says so at the end.
struct Gone;

/// Roots below a folder, each with the names that lead to it from there.
type Below<'s> = Vec<(&'s [&'s [u8]], &'s Root)>;

impl Walker<'_> {
    /// Hands over everything; what goes wrong is noted.
    pub(super) fn walk(mut self, roots: &[Root]) {
        let paths: Vec<Vec<&[u8]>> = roots.iter().map(path_of).collect();
        let below = paths.iter().map(Vec::as_slice).zip(roots).collect();
        let _ = self.folder(&mut Vec::new(), None, below, 0);
    }

    /// Everything in a folder: what its tree holds, and the roots that lie below it without being in its tree.
    fn folder(
        &mut self,
        path: &mut Vec<u8>,
        tree: Option<TreeCursor>,
        below: Below<'_>,
        depth: usize,
    ) -> Result<(), Gone> {
        let mut cursor = tree;
        // A snapshot of the root of the file system.
        let mut inner: BTreeMap<&[u8], Below<'_>> = BTreeMap::new();
        for (names, root) in below {
            match (names.split_first(), &root.node.kind) {
                (Some((first, rest)), _) => inner.entry(first).or_default().push((rest, root)),
                (None, NodeKind::Directory { tree }) => cursor = Some(TreeCursor::new(*tree)),
                (None, _) => {}
            }
        }
        if depth > MAX_NESTING {
            let source = DecodeError { what: "folders are nested too deeply", at: 0 };
            self.run.note(path, RepositoryError::Malformed { name: "tree".into(), source });
            return Err(Gone);
        }
        let mut ahead = None;
        loop {
            if ahead.is_none() {
                ahead = self.next(path, &mut cursor)?;
            }
            let entry = ahead.as_ref().map(|entry| entry.node.name.as_slice());
            let injected = inner.first_key_value().map(|(name, _)| *name);
            let (node, below) = match (entry, injected) {
                (None, None) => return Ok(()),
                (Some(name), Some(root)) if name == root => {
                    (ahead.take().map(|entry| entry.node), inner.pop_first().map(|(_, below)| below))
                }
                (Some(name), Some(root)) if name < root => (ahead.take().map(|entry| entry.node), None),
                (Some(_), None) => (ahead.take().map(|entry| entry.node), None),
                _ => (None, inner.pop_first().map(|(_, below)| below)),
            };
            let below = below.unwrap_or_default();
            // What was backed up as a root of its own counts more than a folder that it was found in.
            let own = below.iter().find(|(rest, _)| rest.is_empty()).map(|(_, root)| &root.node);
            let name = injected.filter(|_| node.is_none()).map(<[u8]>::to_vec);
            let name = node.as_ref().map(|node| node.name.clone()).or(name).unwrap_or_default();
            let node = own.cloned().or(node).map(|node| Node { name: name.clone(), ..node });
            let length = path.len();
            path.push(b'/');
            path.extend_from_slice(&name);
            let deeper = below.into_iter().filter(|(rest, _)| !rest.is_empty()).collect();
            self.entry(path, node, deeper, depth)?;
            path.truncate(length);
        }
    }

    fn next(&mut self, path: &[u8], cursor: &mut Option<TreeCursor>) -> Result<Option<TreeEntry>, Gone> {
        let Some(tree) = cursor else { return Ok(None) };
        if self.run.has_problem() {
            return Err(Gone);
        }
        let next = self.run.check().and_then(|()| tree.next(&mut self.reader));
        next.map_err(|error| {
            self.run.note(path, error);
            Gone
        })
    }

    fn entry(&mut self, path: &mut Vec<u8>, node: Option<Node>, below: Below<'_>, depth: usize) -> Result<(), Gone> {
        let tree = match &node {
            Some(node) => {
                self.hand_over(path, node)?;
                match node.kind {
                    NodeKind::Directory { tree } => Some(TreeCursor::new(tree)),
                    _ => return Ok(()),
                }
            }
            // A folder above a root, of which nothing is kept: rustic_core makes one up.
            None => None,
        };
        self.folder(path, tree, below, depth + 1)
    }

    fn hand_over(&mut self, path: &[u8], node: &Node) -> Result<(), Gone> {
        let translated = self.xattrs(path, node).and_then(|xattrs| {
            node::theirs(node, xattrs).map_err(|reason| {
                let (location, object) = (self.run.restic.location(), String::from_utf8_lossy(path).into_owned());
                RepositoryError::Foreign { location, object, reason, damage: false }
            })
        });
        let translated = match translated {
            Ok(translated) => translated,
            Err(error) => {
                self.run.note(path, error);
                return Err(Gone);
            }
        };
        let mut open = None;
        if let NodeKind::File { size, content, holes, .. } = &node.kind {
            let file = Wanted { path: path.to_vec(), content: content.clone(), holes: holes.clone(), size: *size };
            open = Some(Open { file: Box::new(file), wanted: self.wanted.clone() });
            self.run.total_bytes.fetch_add(*size, Ordering::Relaxed);
        }
        if !matches!(node.kind, NodeKind::Directory { .. }) {
            self.run.entries.fetch_add(1, Ordering::Relaxed);
        }
        self.run.progress.current(path);
        self.run.progress.advance(1, 0);
        let item = Item { path: PathBuf::from(OsStr::from_bytes(path)), node: translated, open };
        self.items.send(item).map_err(|_| Gone)
    }

    /// Extended attributes with their values. The format has only text for their names; another one is left out.
    fn xattrs(&mut self, path: &[u8], node: &Node) -> Result<Attributes, RepositoryError> {
        let mut all = Vec::new();
        for xattr in &node.metadata.xattrs {
            if std::str::from_utf8(&xattr.name).is_err() {
                let [path, name] =
                    [path, &xattr.name].map(|text| String::from_utf8_lossy(text).escape_debug().to_string());
                let left_out =
                    format!("{path}: its attribute `{name}` is left out, as restic's format has only text for names");
                self.run.progress.warn(&left_out);
                continue;
            }
            let value = match &xattr.value {
                XattrValue::Inline(value) => value.clone(),
                XattrValue::Stored(content) => {
                    let (mut value, mut cursor) = (Vec::new(), ContentCursor::new(content.clone()));
                    while let Some(part) = cursor.next(&mut self.reader)? {
                        value.extend_from_slice(&self.reader.data(&part.id)?);
                    }
                    value
                }
            };
            all.push((xattr.name.clone(), value));
        }
        Ok(all)
    }
}

/// The names that lead to a root; those of one without a folder, as a dump, lie at the top.
pub(super) fn path_of(root: &Root) -> Vec<&[u8]> {
    if root.path == b"/" {
        return Vec::new();
    }
    root.restore_name.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect()
}
