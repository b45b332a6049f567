//! Builds the trees of a snapshot from entries that come in order.

use crossbeam_channel::Receiver;

use super::BackupError;
use super::shared::{Directory, EncodedEntry, FileCount, Item, Shared};
use crate::format::cbor::Reader;
use crate::format::node::{Node, NodeKind};
use crate::format::pack::PackKind;
use crate::format::snapshot::{Root, Statistics};
use crate::format::tree::{TreeWriter, decode_node, encode_node};
use crate::operation::cut::store_tree;
use crate::repository::{RepositoryError, SegmentBuilder};

struct Level<'a> {
    directory: Directory,
    writer: TreeWriter<'a>,
    filled: bool,
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
pub(super) fn assemble(shared: &Shared<'_>, items: &Receiver<Item>) -> Result<(Vec<Root>, Statistics), BackupError> {
    let mut assembler = Assembler {
        shared,
        builder: shared.writer.segment_builder(PackKind::Tree),
        stack: Vec::new(),
        root: None,
        roots: Vec::new(),
        statistics: Statistics::default(),
    };
    for item in items {
        match item {
            Item::End => {
                assembler.builder.flush()?;
                return Ok((assembler.roots, assembler.statistics));
            }
            item => assembler.take(item)?,
        }
    }
    // The walk ended early: it was stopped, or a thread failed and says why elsewhere.
    assembler.builder.flush()?;
    Err(RepositoryError::Stopped.into())
}

impl<'a> Assembler<'a> {
    fn take(&mut self, item: Item) -> Result<(), RepositoryError> {
        match item {
            Item::Root { path, restore_name } => self.root = Some((path, restore_name)),
            Item::Enter(directory) => {
                self.statistics.directories += 1;
                let writer = TreeWriter::new(self.shared.repository.keys().identifier());
                self.stack.push(Level { directory: *directory, writer, filled: false });
            }
            Item::Ready(entries) => self.push_all(entries)?,
            Item::Pending(entries) => self.push_all(entries.recv().map_err(|_| RepositoryError::Stopped)?)?,
            Item::Leave => self.leave()?,
            Item::End => {}
        }
        Ok(())
    }

    fn push_all(&mut self, entries: Vec<EncodedEntry>) -> Result<(), RepositoryError> {
        for entry in entries {
            self.count(&entry);
            self.push(&entry.name, &entry.encoded)?;
        }
        Ok(())
    }

    const fn count(&mut self, entry: &EncodedEntry) {
        let Some(FileCount { size, freshness, read }) = entry.file else {
            self.statistics.others += 1;
            return;
        };
        self.statistics.files += 1;
        self.statistics.total_bytes += size;
        freshness.count(1, &mut self.statistics);
        if read {
            self.statistics.read_bytes += size;
        }
    }

    fn push(&mut self, name: &[u8], encoded: &[u8]) -> Result<(), RepositoryError> {
        let Some(level) = self.stack.last_mut() else { return self.push_root(encoded) };
        level.filled = true;
        let (shared, builder) = (self.shared, &mut self.builder);
        level.writer.push(name, encoded, &mut |blob| store_tree(shared.repository, shared.writer, builder, &blob))
    }

    fn push_root(&mut self, encoded: &[u8]) -> Result<(), RepositoryError> {
        let Some((path, restore_name)) = self.root.take() else { return Ok(()) };
        let mut node = decode_node(&mut Reader::new(encoded))
            .map_err(|source| RepositoryError::Malformed { name: "the root of this run".into(), source })?;
        // A root that is a link has the name of the link, not of what it points to.
        node.name = restore_name.rsplit(|byte| *byte == b'/').next().unwrap_or_default().to_vec();
        self.roots.push(Root { path, restore_name, node });
        Ok(())
    }

    fn leave(&mut self) -> Result<(), RepositoryError> {
        let Some(level) = self.stack.pop() else { return Ok(()) };
        if level.directory.only_if_filled && !level.filled {
            self.statistics.directories -= 1;
            return Ok(());
        }
        let (shared, builder) = (self.shared, &mut self.builder);
        let tree = level.writer.finish(&mut |blob| store_tree(shared.repository, shared.writer, builder, &blob))?;
        let Directory { name, metadata, .. } = level.directory;
        let node = Node { name, metadata, links: None, kind: NodeKind::Directory { tree } };
        self.push(&node.name, &encode_node(&node))
    }
}
