//! Builds the trees of an imported snapshot from entries that come in order.

use crossbeam_channel::Receiver;

use super::known::Counts;
use super::shared::{Entry, FileCount, Folder, Item, Shared};
use crate::format::node::{Node, NodeKind};
use crate::format::pack::PackKind;
use crate::format::snapshot::{Root, Statistics};
use crate::format::tree::{TreeWriter, encode_node};
use crate::operation::cut::store_tree;
use crate::repository::{RepositoryError, SegmentBuilder};

struct Level<'a> {
    folder: Folder,
    writer: TreeWriter<'a>,
    counts: Counts,
    /// Nothing of it is missing.
    whole: bool,
}

struct Assembler<'a> {
    shared: &'a Shared<'a>,
    builder: SegmentBuilder<'a>,
    stack: Vec<Level<'a>>,
    root: Option<(Vec<u8>, Vec<u8>)>,
    roots: Vec<Root>,
    statistics: Statistics,
}

/// Builds trees until [`Item::End`]; gives the roots and what was counted.
pub(super) fn assemble(
    shared: &Shared<'_>,
    items: &Receiver<Item>,
) -> Result<(Vec<Root>, Statistics), RepositoryError> {
    let mut assembler = Assembler {
        shared,
        builder: shared.writer.segment_builder(PackKind::Tree),
        stack: Vec::new(),
        root: None,
        roots: Vec::new(),
        statistics: Statistics::default(),
    };
    for item in items {
        if matches!(item, Item::End) {
            assembler.builder.flush()?;
            return Ok((assembler.roots, assembler.statistics));
        }
        assembler.take(item)?;
    }
    // The walk ended early: it was stopped, or a thread failed and says why elsewhere.
    assembler.builder.flush()?;
    Err(RepositoryError::Stopped)
}

impl Assembler<'_> {
    fn take(&mut self, item: Item) -> Result<(), RepositoryError> {
        match item {
            Item::Root { path, restore_name } => self.root = Some((path, restore_name)),
            Item::Enter(folder) => {
                let writer = TreeWriter::new(self.shared.to.keys().identifier());
                self.stack.push(Level { folder: *folder, writer, counts: Counts::default(), whole: true });
            }
            Item::Known { folder, tree, counts, freshness } => {
                freshness.count(counts.files, &mut self.statistics);
                let Folder { name, metadata, .. } = *folder;
                let node = Node { name, metadata, links: None, kind: NodeKind::Directory { tree } };
                self.push(node, counts)?;
            }
            Item::Ready(entries) => self.push_all(entries)?,
            Item::Pending(entries) => self.push_all(entries.recv().map_err(|_| RepositoryError::Stopped)?)?,
            Item::Lost => self.lost(),
            Item::Leave => self.leave()?,
            Item::End => {}
        }
        Ok(())
    }

    fn lost(&mut self) {
        if let Some(level) = self.stack.last_mut() {
            level.whole = false;
        }
    }

    fn push_all(&mut self, entries: Vec<Option<Entry>>) -> Result<(), RepositoryError> {
        for entry in entries {
            let Some(Entry { node, file, whole }) = entry else {
                self.lost();
                continue;
            };
            if !whole {
                self.lost();
            }
            let mut counts = Counts::default();
            match file {
                None => counts.others = 1,
                Some(FileCount { size, freshness, read_bytes }) => {
                    (counts.files, counts.total_bytes) = (1, size);
                    self.statistics.read_bytes += read_bytes;
                    freshness.count(1, &mut self.statistics);
                }
            }
            self.push(node, counts)?;
        }
        Ok(())
    }

    /// Adds an entry to the folder, and what is below it to what is counted.
    fn push(&mut self, node: Node, below: Counts) -> Result<(), RepositoryError> {
        let is_folder = matches!(node.kind, NodeKind::Directory { .. });
        let Some(level) = self.stack.last_mut() else {
            let statistics = &mut self.statistics;
            statistics.files += below.files;
            statistics.directories += below.directories + u64::from(is_folder);
            statistics.others += below.others;
            statistics.total_bytes += below.total_bytes;
            let root = self.root.take();
            self.roots.extend(root.map(|(path, restore_name)| Root { path, restore_name, node }));
            return Ok(());
        };
        level.counts.add(below);
        level.counts.directories += u64::from(is_folder);
        let (shared, builder) = (self.shared, &mut self.builder);
        let store = &mut |blob: Vec<u8>| store_tree(shared.to, shared.writer, builder, &blob);
        level.writer.push(&node.name, &encode_node(&node), store)
    }

    fn leave(&mut self) -> Result<(), RepositoryError> {
        let Some(Level { folder, writer, counts, whole }) = self.stack.pop() else { return Ok(()) };
        let (shared, builder) = (self.shared, &mut self.builder);
        let tree = writer.finish(&mut |blob: Vec<u8>| store_tree(shared.to, shared.writer, builder, &blob))?;
        if whole {
            shared.known.note(folder.tree, tree, counts);
        } else {
            self.lost();
        }
        let Folder { name, metadata, .. } = folder;
        self.push(Node { name, metadata, links: None, kind: NodeKind::Directory { tree } }, counts)
    }
}
