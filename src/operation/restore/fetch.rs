//! What a restore will read, found out before it begins: to fetch it ahead, and to say how much it is.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::format::node::Node;
use crate::operation::reach::Reach;
use crate::repository::{AddedBlobs, Index, ReadAhead, Repository, RepositoryError};

/// Everything that `entries` need, to be fetched into `folder`. What cannot be read is left to whoever reads it then,
/// and says what it concerns.
///
/// # Errors
/// [`RepositoryError::Interrupted`].
pub fn wanted<'a, 'n>(
    repository: &'a Repository,
    index: &'a Index,
    entries: impl IntoIterator<Item = &'n Node>,
    folder: PathBuf,
    cancel: &AtomicBool,
) -> Result<ReadAhead<'a>, RepositoryError> {
    let mut ahead = ReadAhead::new(repository, index, folder);
    let mut reach = Reach::new(repository, index)?;
    let mut told = AddedBlobs::default();
    for node in entries {
        let told = reach.tell_of(node, &mut |id| {
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
            return Err(RepositoryError::Interrupted);
        }
    }
    Ok(ahead)
}
