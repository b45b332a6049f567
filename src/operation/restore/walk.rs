//! Walks the trees of a snapshot, makes directories and small things, and hands files to the writers.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crossbeam_channel::Sender;

use super::guard::{FileGuard, FolderGuard};
use super::write::{FileToWrite, RangeTask, Task};
use super::{RestoreError, RestoreStats, Run, Selected};
use crate::destination::{DestinationError, Existing, Folder, Kind, Overwrite, Special};
use crate::format::node::{Content, LinkGroup, Metadata, Node, NodeKind, Part, XattrValue};
use crate::operation::promise::Promise;
use crate::repository::{BlobReader, ContentCursor, TreeCursor};

/// A file longer than this is written by several threads, in bytes.
const LONG_FILE: u64 = 32 << 20;
/// So much at a time, in bytes.
const RANGE_BYTES: u64 = 8 << 20;
/// Short files go to a writer together: so many,
const BATCH_FILES: usize = 64;
/// or so many bytes.
const BATCH_BYTES: u64 = 4 << 20;

struct Frame<'a> {
    guard: Arc<FolderGuard<'a>>,
    cursor: TreeCursor,
    /// Whether entries may exist already.
    existed: bool,
    /// Names of the snapshot, when others are to be deleted.
    names: Option<HashSet<Vec<u8>>>,
}

/// The first name of a file that has several.
struct FirstName {
    path: Vec<Vec<u8>>,
    promise: Arc<Promise<bool>>,
}

struct Walker<'a> {
    run: &'a Run<'a>,
    reader: BlobReader<'a>,
    tasks: Sender<Task<'a>>,
    batch: Vec<FileToWrite>,
    batch_bytes: u64,
    batch_folder: Option<Arc<FolderGuard<'a>>>,
    path: Vec<Vec<u8>>,
    links: HashMap<LinkGroup, FirstName>,
}

/// Restores every selected entry; the writers end when this returns.
pub(super) fn walk<'a>(run: &'a Run<'a>, selected: &[Selected], tasks: Sender<Task<'a>>) -> Result<(), RestoreError> {
    let mut walker = Walker {
        run,
        reader: BlobReader::new(run.repository, run.index)?,
        tasks,
        batch: Vec::new(),
        batch_bytes: 0,
        batch_folder: None,
        path: Vec::new(),
        links: HashMap::new(),
    };
    for entry in selected {
        let folder = run.destination.root().make_path(&entry.above)?;
        walker.path = entry.above.split(|byte| *byte == b'/').filter(|n| !n.is_empty()).map(<[u8]>::to_vec).collect();
        let guard = Arc::new(FolderGuard { run, folder, metadata: None, above: None });
        walker.walk_one(&guard, entry.node.clone())?;
    }
    walker.flush()
}

impl<'a> Walker<'a> {
    fn walk_one(&mut self, above: &Arc<FolderGuard<'a>>, node: Node) -> Result<(), RestoreError> {
        let mut stack = Vec::new();
        // The root of the destination itself: `/` in place.
        if node.name.is_empty() {
            if let NodeKind::Directory { tree } = node.kind {
                self.push(&mut stack, Arc::clone(above), tree, true);
            }
        } else {
            self.entry(&mut stack, above, true, node)?;
        }
        while let Some(frame) = stack.last_mut() {
            if self.run.should_stop() {
                return Ok(());
            }
            let next = frame.cursor.next(&mut self.reader);
            let (guard, existed) = (Arc::clone(&frame.guard), frame.existed);
            match next {
                Ok(Some(entry)) => {
                    if let Some(names) = &mut frame.names {
                        names.insert(entry.node.name.clone());
                    }
                    self.entry(&mut stack, &guard, existed, entry.node)?;
                }
                Ok(None) => {
                    if let Some(names) = frame.names.take() {
                        self.delete_others(&guard.folder, &names);
                    }
                    stack.pop();
                    self.flush()?;
                    self.path.pop();
                }
                Err(error) => {
                    self.run.note(|| guard.folder.shown_path(), error.into());
                    stack.pop();
                    self.flush()?;
                    self.path.pop();
                }
            }
        }
        Ok(())
    }

    fn push(&self, stack: &mut Vec<Frame<'a>>, guard: Arc<FolderGuard<'a>>, tree: crate::id::BlobId, existed: bool) {
        let names = (self.run.options.delete && existed).then(HashSet::new);
        stack.push(Frame { guard, cursor: TreeCursor::new(tree), existed, names });
    }

