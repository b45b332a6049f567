//! Reads files: cut, hash, and hand on what the repository does not have.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::Receiver;
use rustix::io::Errno;

use super::shared::{Batch, EncodedEntry, FileCount, FileTask, Shared, Slot, Stored};
use super::tables::wrong_tables;
use super::{BackupError, Stream, WhenBroken};
use crate::chunk::Class;
use crate::format::cbor::Reader;
use crate::format::node::{Content, Hole, Metadata, Node, NodeKind, TableRows, Xattr, XattrValue};
use crate::format::snapshot::Root;
use crate::format::tree::{MAX_INLINE_XATTR_LEN, decode_node, encode_node};
use crate::operation::cut::Cutter;
use crate::operation::freshness::Freshness;
use crate::operation::promise::Promise;
use crate::repository::RepositoryError;
use crate::source::metadata::{Stat, stat_open, xattrs_open};
use crate::source::sqlite;
use crate::source::{extents, sqlite::SqliteError};

/// A file that changes while it is read is read again so many times.
const RETRIES: usize = 2;
/// Shorter streams may shrink as they like, in bytes.
const MIN_COMPARED: u64 = 1 << 20;
/// A longer file is read again once only, in bytes.
const LONG_FILE: u64 = 256 << 20;

/// What one thread reads with.
struct FileReader<'a> {
    shared: &'a Shared<'a>,
    cutter: Cutter<'a>,
}

/// Why a file has no content.
enum ReadError {
    /// The file; the run goes on.
    Source(std::io::Error),
    /// The repository; the run ends.
    Repository(RepositoryError),
}

impl From<RepositoryError> for ReadError {
    fn from(error: RepositoryError) -> Self {
        Self::Repository(error)
    }
}

impl From<Errno> for ReadError {
    fn from(error: Errno) -> Self {
        Self::Source(error.into())
    }
}

/// Reads batches until there are no more.
pub(super) fn read_batches(shared: &Shared<'_>, batches: &Receiver<Batch>) {
    let mut reader = FileReader::new(shared);
    for batch in batches {
        let mut entries = Vec::with_capacity(batch.slots.len());
        for slot in batch.slots {
            if shared.should_stop() {
                break;
            }
            match slot {
                Slot::Ready(entry) => entries.push(entry),
                Slot::Read(task) => match reader.read(&task) {
                    Ok(entry) => entries.extend(entry),
                    // The user wants it to end; what was read so far is still stored and indexed.
                    Err(RepositoryError::Stopped) if shared.cancel.load(Ordering::Relaxed) => {}
                    Err(error) => shared.writer.fail(error),
                },
            }
        }
        let _ = batch.done.send(entries);
    }
    if let Err(error) = reader.cutter.flush() {
        shared.writer.fail(error);
    }
}

