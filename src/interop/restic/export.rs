//! Export: a snapshot of ours into a repository in restic's format.
//!
//! rustic_core wants to own whatever it reads from, and drops files that cannot be read with no more than a word in the
//! log. So the reading is done by threads of ours, which hand it entries and bytes over channels and note every error; at
//! the first of them no snapshot may be written any more. What was stored until then serves the next try.
//!
//! Memory: [`ENTRIES`] entries, and [`PIECES`] blobs for each file that is being read.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use jiff::tz::TimeZone;

use crossbeam_channel::{Receiver, Sender, bounded};
use rustic_core::repofile::{Node as ResticNode, SnapshotFile, SnapshotId as ResticSnapshotId, StringList};
use rustic_core::{
    BackupOptions, IndexedIdsStatus, ParentOptions, ReadSource, ReadSourceEntry, ReadSourceOpen, Repository,
    RusticResult,
};

use super::Restic;
use super::backend::{bytes_of, id_of};
use super::error::ResticError;
use super::{node, snapshot};
use crate::format::DecodeError;
use crate::format::node::{Content, Hole, Node, NodeKind, XattrValue};
use crate::format::snapshot::{Root, Snapshot};
use crate::operation::list::MAX_NESTING;
use crate::progress::Progress;
use crate::repository::{
    Blob, BlobReader, ContentCursor, Index, Repository as Ours, RepositoryError, SnapshotInfo, TreeCursor, TreeEntry,
};

/// Entries on their way to rustic_core.
const ENTRIES: usize = 256;
/// Blobs of a file on their way to rustic_core.
const PIECES: usize = 4;
/// A hole is handed over as zeros, so many bytes at a time.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Something of the snapshot that could not be read.
#[derive(Debug)]
pub struct ExportProblem {
    /// Where it was.
    pub path: Vec<u8>,
    /// Why not.
    pub error: RepositoryError,
}

/// What an export did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExportStats {
    /// The id that the snapshot has there.
    pub id: [u8; 32],
    /// Entries that are no folders.
    pub entries: u64,
    /// Bytes of files, holes included.
    pub total_bytes: u64,
    /// Files that were read; the others are as in the snapshot before.
    pub read_files: u64,
    /// Bytes put into the repository.
    pub stored_bytes: u64,
}

/// An entry on its way.
struct Item {
    path: PathBuf,
    node: ResticNode,
    open: Option<Open>,
}

/// A file that rustic_core may want to read.
struct Open {
    file: Box<Wanted>,
    wanted: Sender<(Box<Wanted>, Sender<io::Result<Piece>>)>,
}

/// What is to be read.
struct Wanted {
    path: Vec<u8>,
    content: Content,
    holes: Vec<Hole>,
    size: u64,
}

/// Bytes of a file.
enum Piece {
    Data(Blob),
    Zeros(usize),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Data(blob) => blob,
            Self::Zeros(length) => ZEROS.get(..*length).unwrap_or(&ZEROS),
        }
    }
}

impl ReadSourceOpen for Open {
    type Reader = Pieces;

    fn open(self) -> RusticResult<Pieces> {
        let (sender, pieces) = bounded(PIECES);
        // When nobody takes it, the run is being ended; the reader sees a channel without a sender, and says so.
        let _ = self.wanted.send((self.file, sender));
        Ok(Pieces { pieces, piece: None, at: 0, left: None })
    }
}

/// A file as rustic_core reads it.
struct Pieces {
    pieces: Receiver<io::Result<Piece>>,
    piece: Option<Piece>,
    at: usize,
    /// Told at the end, so that a sender that died is not taken for the end of the file.
    left: Option<()>,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(piece) = &self.piece {
                let rest = piece.bytes().get(self.at..).unwrap_or_default();
                let length = rest.len().min(buffer.len());
                if length > 0 {
                    buffer
                        .get_mut(..length)
                        .unwrap_or_default()
                        .copy_from_slice(rest.get(..length).unwrap_or_default());
                    self.at += length;
                    return Ok(length);
                }
            }
            if self.left.is_some() || buffer.is_empty() {
                return Ok(0);
            }
            match self.pieces.recv() {
                // An empty piece is the end.
                Ok(Ok(Piece::Zeros(0))) => (self.left, self.piece) = (Some(()), None),
                Ok(Ok(piece)) => (self.piece, self.at) = (Some(piece), 0),
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(io::Error::other("the reader of this file has ended")),
            }
        }
    }
}