    fn entry(
        &mut self,
        stack: &mut Vec<Frame<'a>>,
        guard: &Arc<FolderGuard<'a>>,
        existed: bool,
        mut node: Node,
    ) -> Result<(), RestoreError> {
        let shown = || guard.folder.shown_below(&node.name);
        let existing = match if existed { guard.folder.existing(&node.name) } else { Ok(None) } {
            Ok(existing) => existing,
            Err(error) => {
                self.run.note(shown, error.into());
                return Ok(());
            }
        };
        if let NodeKind::Directory { tree } = node.kind {
            return self.directory(stack, guard, existing, &node, tree);
        }
        if let Some(found) = &existing
            && !self.may_replace(&guard.folder, found, &node)
        {
            return Ok(());
        }
        if let Err(error) = self.load_xattrs(&mut node.metadata) {
            self.run.note(|| guard.folder.shown_below(&node.name), error);
            return Ok(());
        }
        let mut promise = None;
        if let Some(group) = node.links {
            if let Some(first) = self.links.get(&group) {
                let task = Task::Link {
                    folder: Arc::clone(guard),
                    name: node.name.clone(),
                    first: first.path.clone(),
                    promise: Arc::clone(&first.promise),
                    node: Box::new(node),
                };
                self.flush()?;
                return self.send(task);
            }
            let kept = Arc::new(Promise::new());
            let mut path = self.path.clone();
            path.push(node.name.clone());
            self.links.insert(group, FirstName { path, promise: Arc::clone(&kept) });
            promise = Some(kept);
        }
        match node.kind {
            NodeKind::File { .. } => self.file(guard, node, existing, promise),
            _ => {
                let done = self.special(guard, &node);
                if let Some(promise) = promise {
                    promise.give(done);
                }
                Ok(())
            }
        }
    }

    /// Whether what is there gives way, by the policy; a directory in the way is taken away when all is overwritten.
    fn may_replace(&self, folder: &Folder, found: &Existing, node: &Node) -> bool {
        let policy = self.run.options.overwrite;
        if found.kind == Kind::Directory {
            let removed = match policy {
                Overwrite::Always => folder.remove_all(&node.name),
                _ => Err(DestinationError::InTheWay { path: folder.shown_below(&node.name) }),
            };
            if let Err(error) = removed {
                self.run.note(|| folder.shown_below(&node.name), error.into());
                return false;
            }
            return true;
        }
        if policy.replaces(found, node) {
            return true;
        }
        RestoreStats::add(&self.run.stats.skipped, 1);
        self.run.progress.advance(1, 0);
        false
    }

    fn directory(
        &mut self,
        stack: &mut Vec<Frame<'a>>,
        guard: &Arc<FolderGuard<'a>>,
        existing: Option<Existing>,
        node: &Node,
        tree: crate::id::BlobId,
    ) -> Result<(), RestoreError> {
        self.flush()?;
        let mut metadata = node.metadata.clone();
        let made = match self.load_xattrs(&mut metadata) {
            Ok(()) => guard.folder.make(&node.name, self.run.options.overwrite).map_err(RestoreError::from),
            Err(error) => Err(error),
        };
        let (folder, found) = match made {
            Ok(made) => made,
            Err(error) => {
                self.run.note(|| guard.folder.shown_below(&node.name), error);
                return Ok(());
            }
        };
        let existed = found.is_some() || existing.is_some_and(|existing| existing.kind == Kind::Directory);
        if existed {
            let _ = folder.remove_leftovers();
        }
        RestoreStats::add(&self.run.stats.directories, 1);
        self.run.progress.advance(1, 0);
        let keeps_metadata = existed && self.run.options.overwrite == Overwrite::Never;
        let metadata = (!keeps_metadata).then_some(metadata);
        let guard = Arc::new(FolderGuard { run: self.run, folder, metadata, above: Some(Arc::clone(guard)) });
        self.path.push(node.name.clone());
        self.push(stack, guard, tree, existed);
        Ok(())
    }

    /// Fetches values of extended attributes that are in blobs of their own.
    fn load_xattrs(&mut self, metadata: &mut Metadata) -> Result<(), RestoreError> {
        for xattr in &mut metadata.xattrs {
            let XattrValue::Stored(content) = &xattr.value else { continue };
            let mut value = Vec::new();
            let mut cursor = ContentCursor::new(content.clone());
            while let Some(part) = cursor.next(&mut self.reader)? {
                let blob = self.reader.data(&part.id)?;
                // The kernel takes none over 64 KiB.
                if blob.len() as u64 != part.length || value.len() + blob.len() > 1 << 20 {
                    let what = "the value of an extended attribute has an impossible length";
                    let source = crate::format::DecodeError { what, at: 0 };
                    let name = format!("blob {}", part.id);
                    return Err(crate::repository::RepositoryError::Malformed { name, source }.into());
                }
                value.extend_from_slice(&blob);
            }
            xattr.value = XattrValue::Inline(value);
        }
        Ok(())
    }