/// Reads streams to their end, each a root of its own; gives their lengths in bytes too.
pub(super) fn read_streams(shared: &Shared<'_>, streams: Vec<Stream<'_>>) -> Result<Vec<(Root, u64)>, BackupError> {
    let mut reader = FileReader::new(shared);
    let mut roots = Vec::new();
    for mut stream in streams {
        shared.progress.current(stream.name.as_bytes());
        let class = shared.options.rules.class.unwrap_or(Class::Fine);
        let (content, size) = match reader.store(class, 0, &mut |buffer| stream.bytes.read(buffer)) {
            Ok(stored) => stored,
            Err(ReadError::Repository(error)) => return Err(error.into()),
            Err(ReadError::Source(source)) if stream.when_broken == WhenBroken::LeaveOut => {
                shared.problems.add("dump", stream.name.as_bytes(), source.to_string());
                shared.progress.warn(&format!("{}: {source}", stream.name));
                continue;
            }
            Err(ReadError::Source(source)) => {
                return Err(BackupError::Stream { name: stream.name, source: Box::new(source) });
            }
        };
        shared.progress.advance(1, size);
        if let Some(message) = too_small(shared, &stream, size) {
            shared.problems.add("dump", stream.name.as_bytes(), message);
        }
        let found = std::mem::take(&mut *stream.found.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        for message in found.problems {
            shared.problems.add("dump", stream.name.as_bytes(), message);
        }
        let rows = found.rows.into_iter().map(|(table, rows)| TableRows { table, rows }).collect();
        let now = shared.clock.wall();
        let name = stream.name.rsplit('/').next().unwrap_or_default().as_bytes().to_vec();
        // Theirs who made it: somebody else's, an ordinary user could not restore it in full.
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let metadata = Metadata { mode: 0o600, uid, gid, mtime: now, ctime: now, ..Metadata::default() };
        let kind = NodeKind::File { size, content, holes: Vec::new(), class: class.number(), rows };
        let node = Node { name, metadata, links: None, kind };
        let path = stream.name.into_bytes();
        roots.push((Root { restore_name: path.clone(), path, node }, size));
    }
    reader.cutter.flush()?;
    Ok(roots)
}

/// What to say of a stream that is much shorter than it should be.
fn too_small(shared: &Shared<'_>, stream: &Stream<'_>, size: u64) -> Option<String> {
    let shown = |bytes| crate::size::ByteSize(bytes).to_string();
    if let Some(least) = stream.min_bytes {
        let message = || format!("it has {} where at least {} are expected", shown(size), shown(least));
        return (size < least).then(message);
    }
    let complete = shared.complete?;
    let root = complete.snapshot.roots.iter().find(|root| root.path == stream.name.as_bytes())?;
    let NodeKind::File { size: before, .. } = root.node.kind else { return None };
    let message = || {
        format!(
            "it has {} where the complete snapshot before has {}; when that is right, set `min-size` of the database",
            shown(size),
            shown(before)
        )
    };
    (before > MIN_COMPARED && size < before / 2).then(message)
}

/// Whether an entry of the parent is a file with the same content, whatever else it says.
fn has_content_of(entry: &[u8], node: &Node) -> bool {
    match (decode_node(&mut Reader::new(entry)).map(|before| before.kind), &node.kind) {
        (Ok(NodeKind::File { content: before, .. }), NodeKind::File { content, .. }) => before == *content,
        _ => false,
    }
}

impl<'a> FileReader<'a> {
    fn new(shared: &'a Shared<'a>) -> Self {
        Self { shared, cutter: Cutter::new(shared.repository, shared.writer, shared.chunker) }
    }

    /// Reads one file; `None` when it is gone or cannot be read, which is noted.
    fn read(&mut self, task: &FileTask) -> Result<Option<EncodedEntry>, RepositoryError> {
        if task.beside.as_ref().is_some_and(|database| database.wait()) {
            // What is in a log or journal is in the copy of the database already.
            return Ok(None);
        }
        self.shared.progress.current(&task.path);
        let (stored, xattrs) = match self.read_once_per_inode(task) {
            Ok(stored) => stored,
            Err(ReadError::Repository(error)) => return Err(error),
            Err(ReadError::Source(error)) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(ReadError::Source(error)) => {
                self.shared.problems.add("unreadable", &task.path, error.to_string());
                self.shared.progress.warn(&format!("{}: {error}", String::from_utf8_lossy(&task.path)));
                return Ok(None);
            }
        };
        self.shared.progress.advance(1, stored.size);
        self.look_for_tables(task, &stored);
        let xattrs = self.store_large_xattrs(xattrs)?;
        let metadata = self.shared.names.metadata(&stored.stat, xattrs);
        let size = stored.size;
        let Stored { content, holes, class, rows, .. } = stored;
        let kind = NodeKind::File { size, content, holes, class, rows };
        let node = Node { name: task.name.as_bytes().to_vec(), metadata, links: task.links, kind };
        let encoded = encode_node(&node);
        // A file whose times were too young to be trusted may turn out to be what it was.
        let freshness = match &task.before {
            None => Freshness::New,
            Some(before) if **before == *encoded => Freshness::Unchanged,
            Some(before) => {
                if has_content_of(before, &node) {
                    self.shared.compared.touched.fetch_add(1, Ordering::Relaxed);
                }
                Freshness::Changed
            }
        };
        match freshness {
            Freshness::New => self.shared.progress.entry("new", &task.path),
            Freshness::Changed => self.shared.progress.entry("changed", &task.path),
            Freshness::Unchanged => {}
        }
        Ok(Some(EncodedEntry { encoded, name: node.name, file: Some(FileCount { size, freshness, read: true }) }))
    }

    /// Notes which of the tables that the user named are not in what was stored, or have no rows.
    fn look_for_tables(&self, task: &FileTask, stored: &Stored) {
        let Some(wanted) = self.shared.options.tables_of(&task.path) else { return };
        let wrong = match &stored.uncounted {
            Some(uncounted) => wrong_tables(wanted, &stored.rows, uncounted),
            None => {
                vec![format!("it is no database that SQLite can read, and must have the table {}", wanted.join(", "))]
            }
        };
        for message in wrong {
            self.shared.progress.warn(&format!("{}: {message}", bytes_path(&task.path).display()));
            self.shared.problems.add("dump", &task.path, message);
        }
    }

    /// Files with several names are read once; the other names wait for it. A thread that waits holds nothing that
    /// another could wait for.
    fn read_once_per_inode(&mut self, task: &FileTask) -> Result<(Stored, Vec<Xattr>), ReadError> {
        let Some(group) = task.links else { return self.read_content(task) };
        let (promise, mine) = {
            let mut links = self.shared.links.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            match links.get(&group) {
                Some(promise) => (Arc::clone(promise), false),
                None => {
                    let promise = Arc::new(Promise::new());
                    links.insert(group, Arc::clone(&promise));
                    (promise, true)
                }
            }
        };
        if !mine && let Some(stored) = promise.wait() {
            let xattrs = xattrs_open(task.folder.open_file(&task.name)?.as_fd())?;
            return Ok((stored, xattrs));
        }
        let read = self.read_content(task);
        promise.give(read.as_ref().ok().map(|(stored, _)| stored.clone()));
        read
    }

    fn read_content(&mut self, task: &FileTask) -> Result<(Stored, Vec<Xattr>), ReadError> {
        let mut before = task.stat;
        let mut attempt = 0;
        loop {
            let file = task.folder.open_file(&task.name)?;
            if attempt > 0 {
                // By now the name may be another file's.
                before = stat_open(file.as_fd())?;
            }
            let holes = if before.may_be_sparse() { extents::holes(&file, before.size)? } else { Vec::new() };
            let mut ranges = DataRanges::new(&holes, before.size);
            let first = ranges.read(&file, self.cutter.window()).map_err(ReadError::Source)?;
            if self.shared.options.rules.databases
                && holes.first().is_none_or(|hole| hole.offset > 0)
                && sqlite::looks_like_database(self.cutter.window().get(..first).unwrap_or_default())
                && let Some(database) = self.read_database(task, &before)?
            {
                return Ok((database, self.xattrs(task, &file)));
            }
            let stored = self.store_file(&file, &before, &holes, ranges, first);
            let after = stat_open(file.as_fd())?;
            let xattrs = self.xattrs(task, &file);
            let stored = stored?;
            if after.same_content(&before) && stored.size == before.size {
                return Ok((stored, xattrs));
            }
            attempt += 1;
            let retries = if after.size > LONG_FILE { 1 } else { RETRIES };
            if attempt > retries || after.inode != before.inode {
                // What was read last is kept, and said to be torn.
                if after.file_type == rustix::fs::FileType::RegularFile && after.inode == before.inode {
                    self.shared.problems.add("changed", &task.path, "it changed each time it was read");
                    return Ok((stored, xattrs));
                }
                if attempt > retries {
                    self.shared.problems.add("changed", &task.path, "it was replaced each time it was read");
                    return Ok((Stored { stat: after, ..stored }, xattrs));
                }
            }
        }
    }

    fn xattrs(&self, task: &FileTask, file: &File) -> Vec<Xattr> {
        xattrs_open(file.as_fd()).unwrap_or_else(|error| {
            let message = format!("its extended attributes cannot be read: {error}");
            self.shared.problems.add("metadata", &task.path, message);
            Vec::new()
        })
    }

    /// Takes a file that begins like an SQLite database by the online backup of SQLite; `None` when it has to be taken
    /// as a plain file, which is noted. The window is as it was then.
    fn read_database(&mut self, task: &FileTask, stat: &Stat) -> Result<Option<Stored>, ReadError> {
        let display = bytes_path(&task.path);
        let scratch = &self.shared.options.scratch;
        let copied = sqlite::copy_at(
            task.folder.as_fd(),
            task.name.as_bytes(),
            display,
            scratch,
            &sqlite::CopyOptions::default(),
        );
        let copy = match copied {
            Ok(copy) => copy,
            // A file of another program that begins in the same way, or one that is gone.
            Err(SqliteError::Empty { .. } | SqliteError::Missing { .. }) => return Ok(None),
            Err(error) => {
                let message = format!("it was taken as a plain file, which may be torn: {error}; {}", error.hint());
                self.shared.problems.add("database", &task.path, message);
                return Ok(None);
            }
        };
        if !copy.damaged.is_empty() {
            let tables = copy.damaged.join(", ");
            let message = format!("it is damaged (in {tables}) and was taken as a plain file, with its log");
            self.shared.problems.add("database", &task.path, message);
            return Ok(None);
        }
        if let Some(promise) = &task.database {
            promise.give(true);
        }
        if !copy.uncounted.is_empty() {
            let tables = copy.uncounted.join(", ");
            self.shared.progress.warn(&format!("{}: rows of {tables} could not be counted", display.display()));
        }
        let class = self.shared.options.rules.class.unwrap_or_else(|| Class::for_database(copy.page_size, copy.length));
        let mut source = copy.file;
        let (content, size) = self.store(class, 0, &mut |buffer| source.read(buffer))?;
        let (rows, uncounted) = (copy.rows, Some(copy.uncounted));
        Ok(Some(Stored { size, content, holes: Vec::new(), class: class.number(), rows, uncounted, stat: *stat }))
    }

    /// Stores a file of which the first `first` bytes of data are in the window.
    fn store_file(
        &mut self,
        file: &File,
        stat: &Stat,
        holes: &[Hole],
        mut ranges: DataRanges<'_>,
        first: usize,
    ) -> Result<Stored, ReadError> {
        let class = self.shared.options.rules.class.unwrap_or(Class::Coarse);
        let (content, length) = self.store(class, first, &mut |buffer| ranges.read(file, buffer))?;
        let holes_len: u64 = holes.iter().map(|hole| hole.length).sum();
        let expected = stat.size - holes_len;
        if length == expected {
            return Ok(Stored {
                size: stat.size,
                content,
                holes: holes.to_vec(),
                class: class.number(),
                rows: Vec::new(),
                uncounted: None,
                stat: *stat,
            });
        }
        // It shrank while it was read: what is there is one piece without holes.
        let (rows, uncounted) = (Vec::new(), None);
        Ok(Stored { size: length, content, holes: Vec::new(), class: class.number(), rows, uncounted, stat: *stat })
    }

    /// Cuts and stores the first `filled` bytes of the window and whatever `read` gives until it gives nothing.
    fn store(
        &mut self,
        class: Class,
        filled: usize,
        read: &mut dyn FnMut(&mut [u8]) -> std::io::Result<usize>,
    ) -> Result<(Content, u64), ReadError> {
        let shared = self.shared;
        self.cutter.store(class, filled, &mut |buffer| {
            loop {
                if shared.should_stop() {
                    return Err(RepositoryError::Stopped.into());
                }
                match read(buffer) {
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    length => return length.map_err(ReadError::Source),
                }
            }
        })
    }

    fn store_large_xattrs(&mut self, mut xattrs: Vec<Xattr>) -> Result<Vec<Xattr>, RepositoryError> {
        for xattr in &mut xattrs {
            let XattrValue::Inline(value) = &xattr.value else { continue };
            if value.len() <= MAX_INLINE_XATTR_LEN {
                continue;
            }
            xattr.value = XattrValue::Stored(self.cutter.store_value(value)?);
        }
        Ok(xattrs)
    }
}

fn bytes_path(bytes: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt as _;
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}

/// The parts of a file that are not in holes, read one after the other; never beyond the length that was seen first,
/// or a file that grows faster than it is read would have no end.
struct DataRanges<'a> {
    holes: &'a [Hole],
    at: u64,
    size: u64,
}

impl<'a> DataRanges<'a> {
    const fn new(holes: &'a [Hole], size: u64) -> Self {
        Self { holes, at: 0, size }
    }

    fn read(&mut self, file: &File, buffer: &mut [u8]) -> std::io::Result<usize> {
        while let Some((hole, rest)) = self.holes.split_first()
            && hole.offset <= self.at
        {
            self.at = hole.offset + hole.length;
            self.holes = rest;
        }
        let end = self.holes.first().map_or(self.size, |hole| hole.offset);
        let wanted = usize::try_from(end.saturating_sub(self.at)).unwrap_or(usize::MAX).min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        let length = file.read_at(buffer.get_mut(..wanted).unwrap_or_default(), self.at)?;
        self.at += length as u64;
        Ok(length)
    }
}
