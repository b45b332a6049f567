//! What the threads of an import share, and what they hand to each other.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver, Sender};

use super::known::{Counts, Known};
use crate::chunk::Chunker;
use crate::format::node::{Content, LinkGroup, Metadata, Node};
use crate::id::BlobId;
use crate::operation::backup::Problems;
use crate::operation::freshness::Freshness;
use crate::operation::promise::Promise;
use crate::progress::Progress;
use crate::repository::{Index, Repository, RepositoryError, SnapshotInfo, Writer};

/// What one name of a file with several names became: the content in the source, that in the target, and its class.
pub(super) type Linked = Arc<Promise<Option<(Content, Content, u8)>>>;

/// Everything that bringing one snapshot consists of.
pub(super) struct Shared<'a> {
    pub(super) from: &'a Repository,
    pub(super) source: &'a Index,
    pub(super) to: &'a Repository,
    pub(super) index: &'a Index,
    pub(super) writer: &'a Writer<'a>,
    pub(super) chunker: &'a Chunker,
    /// What it is compared with: a snapshot of the source, and what it became.
    pub(super) base: Option<[&'a SnapshotInfo; 2]>,
    pub(super) known: &'a Known,
    pub(super) problems: &'a Problems,
    pub(super) progress: &'a dyn Progress,
    pub(super) cancel: &'a AtomicBool,
    /// Files with several names are read once.
    pub(super) links: Mutex<HashMap<LinkGroup, Linked>>,
    /// Bytes fetched from the source.
    pub(super) fetched_bytes: &'a AtomicU64,
}

impl Shared<'_> {
    /// Whether it should end: the user wants it, or a thread failed.
    pub(super) fn should_stop(&self) -> bool {
        self.cancel.load(Ordering::Relaxed) || self.writer.has_failed()
    }

    /// Notes what cannot be read at `path` of the source, and goes on; what is no damage ends the run.
    pub(super) fn lose(&self, path: &[u8], error: RepositoryError) -> Result<(), RepositoryError> {
        if !error.is_damage() {
            return Err(error);
        }
        self.progress.warn(&format!("{}: {error}", String::from_utf8_lossy(path)));
        self.problems.add("unreadable", path, error.to_string());
        Ok(())
    }
}

/// A regular file as the statistics see it.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileCount {
    /// Its length in bytes.
    pub(super) size: u64,
    pub(super) freshness: Freshness,
    /// Bytes of it that were read.
    pub(super) read_bytes: u64,
}

/// An entry as it goes into a tree of the target.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) node: Node,
    /// What is counted of a regular file.
    pub(super) file: Option<FileCount>,
    /// Nothing of it is missing.
    pub(super) whole: bool,
}

/// What became of an entry; `None` when it cannot be read.
pub(super) type Done = Option<Entry>;

/// A file to be read.
#[derive(Debug)]
pub(super) struct FileTask {
    /// As the source has it.
    pub(super) node: Node,
    pub(super) path: Vec<u8>,
    pub(super) freshness: Freshness,
}

/// One place in a batch.
#[expect(clippy::large_enum_variant, reason = "most are ready, and a box for each would be an allocation an entry")]
pub(super) enum Slot {
    Ready(Entry),
    Read(Box<FileTask>),
}

/// Entries in order, some of which must be read.
pub(super) struct Batch {
    pub(super) slots: Vec<Slot>,
    pub(super) done: Sender<Vec<Done>>,
}

/// A folder before its entries are known.
pub(super) struct Folder {
    pub(super) name: Vec<u8>,
    pub(super) metadata: Metadata,
    /// Its tree in the source.
    pub(super) tree: BlobId,
}

/// What the tree builder is told, in the order of the source.
pub(super) enum Item {
    /// A root begins.
    Root { path: Vec<u8>, restore_name: Vec<u8> },
    /// A folder begins.
    Enter(Box<Folder>),
    /// A folder whose tree the target has.
    Known { folder: Box<Folder>, tree: BlobId, counts: Counts, freshness: Freshness },
    /// Entries that need no reading.
    Ready(Vec<Done>),
    /// Entries that are being read.
    Pending(Receiver<Vec<Done>>),
    /// Something of this folder cannot be read.
    Lost,
    /// The folder ends.
    Leave,
    /// The snapshot ends.
    End,
}
