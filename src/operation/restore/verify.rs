//! Reads what was restored from the disk again and compares it with the snapshot.

use std::os::unix::fs::FileExt;

use super::write::Pieces;
use super::{RestoreError, RestoreProblem, Selected};
use crate::destination::{Destination, Folder, Kind};
use crate::format::node::{Node, NodeKind};
use crate::format::pack::MAX_SEGMENT_LEN;
use crate::progress::Progress;
use crate::repository::{BlobReader, ContentCursor, TreeCursor};

/// Everything that differs from the snapshot; empty when nothing does.
///
/// # Errors
/// When the trees of the snapshot cannot be read.
pub fn verify(
    reader: &mut BlobReader<'_>,
    selected: &[Selected],
    destination: &Destination,
    progress: &dyn Progress,
) -> Result<Vec<RestoreProblem>, RestoreError> {
    let mut differences = Vec::new();
    for entry in selected {
        let mut folder = destination.root();
        for name in entry.above.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            folder = folder.enter(name)?;
        }
        let mut stack: Vec<(Folder, TreeCursor)> = Vec::new();
        if let (true, NodeKind::Directory { tree }) = (entry.node.name.is_empty(), &entry.node.kind) {
            stack.push((folder, TreeCursor::new(*tree)));
        } else {
            compare(reader, &folder, &entry.node, &mut stack, &mut differences)?;
        }
        while let Some((folder, cursor)) = stack.last_mut() {
            let folder = folder.clone();
            match cursor.next(reader)? {
                Some(entry) => {
                    progress.current(folder.shown_below(&entry.node.name).as_bytes());
                    compare(reader, &folder, &entry.node, &mut stack, &mut differences)?;
                    progress.advance(1, file_size(&entry.node));
                }
                None => drop(stack.pop()),
            }
        }
    }
    Ok(differences)
}

const fn file_size(node: &Node) -> u64 {
    match node.kind {
        NodeKind::File { size, .. } => size,
        _ => 0,
    }
}

fn compare(
    reader: &mut BlobReader<'_>,
    folder: &Folder,
    node: &Node,
    stack: &mut Vec<(Folder, TreeCursor)>,
    differences: &mut Vec<RestoreProblem>,
) -> Result<(), RestoreError> {
    let path = folder.shown_below(&node.name);
    let mut differs = |message: &str| {
        differences.push(RestoreProblem { path: path.clone(), message: message.to_owned(), damage: false });
    };
    let Ok(Some(found)) = folder.existing(&node.name) else {
        differs("it is not there");
        return Ok(());
    };
    let kind = match &node.kind {
        NodeKind::File { .. } => Kind::File,
        NodeKind::Directory { .. } => Kind::Directory,
        NodeKind::Symlink { .. } => Kind::Symlink,
        NodeKind::CharDevice { .. } => Kind::CharDevice,
        NodeKind::BlockDevice { .. } => Kind::BlockDevice,
        NodeKind::Fifo => Kind::Fifo,
        NodeKind::Socket => Kind::Socket,
    };
    if found.kind != kind {
        differs("it is of another kind");
        return Ok(());
    }
    if kind != Kind::Symlink && found.mode != node.metadata.mode {
        differs("its mode is another");
    }
    if found.mtime != node.metadata.mtime {
        differs("its time of modification is another");
    }
    match &node.kind {
        NodeKind::Directory { tree } => match folder.enter(&node.name) {
            Ok(below) => stack.push((below, TreeCursor::new(*tree))),
            Err(error) => differs(&error.to_string()),
        },
        NodeKind::Symlink { target } if folder.read_link(&node.name).ok().as_ref() != Some(target) => {
            differs("it points elsewhere");
        }
        NodeKind::File { size, .. } if found.size_bytes != *size => differs("its length is another"),
        NodeKind::File { .. } => {
            if let Err(message) = compare_content(reader, folder, node)? {
                differs(&message);
            }
        }
        _ => {}
    }
    Ok(())
}

fn compare_content(
    reader: &mut BlobReader<'_>,
    folder: &Folder,
    node: &Node,
) -> Result<Result<(), String>, RestoreError> {
    let NodeKind::File { content, holes, .. } = &node.kind else { return Ok(Ok(())) };
    let file = match folder.open_read(&node.name) {
        Ok(file) => file,
        Err(error) => return Ok(Err(error.to_string())),
    };
    // What is in memory only proves that it was written; the disk is what counts.
    let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    let mut cursor = ContentCursor::new(content.clone());
    let mut offset = 0;
    let mut bytes = Vec::new();
    while let Some(part) = cursor.next(reader)? {
        if part.length > MAX_SEGMENT_LEN as u64 {
            return Ok(Err(format!("it cannot have a blob of {} bytes", part.length)));
        }
        bytes.resize(usize::try_from(part.length).unwrap_or(0), 0);
        let mut filled = 0;
        for (at, length) in (Pieces { holes, offset, length: part.length }).iter() {
            let room = bytes.get_mut(filled..filled + length).unwrap_or_default();
            if let Err(error) = file.read_exact_at(room, at) {
                return Ok(Err(format!("it cannot be read at byte {at}: {error}")));
            }
            filled += length;
        }
        if reader.repository().keys().identifier().data(&bytes) != part.id {
            return Ok(Err(format!("its content differs after byte {offset} of its data")));
        }
        offset += part.length;
    }
    for hole in holes {
        if let Some(at) = first_byte_in_hole(&file, hole.offset, hole.length) {
            return Ok(Err(format!("it has data at byte {at} where the original has a hole")));
        }
    }
    Ok(Ok(()))
}

/// The first byte in a range that is not zero.
fn first_byte_in_hole(file: &std::fs::File, offset: u64, length: u64) -> Option<u64> {
    use rustix::fs::{SeekFrom, seek};
    let end = offset + length;
    let mut at = offset;
    let mut buffer = vec![0; 64 << 10];
    while at < end {
        at = match seek(file, SeekFrom::Data(at)) {
            Ok(data) if data < end => data,
            _ => return None,
        };
        let wanted = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
        let read = file.read_at(buffer.get_mut(..wanted).unwrap_or_default(), at).ok()?;
        let filled = buffer.get(..read).unwrap_or_default();
        if let Some(found) = filled.iter().position(|byte| *byte != 0) {
            return Some(at + found as u64);
        }
        if read == 0 {
            return None;
        }
        at += read as u64;
    }
    None
}
