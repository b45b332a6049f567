//! Writes file contents: every blob is checked against its id, and what is right already is not written again.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::Receiver;

use super::guard::{FileGuard, FolderGuard};
use super::{RestoreError, RestoreStats, Run};
use crate::destination::{Existing, FileWriter, Folder, Kind};
use crate::format::node::{Hole, Node, NodeKind, Part};
use crate::format::pack::MAX_SEGMENT_LEN;
use crate::operation::promise::Promise;
use crate::repository::BlobReader;

/// Part of a long file.
pub(super) struct RangeTask<'a> {
    pub(super) file: Arc<FileGuard<'a>>,
    pub(super) holes: Arc<Vec<Hole>>,
    pub(super) parts: Vec<Part>,
    /// Offset in the content, holes not counted, in bytes.
    pub(super) offset: u64,
    /// Length of what was there before, in bytes.
    pub(super) found_bytes: u64,
}

/// A short file, what is there already, and who waits for it.
pub(super) type FileToWrite = (Node, Option<Existing>, Option<Arc<Promise<bool>>>);

/// What a writer is given.
pub(super) enum Task<'a> {
    /// Short files of one directory.
    Files { folder: Arc<FolderGuard<'a>>, files: Vec<FileToWrite> },
    /// Part of a long file.
    Range(RangeTask<'a>),
    /// Another name of a file.
    Link {
        folder: Arc<FolderGuard<'a>>,
        name: Vec<u8>,
        first: Vec<Vec<u8>>,
        promise: Arc<Promise<bool>>,
        node: Box<Node>,
    },
}

/// Does tasks until there are no more.
pub(super) fn write_files<'a>(run: &'a Run<'a>, tasks: &Receiver<Task<'a>>) {
    let mut reader = match BlobReader::new(run.repository, run.index) {
        Ok(reader) => reader.with_ahead(run.ahead),
        Err(error) => {
            run.fail(error.into());
            tasks.iter().for_each(drop);
            return;
        }
    };
    let mut existing = Vec::new();
    for task in tasks {
        match task {
            Task::Files { folder, files } => {
                for (node, found, promise) in files {
                    write_short(run, &mut reader, &folder, node, found, promise, &mut existing);
                }
            }
            Task::Range(task) if run.should_stop() => drop(task),
            Task::Range(task) => {
                let Some(writer) = &task.file.writer else { continue };
                let written = Writing {
                    run,
                    reader: &mut reader,
                    writer,
                    found_bytes: task.found_bytes,
                    existing: &mut existing,
                }
                .parts(&task.parts, task.offset, &task.holes);
                if let Err(error) = written {
                    task.file.spoiled.store(true, Ordering::Relaxed);
                    run.note(|| task.file.path(), error);
                }
            }
            Task::Link { folder, name, first, promise, node } => link(run, &folder, &name, &first, &promise, &node),
        }
    }
}

/// Opens a file for writing, in place when it is there already; gives the length of what is there too.
pub(super) fn open_file(
    run: &Run<'_>,
    folder: &Folder,
    node: &Node,
    existing: Option<&Existing>,
) -> Result<(FileWriter, u64), RestoreError> {
    run.progress.current(folder.shown_below(&node.name).as_bytes());
    let NodeKind::File { size, holes, .. } = &node.kind else { return Err(RestoreError::Thread) };
    let in_place = existing.is_some_and(|existing| existing.kind == Kind::File && existing.names == 1);
    let opened = if in_place && node.links.is_none() { folder.open_existing(&node.name)? } else { None };
    let writer = match opened {
        Some(writer) => writer,
        None => folder.create_file(&node.name)?,
    };
    let found_bytes = writer.found_bytes();
    if *size > 0 || found_bytes > 0 {
        let sets = found_bytes != *size && (found_bytes > *size || !holes.is_empty());
        if sets {
            writer.set_len(*size)?;
        }
    }
    if found_bytes > 0 {
        for hole in holes {
            writer.punch(*hole)?;
        }
    }
    Ok((writer, found_bytes))
}

fn write_short<'a>(
    run: &'a Run<'a>,
    reader: &mut BlobReader<'a>,
    folder: &Arc<FolderGuard<'a>>,
    node: Node,
    found: Option<Existing>,
    promise: Option<Arc<Promise<bool>>>,
    existing: &mut Vec<u8>,
) {
    let give_up = |error| {
        run.note(|| folder.folder.shown_below(&node.name), error);
        if let Some(promise) = &promise {
            promise.give(false);
        }
    };
    if run.should_stop() {
        if let Some(promise) = &promise {
            promise.give(false);
        }
        return;
    }
    let (writer, found_bytes) = match open_file(run, &folder.folder, &node, found.as_ref()) {
        Ok(opened) => opened,
        Err(error) => return give_up(error),
    };
    let NodeKind::File { content, holes, .. } = &node.kind else { return };
    let written = Writing { run, reader, writer: &writer, found_bytes, existing }.parts(&content.parts, 0, holes);
    if let Err(error) = written {
        return give_up(error);
    }
    drop(FileGuard {
        folder: Arc::clone(folder),
        name: node.name.clone(),
        metadata: node.metadata.clone(),
        writer: Some(writer),
        spoiled: std::sync::atomic::AtomicBool::new(false),
        promise,
    });
    run.progress.advance(1, 0);
}

