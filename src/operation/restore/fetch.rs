//! What a restore will read, found out before it begins: to fetch it ahead, and to say how much it is.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{RestoreError, Selected};
use crate::operation::reach::Reach;
use crate::repository::{AddedBlobs, Index, ReadAhead, Repository, RepositoryError};

/// Everything that `selected` needs, to be fetched into `folder`. What cannot be read is left to the restore itself,
/// which says what it concerns.
///
/// # Errors
/// [`RestoreError::Interrupted`].
pub fn wanted<'a>(
    repository: &'a Repository,
    index: &'a Index,
    selected: &[Selected],
    folder: PathBuf,
    cancel: &AtomicBool,
) -> Result<ReadAhead<'a>, RestoreError> {
    let mut ahead = ReadAhead::new(repository, index, folder);
    let mut reach = Reach::new(repository, index)?;
    let mut told = AddedBlobs::default();
    for entry in selected {
        let told = reach.tell_of(&entry.node, &mut |id| {
            if cancel.load(Ordering::Relaxed) {
                return Err(RepositoryError::Interrupted);
            }
            let is_new = told.insert(*id);
            if is_new && let Some(entry) = index.find(id).next() {
                ahead.want(&entry);
            }
            Ok(is_new)
        });
        if told.is_err_and(|error| matches!(error.source, RepositoryError::Interrupted)) {
            return Err(RestoreError::Interrupted);
        }
    }
    Ok(ahead)
}