    fn special(&self, guard: &FolderGuard<'_>, node: &Node) -> bool {
        let folder = &guard.folder;
        let what = match &node.kind {
            NodeKind::CharDevice { major, minor } => Special::CharDevice { major: *major, minor: *minor },
            NodeKind::BlockDevice { major, minor } => Special::BlockDevice { major: *major, minor: *minor },
            NodeKind::Socket => Special::Socket,
            _ => Special::Fifo,
        };
        let made = match &node.kind {
            NodeKind::Symlink { target } => folder.symlink(&node.name, target, &node.metadata),
            _ => folder.special(&node.name, what, &node.metadata),
        };
        self.run.progress.advance(1, 0);
        match made {
            Ok(problems) => {
                self.run.stats.metadata_problems(problems);
                RestoreStats::add(&self.run.stats.others, 1);
                true
            }
            Err(error) => {
                self.run.note(|| folder.shown_below(&node.name), error.into());
                false
            }
        }
    }

    fn file(
        &mut self,
        guard: &Arc<FolderGuard<'a>>,
        node: Node,
        existing: Option<Existing>,
        promise: Option<Arc<Promise<bool>>>,
    ) -> Result<(), RestoreError> {
        let NodeKind::File { content, .. } = &node.kind else { return Ok(()) };
        let length = content.length().unwrap_or(u64::MAX);
        if length <= LONG_FILE && content.level == 0 {
            if !self.batch_folder.as_ref().is_some_and(|folder| Arc::ptr_eq(folder, guard)) {
                self.flush()?;
                self.batch_folder = Some(Arc::clone(guard));
            }
            self.batch.push((node, existing, promise));
            self.batch_bytes += length;
            let full = self.batch.len() >= BATCH_FILES || self.batch_bytes >= BATCH_BYTES;
            return if full { self.flush() } else { Ok(()) };
        }
        self.flush()?;
        self.long_file(guard, node, existing, promise)
    }

    fn long_file(
        &mut self,
        guard: &Arc<FolderGuard<'a>>,
        node: Node,
        existing: Option<Existing>,
        promise: Option<Arc<Promise<bool>>>,
    ) -> Result<(), RestoreError> {
        let opened = super::write::open_file(self.run, &guard.folder, &node, existing.as_ref());
        let NodeKind::File { content, holes, .. } = node.kind else { return Ok(()) };
        let (writer, found_bytes) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.run.note(|| guard.folder.shown_below(&node.name), error);
                if let Some(promise) = promise {
                    promise.give(false);
                }
                return Ok(());
            }
        };
        let file = Arc::new(FileGuard {
            folder: Arc::clone(guard),
            name: node.name,
            metadata: node.metadata,
            writer: Some(writer),
            spoiled: std::sync::atomic::AtomicBool::new(false),
            promise,
        });
        let holes = Arc::new(holes);
        self.ranges(content, &mut |parts, offset| {
            Task::Range(RangeTask { file: Arc::clone(&file), holes: Arc::clone(&holes), parts, offset, found_bytes })
        })
        .or_else(|error| {
            file.spoiled.store(true, std::sync::atomic::Ordering::Relaxed);
            self.run.note(|| file.path(), error);
            Ok(())
        })
    }

    fn ranges(
        &mut self,
        content: Content,
        task: &mut dyn FnMut(Vec<Part>, u64) -> Task<'a>,
    ) -> Result<(), RestoreError> {
        let mut cursor = ContentCursor::new(content);
        let (mut parts, mut offset, mut length) = (Vec::new(), 0, 0);
        while let Some(part) = cursor.next(&mut self.reader)? {
            parts.push(part);
            length += part.length;
            if length >= RANGE_BYTES {
                self.send(task(std::mem::take(&mut parts), offset))?;
                offset += length;
                length = 0;
            }
        }
        if parts.is_empty() { Ok(()) } else { self.send(task(parts, offset)) }
    }

    fn flush(&mut self) -> Result<(), RestoreError> {
        let files = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        match self.batch_folder.take() {
            Some(folder) if !files.is_empty() => self.send(Task::Files { folder, files }),
            _ => Ok(()),
        }
    }

    fn send(&self, task: Task<'a>) -> Result<(), RestoreError> {
        self.tasks.send(task).map_err(|_| RestoreError::Thread)
    }

    fn delete_others(&self, folder: &Folder, kept: &HashSet<Vec<u8>>) {
        let names = match folder.names() {
            Ok(names) => names,
            Err(error) => return self.run.note(|| folder.shown_path(), error.into()),
        };
        for name in names {
            let removed = name.and_then(|name| {
                // A temporary of a writer that is still at work.
                if kept.contains(&name) || name.starts_with(b".bk-restore-") {
                    return Ok(());
                }
                folder.remove_all(&name)?;
                RestoreStats::add(&self.run.stats.deleted, 1);
                Ok(())
            });
            if let Err(error) = removed {
                self.run.note(|| folder.shown_path(), error.into());
            }
        }
    }
}
