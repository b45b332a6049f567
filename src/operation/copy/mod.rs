//! Snapshots of one repository into a sibling, with all that they need and nothing that it has.

mod missing;
pub(crate) mod transfer;

pub use missing::{kept, missing};

use std::sync::atomic::{AtomicBool, Ordering};

use crate::clock::Clock;
use crate::format::fact::{Fact, FactKind};
use crate::id::{BlobId, RunId, SnapshotId};
use crate::operation::reach::{Reach, Unreadable};
use crate::progress::Progress;
use crate::repository::{
    AddedBlobs, Commit, Facts, Index, Purpose, Repository, RepositoryError, SnapshotInfo, Snapshots, add_facts,
    until_detail,
};
use crate::retention::Pin;
use transfer::Transfer;

/// Why a copy ended early. What was copied until then is whole.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// Either repository.
    #[error("{0}")]
    Repository(#[from] RepositoryError),
    /// Something that the snapshot needs cannot be read.
    #[error("snapshot {} is not copied: blob {} of {location} cannot be read: {source}", .snapshot.short(), .blob.short())]
    Unreadable {
        /// Which.
        snapshot: SnapshotId,
        /// What of it.
        blob: BlobId,
        /// Whence it should come.
        location: String,
        /// Why not.
        source: Box<RepositoryError>,
    },
}

/// What was copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopyStats {
    /// The snapshots, in the order in which they were put.
    pub snapshots: Vec<SnapshotId>,
    /// Packs put into the store.
    pub packs: u64,
    /// Bytes put into the store.
    pub stored_bytes: u64,
}

/// A run is made again so often when packs it relied on were deleted meanwhile.
const ATTEMPTS: usize = 3;

/// Copies `snapshots`, one after the other, each with the pins and acknowledgements that it has. One that is there
/// already, or was forgotten there, must not be among them.
///
/// # Errors
/// [`CopyError`]; `done` says what was copied before.
pub fn copy(
    [from, to]: [&Repository; 2],
    snapshots: &[SnapshotInfo],
    clock: &dyn Clock,
    progress: &dyn Progress,
    cancel: &AtomicBool,
    done: &mut CopyStats,
) -> Result<(), CopyError> {
    to.check_writable()?;
    to.store().clean().map_err(RepositoryError::from)?;
    for attempt in 1.. {
        let left: Vec<_> = snapshots.iter().filter(|info| !done.snapshots.contains(&info.id)).collect();
        match copy_once([from, to], &left, clock, progress, cancel, done) {
            Err(CopyError::Repository(RepositoryError::Lost { .. })) if attempt < ATTEMPTS => {
                progress.warn("packs that this run relied on were deleted meanwhile; it goes on anew");
            }
            result => return result,
        }
    }
    Ok(())
}

fn copy_once(
    [from, to]: [&Repository; 2],
    snapshots: &[&SnapshotInfo],
    clock: &dyn Clock,
    progress: &dyn Progress,
    cancel: &AtomicBool,
    done: &mut CopyStats,
) -> Result<(), CopyError> {
    if snapshots.is_empty() {
        return Ok(());
    }
    progress.phase("reading both indexes", None);
    let facts = Snapshots::load(from)?.facts;
    let index = Index::load(to, Purpose::Write, clock)?;
    let source = Index::load(from, Purpose::Read, clock)?;
    let mut reach = Reach::new(from, &source)?;
    // No snapshot will have this run, so that a prune takes nothing of it for two weeks. One writer for all of them: what
    // a snapshot needs of those before it is validated with it.
    let run = RunId(crate::crypto::random().map_err(RepositoryError::from)?);
    let transfer = Transfer::new([from, to], &index, run, clock, progress, cancel)?;
    let before = (done.packs, done.stored_bytes);
    let mut told = AddedBlobs::default();
    for info in snapshots {
        progress.phase("finding what is missing", None);
        let mut wanted = AddedBlobs::default();
        let walked = reach.tell(&info.snapshot, &mut |id| {
            if cancel.load(Ordering::Relaxed) {
                return Err(RepositoryError::Interrupted);
            }
            let is_new = told.insert(*id);
            if is_new && !index.rely_on(id) {
                wanted.insert(*id);
            }
            Ok(is_new)
        });
        walked.map_err(|Unreadable { blob, source }| match source {
            RepositoryError::Interrupted => source.into(),
            source => {
                let (location, source) = (from.location(), Box::new(source));
                CopyError::Unreadable { snapshot: info.id, blob, location, source }
            }
        })?;
        transfer.fetch(&wanted)?;
        progress.phase("putting the snapshot", None);
        Commit { repository: to, index: &index, clock }.put(&transfer.writer, &info.snapshot)?;
        carry_facts(to, &info.id, info, &facts, clock)?;
        done.packs = before.0 + transfer.writer.stats().packs();
        done.stored_bytes = before.1 + transfer.writer.stats().stored_bytes();
        done.snapshots.push(info.id);
    }
    Ok(())
}

/// What somebody said of the snapshot `of` holds for its copy `info`.
pub(crate) fn carry_facts(
    to: &Repository,
    of: &SnapshotId,
    info: &SnapshotInfo,
    known: &Facts,
    clock: &dyn Clock,
) -> Result<(), RepositoryError> {
    let fact = |kind, detail| Fact {
        kind,
        time: clock.wall(),
        host: info.snapshot.host.clone(),
        snapshot: Some(info.id),
        pack: None,
        detail,
    };
    let pinned = match known.pin(of) {
        Pin::None => None,
        Pin::Forever => Some(fact(FactKind::Pinned, None)),
        Pin::Until(until) => Some(fact(FactKind::Pinned, Some(until_detail(until)))),
    };
    let accepted = known.is_acknowledged(of).then(|| fact(FactKind::AnomalyAcknowledged, None));
    let facts: Vec<_> = pinned.into_iter().chain(accepted).collect();
    if facts.is_empty() { Ok(()) } else { add_facts(to, &facts).map(drop) }
}
