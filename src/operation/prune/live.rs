//! What snapshots need, as one bit for each entry of the index.

use std::sync::atomic::Ordering;

use super::view::Bits;
use super::{PruneError, PruneOptions};
use crate::operation::reach::{Reach, Unreadable};
use crate::progress::Progress;
use crate::repository::{Index, Repository, RepositoryError, SnapshotInfo};

/// The blobs that snapshots need, each by the number of its first entry.
pub(super) fn live(
    repository: &Repository,
    index: &Index,
    snapshots: &[SnapshotInfo],
    options: &PruneOptions<'_>,
    progress: &dyn Progress,
) -> Result<Bits, PruneError> {
    progress.phase("finding what snapshots need", None);
    progress.total(snapshots.len() as u64, 0);
    let mut reach = Reach::new(repository, index)?;
    let mut live = Bits::new(index.len());
    for info in snapshots {
        let told = reach.tell(&info.snapshot, &mut |id| {
            if options.interrupted.load(Ordering::Relaxed) {
                return Err(RepositoryError::Interrupted);
            }
            index.numbers(id).next().map(|number| live.set(number)).ok_or(RepositoryError::NotIndexed { id: *id })
        });
        told.map_err(|Unreadable { blob, source }| match source {
            RepositoryError::Interrupted => source.into(),
            RepositoryError::NotIndexed { .. } => PruneError::Missing { blob, blobs: 1, snapshot: Some(info.id) },
            source => PruneError::Unreadable { snapshot: info.id, source },
        })?;
        progress.advance(1, 0);
    }
    Ok(live)
}
