//! Whether the packs that the index names are there.

use std::collections::HashMap;
use std::sync::Arc;

use rustic_core::repofile::{IndexFile, IndexId};
use rustic_core::{FileType, ReadBackend as _};

use super::Restic;
use super::backend::{Shared, bytes_of};
use super::error::ResticError;
use crate::store::{Area, ResticArea};

impl Restic {
    /// Refuses to rely on an index that names what is not there: what would be written then could not be restored.
    ///
    /// # Errors
    /// [`ResticError::Damaged`], naming the first such pack; others as they come.
    pub(super) fn check_packs(&self) -> Result<(), ResticError> {
        // What is named was stored before, and nobody takes anything away while this is locked.
        let mut named = HashMap::new();
        for id in Shared(Arc::clone(&self.backend)).list(FileType::Index).map_err(self.failed("list the index of"))? {
            let file: IndexFile =
                self.repository.get_file(&IndexId::from(id)).map_err(self.failed("read the index of"))?;
            named.extend(file.packs.iter().map(|pack| (bytes_of(*pack.id), u64::from(pack.pack_size()))));
        }
        let listed = self.backend.store().list(Area::Restic(ResticArea::Data))?;
        let stored: HashMap<[u8; 32], u64> = listed.iter().map(|one| (*one.name.hash(), one.size)).collect();
        let wrong = named.iter().find(|(id, size)| stored.get(*id) != Some(*size));
        wrong.map_or(Ok(()), |(id, size)| {
            let reason = match stored.get(id) {
                Some(other) => format!("it has {other} bytes, and the index says {size}"),
                None => "the index names it, and it is missing".into(),
            };
            let (location, object) = (self.location(), ResticArea::Data.object(*id).to_string());
            Err(ResticError::Damaged { location, object, reason })
        })
    }
}
