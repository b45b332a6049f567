//! Repair: what is damaged is put right as far as anything still holds it, and taken out of the way. bk-repository(7),
//! "REPAIRING".
//!
//! Every form looks first and gives a plan; [`apply`](index::apply) does what it says. Nothing is deleted: what is taken
//! out goes to quarantine and can be put back. What replaces it was stored and read back before. Others may work
//! meanwhile, as beside a prune; stopped anywhere, the same command ends what was begun.

pub mod index;
mod mend;
pub mod packs;
pub mod quarantine;
mod sibling;
pub mod snapshots;
mod snapshots_apply;
mod survey;

use std::sync::atomic::{AtomicBool, Ordering};

pub use mend::{Loss, Lost};
pub use sibling::Sibling;

use crate::clock::Clock;
use crate::id::SnapshotId;
use crate::progress::Progress;
use crate::repository::RepositoryError;
use crate::store::StoreError;

/// What every repair works with.
#[derive(Clone, Copy)]
pub struct Tools<'a> {
    /// Time.
    pub clock: &'a dyn Clock,
    /// Who hears of it.
    pub progress: &'a dyn Progress,
    /// Threads that read and compress.
    pub threads: usize,
    /// Set to stop.
    pub interrupted: &'a AtomicBool,
}

impl Tools<'_> {
    fn go_on(&self) -> Result<(), RepositoryError> {
        if self.interrupted.load(Ordering::Relaxed) { Err(RepositoryError::Interrupted) } else { Ok(()) }
    }
}

/// An object that is taken out, or that stays damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// Its name in the store.
    pub name: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A snapshot that cannot be restored whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Affected {
    /// Which.
    pub id: SnapshotId,
    /// What of it is lost.
    pub lost: Vec<Lost>,
}

/// Why nothing is repaired.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// Anything else.
    #[error("{0}")]
    Repository(#[from] RepositoryError),
    /// What a prune is about to delete is not known.
    #[error(
        "nothing is repaired: {name} is damaged, and which packs a prune is going to delete is not known: {reason}"
    )]
    DamagedMark {
        /// The mark.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An index object is damaged, or lost.
    #[error("nothing is repaired: the index does not know everything that is stored ({0})")]
    IndexFirst(String),
    /// A sibling holds what is lost here.
    #[error("nothing is repaired: {blobs} blobs that are lost here can be had from {sibling}")]
    PacksFirst {
        /// Which.
        sibling: String,
        /// How many.
        blobs: usize,
    },
    /// A prune marked or deleted what was relied on.
    #[error("nothing was taken out: a prune has marked packs that this repair relied on")]
    Moved,
    /// What was stored anew cannot be read.
    #[error("nothing was taken out: {name}, which was just stored, is damaged: {reason}")]
    ReadBack {
        /// The new pack.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A name that means nothing here.
    #[error("{message}")]
    NoSuch {
        /// What was looked for, and where.
        message: String,
        /// Where to look.
        hint: &'static str,
    },
}

impl From<StoreError> for RepairError {
    fn from(error: StoreError) -> Self {
        RepositoryError::from(error).into()
    }
}

impl RepairError {
    /// The next step for the user.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Repository(error) => error.hint(),
            Self::DamagedMark { .. } => {
                "put it back from a copy; without one, take it out when no prune has run for three days"
            }
            Self::IndexFirst(_) => "run `bk repair index` first",
            Self::PacksFirst { .. } => "run `bk repair packs` first: it fetches them",
            Self::Moved => "run the command again",
            Self::ReadBack { .. } => "look after the disk and the memory of this machine, then run the command again",
            Self::NoSuch { hint, .. } => hint,
        }
    }
}

/// Whether an error says that stored bytes are lost, and not only that they could not be had now. An object under a key
/// epoch that was not opened is somebody else's, and is left alone.
fn is_lost(error: &RepositoryError) -> bool {
    use crate::format::object::ObjectError;
    match error {
        RepositoryError::Object { source: ObjectError::Epoch(_) | ObjectError::Random(_), .. } => false,
        RepositoryError::Store(StoreError::Io { source, .. }) => {
            source.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
        }
        error => error.is_damage(),
    }
}

/// Whether an object says that it is sealed under a key epoch that was not opened.
const fn is_of_other_epoch(error: &RepositoryError) -> bool {
    matches!(error, RepositoryError::Object { source: crate::format::object::ObjectError::Epoch(_), .. })
}

/// What an error says of its object, without the object's name.
fn reason(error: &RepositoryError) -> String {
    match error {
        RepositoryError::Damaged { .. } => "its bytes do not match its name".to_owned(),
        RepositoryError::Object { source, .. } => format!("it cannot be opened: {source}"),
        RepositoryError::Malformed { source, .. } => format!("it is malformed: {source}"),
        RepositoryError::Slot { source, .. } => format!("it cannot be opened: {source}"),
        RepositoryError::Segment { reason, .. } => format!("its table cannot be read: {reason}"),
        RepositoryError::Store(StoreError::Missing { .. }) => "it is gone".to_owned(),
        RepositoryError::Store(StoreError::Short { size, .. }) => format!("it was cut short at byte {size}"),
        RepositoryError::Store(StoreError::Io { source, .. }) => format!("it cannot be read: {source}"),
        error => error.to_string(),
    }
}

/// Tries twice what seems to be damaged: a bad line, or a bad memory, shall take nothing out.
fn twice<T>(mut read: impl FnMut() -> Result<T, RepositoryError>) -> Result<T, RepositoryError> {
    match read() {
        Err(error) if is_lost(&error) => read(),
        read => read,
    }
}
