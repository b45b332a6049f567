//! Walks a snapshot of the source in the order of trees, beside the one that it is compared with: what is the same is
//! taken over, what is not goes to the readers.

use crossbeam_channel::{Sender, bounded};

use super::file::Carrier;
use super::known::{self, Counts};
use super::shared::{Batch, Done, Entry, FileCount, FileTask, Folder, Item, Shared, Slot};
use crate::format::node::{Content, Node, NodeKind};
use crate::format::snapshot::{Root, Snapshot};
use crate::id::BlobId;
use crate::operation::freshness::Freshness;
use crate::operation::list::{MAX_NESTING, join, too_deep, tree_of};
use crate::repository::{BlobReader, RepositoryError, TreeCursor, TreeEntry};

/// A batch is closed at so many files to read,
const BATCH_FILES: usize = 64;
/// at so many bytes to read,
const BATCH_BYTES: u64 = 1 << 20;
/// or at so many entries.
const BATCH_ENTRIES: usize = 1024;

/// A folder that is walked beside another.
struct Cursor {
    cursor: TreeCursor,
    ahead: Option<TreeEntry>,
}

impl Cursor {
    const fn new(tree: BlobId) -> Self {
        Self { cursor: TreeCursor::new(tree), ahead: None }
    }

    fn seek(&mut self, reader: &mut BlobReader<'_>, name: &[u8]) -> Result<Option<Node>, RepositoryError> {
        Ok(self.cursor.seek(reader, &mut self.ahead, name)?.map(|entry| entry.node))
    }
}

/// An entry of the snapshot that this one is compared with: as the source has it, and what it became.
type Before = Option<[Node; 2]>;

struct Frame {
    cursor: TreeCursor,
    /// The folder of the snapshot that this one is compared with, in the source and in the target.
    before: Option<[Cursor; 2]>,
    path: Vec<u8>,
}

struct Walker<'a> {
    shared: &'a Shared<'a>,
    carrier: Carrier<'a>,
    target: BlobReader<'a>,
    items: Sender<Item>,
    tasks: Sender<Batch>,
    slots: Vec<Slot>,
    batch_files: usize,
    batch_bytes: u64,
}

/// Why the walk ended early.
enum End {
    /// The other end is gone, or the user wants it.
    Gone,
    /// An error that is no damage.
    Failed(RepositoryError),
}

impl From<RepositoryError> for End {
    fn from(error: RepositoryError) -> Self {
        Self::Failed(error)
    }
}

/// Walks every root and tells the tree builder and the readers.
pub(super) fn walk(shared: &Shared<'_>, snapshot: &Snapshot, items: Sender<Item>, tasks: Sender<Batch>) {
    let opened = Carrier::new(shared).and_then(|carrier| Ok((carrier, BlobReader::new(shared.to, shared.index)?)));
    let (carrier, target) = match opened {
        Ok(opened) => opened,
        Err(error) => return shared.writer.fail(error),
    };
    let (slots, batch_files, batch_bytes) = (Vec::new(), 0, 0);
    let mut walker = Walker { shared, carrier, target, items, tasks, slots, batch_files, batch_bytes };
    let walked = snapshot.roots.iter().try_for_each(|root| walker.root(root));
    let walked = walked.and_then(|()| walker.send(Item::End));
    if let Err(End::Failed(error)) = walked {
        walker.carrier.fail(error);
    }
    // The readers end once nothing can come any more.
    let Walker { carrier, .. } = walker;
    carrier.end();
}