/// What rustic_core takes entries from; it asks once.
struct Source(Mutex<Option<Receiver<Item>>>);

struct Entries(Option<Receiver<Item>>);

impl Iterator for Entries {
    type Item = RusticResult<ReadSourceEntry<Open>>;

    fn next(&mut self) -> Option<Self::Item> {
        let Item { path, node, open } = self.0.as_ref()?.recv().ok()?;
        Some(Ok(ReadSourceEntry { path, node, open }))
    }
}

impl ReadSource for Source {
    type Open = Open;
    type Iter = Entries;

    fn size(&self) -> RusticResult<Option<u64>> {
        Ok(None)
    }

    fn entries(&self) -> Entries {
        Entries(self.0.lock().unwrap_or_else(PoisonError::into_inner).take())
    }
}

/// What the threads of one export share.
struct Run<'a> {
    restic: &'a Restic,
    from: &'a Ours,
    index: &'a Index,
    progress: &'a dyn Progress,
    cancel: &'a AtomicBool,
    problem: Mutex<Option<ExportProblem>>,
    /// Files handed over for reading.
    read_files: std::sync::atomic::AtomicU64,
    entries: std::sync::atomic::AtomicU64,
    total_bytes: std::sync::atomic::AtomicU64,
}

impl Run<'_> {
    /// Keeps the first problem. From then on no snapshot is written.
    fn note(&self, path: &[u8], error: RepositoryError) {
        self.restic.backend.bar_snapshots(true);
        let mut first = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| ExportProblem { path: path.to_vec(), error });
    }

    fn has_problem(&self) -> bool {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn check(&self) -> Result<(), RepositoryError> {
        if self.cancel.load(Ordering::Relaxed) { Err(RepositoryError::Interrupted) } else { Ok(()) }
    }

    /// Reads what rustic_core wants, until it wants no more.
    fn read_files(&self, wanted: &Receiver<(Box<Wanted>, Sender<io::Result<Piece>>)>) {
        let mut reader = match BlobReader::new(self.from, self.index) {
            Ok(reader) => reader,
            Err(error) => return self.note(b"/", error),
        };
        for (file, pieces) in wanted {
            self.read_files.fetch_add(1, Ordering::Relaxed);
            if let Err(error) = self.read_file(&mut reader, &file, &pieces) {
                let words = error.to_string();
                self.note(&file.path, error);
                let _ = pieces.send(Err(io::Error::other(words)));
            }
        }
    }

    fn read_file(
        &self,
        reader: &mut BlobReader<'_>,
        file: &Wanted,
        pieces: &Sender<io::Result<Piece>>,
    ) -> Result<(), RepositoryError> {
        let malformed =
            |what| RepositoryError::Malformed { name: "content".into(), source: DecodeError { what, at: 0 } };
        let mut position = 0;
        let mut holes = file.holes.iter().peekable();
        let mut cursor = ContentCursor::new(file.content.clone());
        // When rustic_core lets go of the file, it failed elsewhere, and says so at the end.
        let send = |piece| pieces.send(Ok(piece)).is_ok();
        let zeros = |mut length: u64| {
            while length > 0 {
                let some = length.min(ZEROS.len() as u64);
                if !send(Piece::Zeros(some as usize)) {
                    return;
                }
                length -= some;
            }
        };
        loop {
            while let Some(hole) = holes.next_if(|hole| hole.offset == position) {
                zeros(hole.length);
                position += hole.length;
            }
            self.check()?;
            let Some(part) = cursor.next(reader)? else { break };
            let mut blob = reader.data(&part.id)?;
            if blob.len() as u64 != part.length {
                return Err(malformed("a blob of a content has another length than the reference to it"));
            }
            while let Some(hole) = holes.peek().filter(|hole| hole.offset < position + blob.len() as u64) {
                let (before, after) = blob.cut((hole.offset - position) as usize);
                position += before.len() as u64 + hole.length;
                send(Piece::Data(before));
                zeros(hole.length);
                blob = after;
                holes.next();
            }
            position += blob.len() as u64;
            self.progress.advance(0, blob.len() as u64);
            if !blob.is_empty() {
                send(Piece::Data(blob));
            }
        }
        if position != file.size {
            return Err(malformed("content and holes of a file do not make up its size"));
        }
        send(Piece::Zeros(0));
        Ok(())
    }
}

