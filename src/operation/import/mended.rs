//! Whether what could not be read when a snapshot was brought can be read now.

use std::sync::atomic::AtomicBool;

use crate::format::node::{Node, NodeKind, XattrValue};
use crate::format::snapshot::{Problem, Snapshot};
use crate::operation::list::{check_interrupted, lookup};
use crate::repository::{BlobReader, ContentCursor, RepositoryError, TreeCursor};

/// Whether everything that `brought` says is missing can be read from the source now: only then it is worth bringing
/// `source` again. What is read for that is what was lost, up to the first that is lost still.
///
/// # Errors
/// Those of the store that are no damage.
pub fn is_mended(
    reader: &mut BlobReader<'_>,
    source: &Snapshot,
    brought: &Snapshot,
    interrupted: &AtomicBool,
) -> Result<bool, RepositoryError> {
    let is_of_source = |problem: &&Problem| source.problems.contains(problem);
    let mut lost = brought.problems.iter().filter(|problem| !is_of_source(problem)).peekable();
    if lost.peek().is_none() {
        return Ok(false);
    }
    for problem in lost {
        let read = lookup(reader, source, &problem.path).and_then(|found| match found {
            Some(entry) => read_through(reader, &entry.node, interrupted).map(|()| true),
            None => Ok(false),
        });
        match read {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(error) if error.is_damage() => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Reads all that an entry has of its own: its content, or the names in it.
fn read_through(reader: &mut BlobReader<'_>, node: &Node, interrupted: &AtomicBool) -> Result<(), RepositoryError> {
    let stored = node.metadata.xattrs.iter().filter_map(|xattr| match &xattr.value {
        XattrValue::Stored(content) => Some(content),
        XattrValue::Inline(_) => None,
    });
    let content = match &node.kind {
        NodeKind::File { content, .. } => Some(content),
        _ => None,
    };
    for content in stored.chain(content) {
        let mut cursor = ContentCursor::new(content.clone());
        while let Some(part) = cursor.next(reader)? {
            check_interrupted(interrupted)?;
            reader.data(&part.id)?;
        }
    }
    if let NodeKind::Directory { tree } = &node.kind {
        let mut cursor = TreeCursor::new(*tree);
        while cursor.next(reader)?.is_some() {
            check_interrupted(interrupted)?;
        }
    }
    Ok(())
}
