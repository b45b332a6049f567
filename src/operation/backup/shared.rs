//! What the threads of a run share, and what they hand to each other.

use std::collections::HashMap;
use std::ffi::CString;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crossbeam_channel::Receiver;

use super::{BackupOptions, Problems};
use crate::chunk::Chunker;
use crate::clock::Clock;
use crate::format::node::{Content, Hole, LinkGroup, Metadata};
use crate::operation::freshness::Freshness;
use crate::operation::promise::Promise;
use crate::progress::Progress;
use crate::repository::{Index, Repository, SnapshotInfo, Writer};
use crate::source::folder::SourceFolder;
use crate::source::metadata::{Names, Stat};

/// How the comparing with the parent went.
#[derive(Default)]
pub(super) struct Compared {
    /// Files that changed in everything but their content.
    pub(super) touched: AtomicU64,
    /// Set when part of the parent could not be read.
    pub(super) in_part: AtomicBool,
}

/// Everything that one run consists of.
pub(super) struct Shared<'a> {
    pub(super) repository: &'a Repository,
    pub(super) index: &'a Index,
    pub(super) writer: &'a Writer<'a>,
    pub(super) options: &'a BackupOptions<'a>,
    pub(super) parent: Option<&'a SnapshotInfo>,
    /// The newest that is complete: what a dump is measured with, or one bad dump would make the next one look good.
    pub(super) complete: Option<&'a SnapshotInfo>,
    pub(super) names: &'a Names,
    pub(super) chunker: &'a Chunker,
    pub(super) problems: &'a Problems,
    pub(super) progress: &'a dyn Progress,
    pub(super) clock: &'a dyn Clock,
    pub(super) cancel: &'a AtomicBool,
    pub(super) compared: &'a Compared,
    /// Contents of files with several names: read once.
    pub(super) links: Mutex<HashMap<LinkGroup, Arc<Promise<Option<Stored>>>>>,
}

impl Shared<'_> {
    /// Whether the run should end: the user wants it, or a thread failed.
    pub(super) fn should_stop(&self) -> bool {
        self.cancel.load(Ordering::Relaxed) || self.writer.has_failed()
    }
}

/// What a file's content became.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) size: u64,
    pub(super) content: Content,
    pub(super) holes: Vec<Hole>,
    pub(super) class: u8,
    pub(super) rows: Vec<crate::format::node::TableRows>,
    /// Tables whose rows could not be counted; `None` when it was not taken as a database.
    pub(super) uncounted: Option<Vec<String>>,
    /// Times and the rest from before the content was read.
    pub(super) stat: Stat,
}

/// A regular file as the statistics see it.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileCount {
    /// Its length in bytes.
    pub(super) size: u64,
    pub(super) freshness: Freshness,
    /// Whether its content was read.
    pub(super) read: bool,
}

/// An entry as it goes into a tree.
#[derive(Debug)]
pub(super) struct EncodedEntry {
    pub(super) name: Vec<u8>,
    pub(super) encoded: Vec<u8>,
    /// What is counted of a regular file.
    pub(super) file: Option<FileCount>,
}

/// A file to be read.
#[derive(Debug)]
pub(super) struct FileTask {
    pub(super) folder: SourceFolder,
    pub(super) name: CString,
    /// For messages; not used to open it.
    pub(super) path: Vec<u8>,
    pub(super) stat: Stat,
    pub(super) links: Option<LinkGroup>,
    /// The parent's entry of this name, encoded.
    pub(super) before: Option<Box<[u8]>>,
    /// Told whether the file was taken as a database; the files beside it wait for that.
    pub(super) database: Option<Arc<Promise<bool>>>,
    /// The database that this file belongs to.
    pub(super) beside: Option<Arc<Promise<bool>>>,
}

impl Drop for FileTask {
    /// Nobody may wait for a database that is not read after all.
    fn drop(&mut self) {
        if let Some(database) = &self.database {
            database.give(false);
        }
    }
}

/// One entry of a batch.
#[derive(Debug)]
pub(super) enum Slot {
    Ready(EncodedEntry),
    Read(Box<FileTask>),
}

/// Consecutive entries of one directory; read by one thread, one after the other.
pub(super) struct Batch {
    pub(super) slots: Vec<Slot>,
    pub(super) done: crossbeam_channel::Sender<Vec<EncodedEntry>>,
}

/// What the tree builder is told, in the order of the source.
pub(super) enum Item {
    /// A root begins.
    Root { path: Vec<u8>, restore_name: Vec<u8> },
    /// A directory begins.
    Enter(Box<Directory>),
    /// Entries that need no reading.
    Ready(Vec<EncodedEntry>),
    /// Entries that are being read.
    Pending(Receiver<Vec<EncodedEntry>>),
    /// The directory ends.
    Leave,
    /// The source ends.
    End,
}

/// A directory before its entries are known.
pub(super) struct Directory {
    pub(super) name: Vec<u8>,
    pub(super) metadata: Metadata,
    /// Left out when nothing in it is kept.
    pub(super) only_if_filled: bool,
}