/// Hands over the entries of a snapshot in the order of restic's trees.
struct Walker<'a> {
    run: &'a Run<'a>,
    reader: BlobReader<'a>,
    items: Sender<Item>,
    wanted: Sender<(Box<Wanted>, Sender<io::Result<Piece>>)>,
}

/// rustic_core takes no more: it failed, and says so at the end.
struct Gone;

/// Roots below a folder, each with the names that lead to it from there.
type Below<'s> = Vec<(&'s [&'s [u8]], &'s Root)>;

impl Walker<'_> {
    fn walk(mut self, roots: &[Root]) {
        let paths: Vec<Vec<&[u8]>> = roots.iter().map(path_of).collect();
        let below = paths.iter().map(Vec::as_slice).zip(roots).collect();
        let _ = self.folder(&mut Vec::new(), None, below, 0);
    }

    /// Everything in a folder: what its tree holds, and the roots that lie below it without being in its tree.
    fn folder(
        &mut self,
        path: &mut Vec<u8>,
        tree: Option<TreeCursor>,
        below: Below<'_>,
        depth: usize,
    ) -> Result<(), Gone> {
        let mut cursor = tree;
        // A snapshot of the root of the file system.
        let mut inner: BTreeMap<&[u8], Below<'_>> = BTreeMap::new();
        for (names, root) in below {
            match (names.split_first(), &root.node.kind) {
                (Some((first, rest)), _) => inner.entry(first).or_default().push((rest, root)),
                (None, NodeKind::Directory { tree }) => cursor = Some(TreeCursor::new(*tree)),
                (None, _) => {}
            }
        }
        if depth > MAX_NESTING {
            let source = DecodeError { what: "folders are nested too deeply", at: 0 };
            self.run.note(path, RepositoryError::Malformed { name: "tree".into(), source });
            return Err(Gone);
        }
        let mut ahead = None;
        loop {
            if ahead.is_none() {
                ahead = self.next(path, &mut cursor)?;
            }
            let entry = ahead.as_ref().map(|entry| entry.node.name.as_slice());
            let injected = inner.first_key_value().map(|(name, _)| *name);
            let (node, below) = match (entry, injected) {
                (None, None) => return Ok(()),
                (Some(name), Some(root)) if name == root => {
                    (ahead.take().map(|entry| entry.node), inner.pop_first().map(|(_, below)| below))
                }
                (Some(name), Some(root)) if name < root => (ahead.take().map(|entry| entry.node), None),
                (Some(_), None) => (ahead.take().map(|entry| entry.node), None),
                _ => (None, inner.pop_first().map(|(_, below)| below)),
            };
            let below = below.unwrap_or_default();
            // What was backed up as a root of its own counts more than a folder that it was found in.
            let own = below.iter().find(|(rest, _)| rest.is_empty()).map(|(_, root)| &root.node);
            let name = injected.filter(|_| node.is_none()).map(<[u8]>::to_vec);
            let name = node.as_ref().map(|node| node.name.clone()).or(name).unwrap_or_default();
            let node = own.cloned().or(node).map(|node| Node { name: name.clone(), ..node });
            let length = path.len();
            path.push(b'/');
            path.extend_from_slice(&name);
            let deeper = below.into_iter().filter(|(rest, _)| !rest.is_empty()).collect();
            self.entry(path, node, deeper, depth)?;
            path.truncate(length);
        }
    }

    fn next(&mut self, path: &[u8], cursor: &mut Option<TreeCursor>) -> Result<Option<TreeEntry>, Gone> {
        let Some(tree) = cursor else { return Ok(None) };
        if self.run.has_problem() {
            return Err(Gone);
        }
        let next = self.run.check().and_then(|()| tree.next(&mut self.reader));
        next.map_err(|error| {
            self.run.note(path, error);
            Gone
        })
    }

    fn entry(&mut self, path: &mut Vec<u8>, node: Option<Node>, below: Below<'_>, depth: usize) -> Result<(), Gone> {
        let tree = match &node {
            Some(node) => {
                self.hand_over(path, node)?;
                match node.kind {
                    NodeKind::Directory { tree } => Some(TreeCursor::new(tree)),
                    _ => return Ok(()),
                }
            }
            // A folder above a root, of which nothing is kept: rustic_core makes one up.
            None => None,
        };
        self.folder(path, tree, below, depth + 1)
    }

    fn hand_over(&mut self, path: &[u8], node: &Node) -> Result<(), Gone> {
        let translated = self.xattrs(node).and_then(|xattrs| {
            node::theirs(node, xattrs).map_err(|reason| {
                let (location, object) = (self.run.restic.location(), String::from_utf8_lossy(path).into_owned());
                RepositoryError::Foreign { location, object, reason, damage: false }
            })
        });
        let translated = match translated {
            Ok(translated) => translated,
            Err(error) => {
                self.run.note(path, error);
                return Err(Gone);
            }
        };
        let mut open = None;
        if let NodeKind::File { size, content, holes, .. } = &node.kind {
            let file = Wanted { path: path.to_vec(), content: content.clone(), holes: holes.clone(), size: *size };
            open = Some(Open { file: Box::new(file), wanted: self.wanted.clone() });
            self.run.total_bytes.fetch_add(*size, Ordering::Relaxed);
        }
        if !matches!(node.kind, NodeKind::Directory { .. }) {
            self.run.entries.fetch_add(1, Ordering::Relaxed);
        }
        self.run.progress.current(path);
        self.run.progress.advance(1, 0);
        let item = Item { path: PathBuf::from(OsStr::from_bytes(path)), node: translated, open };
        self.items.send(item).map_err(|_| Gone)
    }

    fn xattrs(&mut self, node: &Node) -> Result<Vec<(Vec<u8>, Vec<u8>)>, RepositoryError> {
        let mut all = Vec::new();
        for xattr in &node.metadata.xattrs {
            let value = match &xattr.value {
                XattrValue::Inline(value) => value.clone(),
                XattrValue::Stored(content) => {
                    let (mut value, mut cursor) = (Vec::new(), ContentCursor::new(content.clone()));
                    while let Some(part) = cursor.next(&mut self.reader)? {
                        value.extend_from_slice(&self.reader.data(&part.id)?);
                    }
                    value
                }
            };
            all.push((xattr.name.clone(), value));
        }
        Ok(all)
    }
}

