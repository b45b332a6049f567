//! What can go wrong with what is remembered.

use std::path::PathBuf;

/// Something cannot be remembered, or a lock not be taken.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The folder or a file in it.
    #[error("the data folder {} cannot be used", folder.display())]
    Folder {
        /// The data folder.
        folder: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The database.
    #[error("the record of runs in {} cannot be used", path.display())]
    Database {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// What is kept there is not what was put there.
    #[error("the record of runs in {} holds something that bk does not know: {what}", path.display())]
    Unknown {
        /// Its file.
        path: PathBuf,
        /// What.
        what: String,
    },
}

impl StateError {
    /// The next step for the user.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Folder { .. } => "check its owner, its mode and its room, or set BK_DATA_DIR",
            Self::Database { .. } => "check that there is room; it may be deleted, nothing of it is needed to restore",
            Self::Unknown { .. } => "it may be deleted, nothing of it is needed to restore",
        }
    }
}