impl Walker<'_> {
    fn send(&self, item: Item) -> Result<(), End> {
        if self.shared.should_stop() {
            return Err(End::Gone);
        }
        self.items.send(item).map_err(|_| End::Gone)
    }

    fn root(&mut self, root: &Root) -> Result<(), End> {
        let same = |one: &&Root| one.path == root.path;
        let before = self.shared.base.and_then(|base| {
            let [source, target] = base.map(|info| info.snapshot.roots.iter().find(same));
            Some([source?.node.clone(), target?.node.clone()])
        });
        let (path, restore_name) = (root.path.clone(), root.restore_name.clone());
        self.send(Item::Root { path: path.clone(), restore_name })?;
        let mut stack = Vec::new();
        self.entry(&mut stack, root.node.clone(), before, path)?;
        while let Some(frame) = stack.last_mut() {
            match frame.cursor.next(&mut self.carrier.reader) {
                Ok(Some(entry)) => {
                    let node = entry.node;
                    let path = join(&frame.path, &node.name);
                    let before = self.before(frame, &node.name);
                    self.entry(&mut stack, node, before, path)?;
                    continue;
                }
                Ok(None) => {}
                Err(error) => {
                    self.shared.lose(&frame.path, error)?;
                    self.send(Item::Lost)?;
                }
            }
            stack.pop();
            self.flush()?;
            self.send(Item::Leave)?;
        }
        self.flush()
    }

    /// The entry of the same name in the snapshot that this one is compared with; without one that can be read,
    /// everything is simply read.
    fn before(&mut self, frame: &mut Frame, name: &[u8]) -> Before {
        let [source, target] = frame.before.as_mut()?;
        let found = source.seek(&mut self.carrier.reader, name).and_then(|source| {
            let target = target.seek(&mut self.target, name)?;
            Ok(source.zip(target))
        });
        match found {
            Ok(found) => found.map(|(source, target)| [source, target]),
            Err(error) => {
                self.shared.progress.warn(&format!("the snapshot before cannot be used for comparing here: {error}"));
                frame.before = None;
                None
            }
        }
    }

    fn entry(&mut self, stack: &mut Vec<Frame>, node: Node, before: Before, path: Vec<u8>) -> Result<(), End> {
        match tree_of(&node) {
            Some(tree) => self.folder(stack, node, tree, before, path),
            None if matches!(node.kind, NodeKind::File { .. }) => self.file(node, before, path),
            None => {
                let mut node = node;
                let whole = self.carrier.xattrs(&mut node, &path)?;
                self.shared.progress.advance(1, 0);
                self.slot(Slot::Ready(Entry { node, file: None, whole }))
            }
        }
    }

    fn folder(
        &mut self,
        stack: &mut Vec<Frame>,
        mut node: Node,
        tree: BlobId,
        before: Before,
        path: Vec<u8>,
    ) -> Result<(), End> {
        self.flush()?;
        let whole = self.carrier.xattrs(&mut node, &path)?;
        let before = before.as_ref().map(|pair| pair.each_ref().map(tree_of));
        let before = if let Some([Some(source), Some(target)]) = before { Some([source, target]) } else { None };
        let folder = Box::new(Folder { name: node.name, metadata: node.metadata, tree });
        if !whole {
            self.send(Item::Lost)?;
        }
        if let Some((known, counts)) = self.known(&tree, before)? {
            let is_same = before.is_some_and(|[source, _]| source == tree);
            let freshness = if is_same { Freshness::Unchanged } else { Freshness::New };
            self.shared.progress.advance(counts.files + counts.directories + counts.others + 1, counts.total_bytes);
            return self.send(Item::Known { folder, tree: known, counts, freshness });
        }
        self.shared.progress.advance(1, 0);
        self.send(Item::Enter(folder))?;
        if stack.len() >= MAX_NESTING {
            self.shared.lose(&path, too_deep(&tree))?;
            self.send(Item::Lost)?;
            return self.send(Item::Leave);
        }
        let before = before.map(|pair| pair.map(Cursor::new));
        stack.push(Frame { cursor: TreeCursor::new(tree), before, path });
        Ok(())
    }

    /// What a tree of the source has become already, when all of it is there.
    fn known(
        &mut self,
        tree: &BlobId,
        before: Option<[BlobId; 2]>,
    ) -> Result<Option<(BlobId, Counts)>, RepositoryError> {
        let Shared { writer, known, .. } = *self.shared;
        if let Some(found) = known.became(tree) {
            return Ok(Some(found));
        }
        let Some([_, target]) = before.filter(|[source, _]| source == tree) else { return Ok(None) };
        let Some(counts) = known::rely_on(&mut self.target, writer, known, target)? else { return Ok(None) };
        known.note(*tree, target, counts);
        Ok(Some((target, counts)))
    }

    fn file(&mut self, node: Node, before: Before, path: Vec<u8>) -> Result<(), End> {
        let NodeKind::File { size, content, .. } = &node.kind else { return Ok(()) };
        let size = *size;
        let freshness = match &before {
            None => Freshness::New,
            Some([source, _]) if *source == node => Freshness::Unchanged,
            Some(_) => Freshness::Changed,
        };
        if let Some(mut known) = before.and_then(|[source, target]| self.taken_over(&node, content, &source, target)) {
            let whole = freshness == Freshness::Unchanged || self.carrier.xattrs(&mut known, &path)?;
            self.shared.progress.advance(1, size);
            let file = Some(FileCount { size, freshness, read_bytes: 0 });
            return self.slot(Slot::Ready(Entry { node: known, file, whole }));
        }
        self.batch_files += 1;
        self.batch_bytes += size;
        self.slot(Slot::Read(Box::new(FileTask { node, path, freshness })))
    }

    /// The entry for the target, with the content that the target has, when the content in the source is what it was. Of
    /// an entry that is the same altogether the extended attributes are taken over, too.
    fn taken_over(&mut self, node: &Node, content: &Content, before: &Node, target: Node) -> Option<Node> {
        let NodeKind::File { content: content_before, .. } = &before.kind else { return None };
        let is_there = content == content_before && known::has_node(&mut self.target, self.shared.writer, &target);
        let NodeKind::File { content: stored, class: stored_class, .. } = target.kind else { return None };
        if !is_there || stored.length() != content.length() {
            return None;
        }
        let mut taken = node.clone();
        if let NodeKind::File { content, class, .. } = &mut taken.kind {
            (*content, *class) = (stored, stored_class);
        }
        if before == node {
            taken.metadata.xattrs = target.metadata.xattrs;
        }
        Some(taken)
    }

    fn slot(&mut self, slot: Slot) -> Result<(), End> {
        self.slots.push(slot);
        let is_full =
            self.slots.len() >= BATCH_ENTRIES || self.batch_files >= BATCH_FILES || self.batch_bytes >= BATCH_BYTES;
        if is_full { self.flush() } else { Ok(()) }
    }

    /// Hands the gathered entries on: to the readers when something in them must be read.
    fn flush(&mut self) -> Result<(), End> {
        let slots = std::mem::take(&mut self.slots);
        let files = std::mem::take(&mut self.batch_files);
        self.batch_bytes = 0;
        if slots.is_empty() {
            return Ok(());
        }
        if files == 0 {
            let ready = |slot| match slot {
                Slot::Ready(entry) => Some(Some(entry)),
                Slot::Read(_) => None,
            };
            return self.send(Item::Ready(slots.into_iter().filter_map(ready).collect::<Vec<Done>>()));
        }
        let (done, result) = bounded(1);
        self.send(Item::Pending(result))?;
        self.tasks.send(Batch { slots, done }).map_err(|_| End::Gone)
    }
}