/// The names that lead to a root; those of one without a folder, as a dump, lie at the top.
fn path_of(root: &Root) -> Vec<&[u8]> {
    if root.path == b"/" {
        return Vec::new();
    }
    root.restore_name.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect()
}

/// The snapshot as restic's format describes it, without its tree.
fn describe(info: &SnapshotInfo) -> Result<SnapshotFile, ResticError> {
    let Snapshot { start, host, user, description, program, .. } = &info.snapshot;
    let moment = node::moment(*start).ok_or_else(|| {
        let source = DecodeError { what: "its time is out of bounds", at: 0 };
        RepositoryError::Malformed { name: format!("snapshot {}", info.id.short()), source }
    })?;
    let mut tags = StringList::default();
    snapshot::tags(&info.snapshot).into_iter().for_each(|tag| tags.add(tag));
    Ok(SnapshotFile {
        time: moment.to_zoned(TimeZone::UTC),
        // Snapshots that were imported say who made them; that they came here from ours must be said all the same.
        program_version: if program.starts_with("bk ") { program.clone() } else { format!("bk, from {program}") },
        hostname: host.clone(),
        username: user.clone(),
        tags,
        description: description.clone(),
        original: Some(ResticSnapshotId::from(id_of(info.id.0))),
        ..SnapshotFile::default()
    })
}

