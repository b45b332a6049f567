//! What of a snapshot is restored, and where below the destination it goes.

use super::RestoreError;
use crate::format::node::{Node, NodeKind};
use crate::format::snapshot::Snapshot;
use crate::repository::{BlobReader, TreeCursor};

/// An entry to be restored with everything below it.
#[derive(Debug, Clone)]
pub struct Selected {
    /// Folders above it, below the destination's root.
    pub above: Vec<u8>,
    /// The entry.
    pub node: Node,
    /// Its path on the machine that was backed up.
    pub original: Vec<u8>,
}

/// Whether entries go to the paths they came from, or below a folder under their full paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Below a folder.
    Below,
    /// Where they came from.
    Original,
}

fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (path.get(..at).unwrap_or_default(), path.get(at + 1..).unwrap_or_default()),
        None => (b"", path),
    }
}

/// The entries of `snapshot` at `paths`, or its roots when there are none.
///
/// # Errors
/// [`RestoreError::NoSuchPath`] when the snapshot does not have one of them.
pub fn select(
    reader: &mut BlobReader<'_>,
    snapshot: &Snapshot,
    paths: &[Vec<u8>],
    placement: Placement,
) -> Result<Vec<Selected>, RestoreError> {
    let place = |root: &crate::format::snapshot::Root| match placement {
        Placement::Below => root.restore_name.clone(),
        Placement::Original => root.path.strip_prefix(b"/").unwrap_or(&root.path).to_vec(),
    };
    let mut selected = Vec::new();
    if paths.is_empty() {
        for root in &snapshot.roots {
            let place = place(root);
            let (above, name) = split(&place);
            let node = Node { name: name.to_vec(), ..root.node.clone() };
            selected.push(Selected { above: above.to_vec(), node, original: root.path.clone() });
        }
        return Ok(selected);
    }
    for path in paths {
        let mut found = None;
        for root in &snapshot.roots {
            let Some(below) = below(&root.path, path).or_else(|| below(&root.restore_name, path)) else { continue };
            if let Some(node) = descend(reader, &root.node, below)? {
                let place = [place(root), below.to_vec()].concat();
                let (above, _) = split(&place);
                let original = [root.path.as_slice(), below].concat();
                found = Some(Selected { above: above.to_vec(), node, original });
                break;
            }
        }
        let missing = || RestoreError::NoSuchPath(String::from_utf8_lossy(path).into_owned());
        selected.push(found.ok_or_else(missing)?);
    }
    Ok(selected)
}

/// What is left of `path` below `root`: empty, or beginning with `/`.
fn below<'a>(root: &[u8], path: &'a [u8]) -> Option<&'a [u8]> {
    let path = path.strip_suffix(b"/").unwrap_or(path);
    if root == b"/" {
        return Some(path);
    }
    let rest = path.strip_prefix(root)?;
    (rest.is_empty() || rest.first() == Some(&b'/')).then_some(rest)
}

fn descend(reader: &mut BlobReader<'_>, root: &Node, below: &[u8]) -> Result<Option<Node>, RestoreError> {
    let mut node = root.clone();
    for name in below.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        let NodeKind::Directory { tree } = node.kind else { return Ok(None) };
        let found = TreeCursor::new(tree).seek(reader, &mut None, name)?;
        match found {
            Some(entry) => node = entry.node,
            None => return Ok(None),
        }
    }
    Ok(Some(node))
}

/// What a restore will write, at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Plan {
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Links, devices, pipes, sockets.
    pub others: u64,
    /// Bytes of content, holes not counted, files with several names once.
    pub bytes: u64,
}

impl Plan {
    /// All entries.
    #[must_use]
    pub const fn entries(&self) -> u64 {
        self.files + self.directories + self.others
    }

    /// Counts what is selected, by walking its trees.
    ///
    /// # Errors
    /// When a tree cannot be read.
    pub fn of(reader: &mut BlobReader<'_>, selected: &[Selected]) -> Result<Self, RestoreError> {
        let mut plan = Self::default();
        let mut seen = std::collections::HashSet::new();
        let mut stack = Vec::new();
        for entry in selected {
            plan.count(&entry.node, &mut seen, &mut stack);
            while let Some(cursor) = stack.last_mut() {
                match TreeCursor::next(cursor, reader)? {
                    Some(entry) => plan.count(&entry.node, &mut seen, &mut stack),
                    None => drop(stack.pop()),
                }
            }
        }
        Ok(plan)
    }

    fn count(
        &mut self,
        node: &Node,
        seen: &mut std::collections::HashSet<crate::format::node::LinkGroup>,
        stack: &mut Vec<TreeCursor>,
    ) {
        match &node.kind {
            NodeKind::Directory { tree } => {
                self.directories += 1;
                stack.push(TreeCursor::new(*tree));
            }
            NodeKind::File { content, .. } => {
                self.files += 1;
                if node.links.is_none_or(|group| seen.insert(group)) {
                    self.bytes = self.bytes.saturating_add(content.length().unwrap_or(u64::MAX));
                }
            }
            _ => self.others += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_below_a_root_only_at_a_slash() {
        assert_eq!(below(b"/a", b"/a/b"), Some(&b"/b"[..]));
        assert_eq!(below(b"/a", b"/a/"), Some(&b""[..]));
        assert_eq!(below(b"/a", b"/ab"), None);
        assert_eq!(below(b"/", b"/ab"), Some(&b"/ab"[..]));
        assert_eq!(below(b"a", b"a/b"), Some(&b"/b"[..]));
    }

    #[test]
    fn the_last_part_of_a_path_is_the_name() {
        assert_eq!(split(b"a/b/c"), (&b"a/b"[..], &b"c"[..]));
        assert_eq!(split(b"c"), (&b""[..], &b"c"[..]));
    }
}