struct Writing<'r, 'a> {
    run: &'r Run<'a>,
    reader: &'r mut BlobReader<'a>,
    writer: &'r FileWriter,
    found_bytes: u64,
    existing: &'r mut Vec<u8>,
}

impl Writing<'_, '_> {
    /// Writes parts that follow each other from `offset` of the content on.
    fn parts(&mut self, parts: &[Part], mut offset: u64, holes: &[Hole]) -> Result<(), RestoreError> {
        for part in parts {
            if self.run.should_stop() {
                return Err(RestoreError::Interrupted);
            }
            let pieces = Pieces { holes, offset, length: part.length };
            if !self.is_there(part, &pieces)? {
                let blob = self.reader.data(&part.id)?;
                let mut rest: &[u8] = &blob;
                if rest.len() as u64 != part.length {
                    let what = "a blob has not the length that a file says";
                    let source = crate::format::DecodeError { what, at: 0 };
                    let name = format!("blob {}", part.id);
                    return Err(crate::repository::RepositoryError::Malformed { name, source }.into());
                }
                for (at, length) in pieces.iter() {
                    let (now, later) = rest.split_at_checked(length).unwrap_or((rest, &[]));
                    self.writer.write_at(at, now)?;
                    rest = later;
                }
                RestoreStats::add(&self.run.stats.written_bytes, part.length);
            }
            offset += part.length;
            self.run.progress.advance(0, part.length);
        }
        Ok(())
    }

    /// Whether the file holds the part already.
    fn is_there(&mut self, part: &Part, pieces: &Pieces<'_>) -> Result<bool, RestoreError> {
        let end = pieces.iter().last().map_or(0, |(at, length)| at + length as u64);
        // No blob is longer: what claims to be must not take memory.
        if self.found_bytes == 0 || end > self.found_bytes || part.length > MAX_SEGMENT_LEN as u64 {
            return Ok(false);
        }
        self.existing.resize(usize::try_from(part.length).unwrap_or(0), 0);
        let mut filled = 0;
        for (at, length) in pieces.iter() {
            let mut done = 0;
            while done < length {
                let room = self.existing.get_mut(filled + done..filled + length).unwrap_or_default();
                match self.writer.read_at(at + done as u64, room)? {
                    0 => return Ok(false),
                    read => done += read,
                }
            }
            filled += length;
        }
        let same = self.run.repository.keys().identifier().data(self.existing) == part.id;
        if same {
            RestoreStats::add(&self.run.stats.kept_bytes, part.length);
        }
        Ok(same)
    }
}

/// Where in the file a stretch of the content lies: pieces between the holes.
pub(super) struct Pieces<'a> {
    pub(super) holes: &'a [Hole],
    /// Offset in the content, in bytes.
    pub(super) offset: u64,
    pub(super) length: u64,
}

impl Pieces<'_> {
    /// Offset in the file and length of each piece, in bytes.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, usize)> {
        let mut holes = self.holes.iter().peekable();
        let (mut skipped, mut at, end) = (0_u64, self.offset, self.offset + self.length);
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            while let Some(hole) = holes.next_if(|hole| hole.offset <= at + skipped) {
                skipped += hole.length;
            }
            let place = at + skipped;
            let room = holes.peek().map_or(u64::MAX, |hole| hole.offset - place);
            let length = room.min(end - at);
            at += length;
            Some((place, length as usize))
        })
    }
}

fn link(run: &Run<'_>, folder: &FolderGuard<'_>, name: &[u8], first: &[Vec<u8>], promise: &Promise<bool>, node: &Node) {
    run.progress.advance(1, 0);
    let shown = || folder.folder.shown_below(name);
    if !promise.wait() {
        if !run.should_stop() {
            run.stats.problem(shown(), "its content could not be restored under its first name".into(), false);
        }
        return;
    }
    let linked = || -> Result<(), RestoreError> {
        let mut from = run.destination.root();
        let (last, above) = first.split_last().ok_or(RestoreError::Thread)?;
        for name in above {
            from = from.enter(name)?;
        }
        folder.folder.hard_link(&from, last, name)?;
        Ok(())
    };
    match linked() {
        Ok(()) => {
            let counter = if matches!(node.kind, NodeKind::File { .. }) { &run.stats.files } else { &run.stats.others };
            RestoreStats::add(counter, 1);
        }
        Err(error) => run.note(shown, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_of_content_is_put_around_the_holes() {
        let holes = [Hole { offset: 0, length: 10 }, Hole { offset: 15, length: 5 }];
        let pieces = |offset, length| Pieces { holes: &holes, offset, length }.iter().collect::<Vec<_>>();
        assert_eq!(pieces(0, 5), [(10, 5)]);
        assert_eq!(pieces(0, 8), [(10, 5), (20, 3)]);
        assert_eq!(pieces(5, 2), [(20, 2)]);
        assert_eq!(pieces(3, 4), [(13, 2), (20, 2)]);
        assert_eq!(pieces(0, 0), []);
    }
}
