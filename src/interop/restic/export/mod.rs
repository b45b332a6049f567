//! Export: a snapshot of ours into a repository in restic's format.
//!
//! rustic_core wants to own whatever it reads from, and drops files that cannot be read with no more than a word in the
//! log. So the reading is done by threads of ours, which hand it entries and bytes over channels and note every error; at
//! the first of them no snapshot may be written any more. What was stored until then serves the next try.
//!
//! Memory: [`ENTRIES`] entries, and a few blobs for each file that is being read.

mod pieces;
mod walk;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};
use jiff::tz::TimeZone;
use rustic_core::repofile::{SnapshotFile, SnapshotId as ResticSnapshotId, StringList};
use rustic_core::{BackupOptions, IndexedIdsStatus, ParentOptions, Repository};

use super::Restic;
use super::backend::{bytes_of, id_of};
use super::error::ResticError;
use super::{node, snapshot};
use crate::format::DecodeError;
use crate::format::snapshot::Snapshot;
use crate::progress::Progress;
use crate::repository::{BlobReader, ContentCursor, Index, Repository as Ours, RepositoryError, SnapshotInfo};
use pieces::{Asked, MAX_ZEROS, Piece, Source, Wanted};
use walk::{Walker, path_of};

/// Entries on their way to rustic_core.
const ENTRIES: usize = 256;

/// Something of the snapshot that could not be read.
struct Problem {
    path: Vec<u8>,
    error: RepositoryError,
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

/// What the threads of one export share.
struct Run<'a> {
    restic: &'a Restic,
    from: &'a Ours,
    index: &'a Index,
    progress: &'a dyn Progress,
    cancel: &'a AtomicBool,
    problem: Mutex<Option<Problem>>,
    /// Files handed over for reading.
    read_files: AtomicU64,
    entries: AtomicU64,
    total_bytes: AtomicU64,
}

impl Run<'_> {
    /// Keeps the first problem. From then on no snapshot is written.
    fn note(&self, path: &[u8], error: RepositoryError) {
        self.restic.backend.bar_snapshots(true);
        let mut first = self.problem.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| Problem { path: path.to_vec(), error });
    }

    fn has_problem(&self) -> bool {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn check(&self) -> Result<(), RepositoryError> {
        if self.cancel.load(Ordering::Relaxed) { Err(RepositoryError::Interrupted) } else { Ok(()) }
    }

    /// Reads what rustic_core wants, until it wants no more.
    fn read_files(&self, wanted: &Receiver<Asked>) {
        let mut reader = match BlobReader::new(self.from, self.index) {
            Ok(reader) => reader,
            Err(error) => return self.note(b"/", error),
        };
        for (file, pieces) in wanted {
            self.read_files.fetch_add(1, Ordering::Relaxed);
            if self.has_problem() {
                let _ = pieces.send(Err(io::Error::other("something else could not be read")));
                continue;
            }
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
                let some = length.min(MAX_ZEROS as u64);
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
                let (before, after) = blob.cut(hole.offset.saturating_sub(position) as usize);
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
        send(Piece::End);
        Ok(())
    }
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
        program_version: if program.starts_with("bk ") {
            program.clone()
        } else {
            format!("bk {}, from {program}", env!("CARGO_PKG_VERSION"))
        },
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
        if !self.packs_are_there {
            self.check_packs()?;
            self.packs_are_there = true;
        }
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
        if let Some(Problem { path, error }) = problem {
            return Err(match error {
                RepositoryError::Interrupted => ResticError::Interrupted,
                error => ResticError::Unreadable {
                    snapshot: info.id.short(),
                    path: String::from_utf8_lossy(&path).escape_debug().to_string(),
                    source: Box::new(error),
                },
            });
        }
        // What kept the snapshot from being written may be the lock.
        let file = archived.or_else(|error| self.check_lock().and(Err(error)))?;
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
    let source = Source::new(received);
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
