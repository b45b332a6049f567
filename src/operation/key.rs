//! Changing the key of a repository: the new slot is there and opens before an old one goes, so that whatever stops
//! it in between, something opens the repository.

use crate::format::key_slot::Credential;
use crate::repository::{Repository, RepositoryError, opened_by, put_slot};
use crate::store::ObjectName;

/// What a change did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyChange {
    /// The new slot.
    pub added: ObjectName,
    /// The slots that the old password or key opened.
    pub removed: Vec<ObjectName>,
}

/// Adds `slot`, which `new` opens, then removes every slot that `current` opens.
///
/// # Errors
/// As they come. Until the new slot was read back and opened, no other is touched.
pub fn change(
    repository: &Repository,
    current: &Credential,
    new: &Credential,
    slot: &[u8],
) -> Result<KeyChange, RepositoryError> {
    let store = repository.store();
    let old = opened_by(store, current)?;
    let added = put_slot(store, repository.keys(), new, slot)?;
    let mut removed = Vec::new();
    for name in old.into_iter().filter(|name| *name != added) {
        store.delete(&name)?;
        removed.push(name);
    }
    Ok(KeyChange { added, removed })
}