impl Restic {
    /// Writes a snapshot of `from` into this repository. Of files that `parent`, an export of ours there, holds just the
    /// same, nothing is read.
    ///
    /// # Errors
    /// [`ResticError::Unreadable`] when something of it cannot be read, and [`ResticError::Interrupted`]: there is no
    /// snapshot then, and what was stored serves the next try.
    #[expect(clippy::too_many_arguments, reason = "where to, where from, what, how, and who watches")]
    pub fn export(
        &mut self,
        from: &Ours,
        index: &Index,
        info: &SnapshotInfo,
        parent: Option<[u8; 32]>,
        threads: usize,
        progress: &dyn Progress,
        cancel: &AtomicBool,
    ) -> Result<ExportStats, ResticError> {
        self.check_lock()?;
        self.backend.bar_snapshots(false);
        let before = self.backend.written_bytes();
        // What was written by the export before is only seen by an index that is read anew.
        let indexed = self.reopened()?.to_indexed_ids().map_err(self.failed("read the index of"))?;
        let run = Run {
            restic: self,
            from,
            index,
            progress,
            cancel,
            problem: Mutex::new(None),
            read_files: 0.into(),
            entries: 0.into(),
            total_bytes: 0.into(),
        };
        let archived = archive(&run, &indexed, info, parent, threads);
        let problem = run.problem.into_inner().unwrap_or_else(PoisonError::into_inner);
        let stats = ExportStats {
            id: [0; 32],
            entries: run.entries.into_inner(),
            total_bytes: run.total_bytes.into_inner(),
            read_files: run.read_files.into_inner(),
            stored_bytes: self.backend.written_bytes() - before,
        };
        if let Some(ExportProblem { path, error }) = problem {
            return Err(match error {
                RepositoryError::Interrupted => ResticError::Interrupted,
                error => ResticError::Unreadable {
                    snapshot: info.id.short(),
                    path: String::from_utf8_lossy(&path).escape_debug().to_string(),
                    source: Box::new(error),
                },
            });
        }
        let file = archived?;
        let counted = file.summary.as_ref().map(|summary| summary.total_files_processed);
        if counted != Some(stats.entries) {
            // rustic_core has left something out that our threads had handed over.
            self.forget(&[bytes_of(*file.id)])?;
            let reason = format!("{} entries were handed over and {} are in it", stats.entries, counted.unwrap_or(0));
            return Err(ResticError::Library { action: "export whole into", location: self.location(), reason });
        }
        Ok(ExportStats { id: bytes_of(*file.id), ..stats })
    }
}

fn archive(
    run: &Run<'_>,
    indexed: &Repository<IndexedIdsStatus>,
    info: &SnapshotInfo,
    parent: Option<[u8; 32]>,
    threads: usize,
) -> Result<SnapshotFile, ResticError> {
    let file = describe(info)?;
    let parents: Vec<_> = parent.iter().map(|id| crate::id::to_hex(id)).collect();
    // Its word for comparing the numbers of files is the wrong way round: `ignore` compares them. What a file holds is in
    // its number (see `node`), so this is what tells one from another whose times and size are equal.
    let options = ParentOptions::default().force(parents.is_empty()).parents(parents).ignore_inode(true);
    let options = BackupOptions::default().no_scan(true).parent_opts(options);
    let paths: Vec<PathBuf> = info
        .snapshot
        .roots
        .iter()
        .map(|root| {
            format!("/{}", path_of(root).iter().map(|name| String::from_utf8_lossy(name)).collect::<Vec<_>>().join("/"))
                .into()
        })
        .collect();
    let (items, received) = bounded(ENTRIES);
    let (wanted, asked) = bounded(threads.max(1));
    let reader = BlobReader::new(run.from, run.index)?;
    let walker = Walker { run, reader, items, wanted };
    let source = Source(Mutex::new(Some(received)));
    let (archived, sound) = std::thread::scope(|scope| {
        let reading: Vec<_> = (0..threads.max(1))
            .map(|_| {
                let asked = asked.clone();
                scope.spawn(move || run.read_files(&asked))
            })
            .collect();
        drop(asked);
        let walking = scope.spawn(|| walker.walk(&info.snapshot.roots));
        let archived = indexed.archive(&options, &source, file, &paths);
        // Whoever still hands something over must not wait for ever.
        drop(source);
        let mut sound = walking.join().is_ok();
        for thread in reading {
            sound &= thread.join().is_ok();
        }
        (archived, sound)
    });
    if !sound {
        return Err(ResticError::Thread);
    }
    archived.map_err(run.restic.failed("export into"))
}
