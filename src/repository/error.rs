//! What can go wrong with a repository, by the name of the object concerned.

use crate::compress::CompressError;
use crate::crypto::{RandomError, SealError};
use crate::format::DecodeError;
use crate::format::key_slot::SlotError;
use crate::format::object::ObjectError;
use crate::id::BlobId;
use crate::store::StoreError;

/// A repository did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// The store.
    #[error("{0}")]
    Store(#[source] StoreError),
    /// No slot is opened by what was given.
    #[error("wrong password or key: it opens none of the {slots} key slots of {location}")]
    WrongKey {
        /// The repository.
        location: String,
        /// Slots tried.
        slots: usize,
    },
    /// There is no key slot at all.
    #[error("{location} has no key slot: nothing can open it")]
    NoSlots {
        /// The repository.
        location: String,
    },
    /// There is no configuration.
    #[error("{location} holds no configuration: it was never finished, or its config folder is lost")]
    NoConfig {
        /// The repository.
        location: String,
    },
    /// A version of the format that this program does not know.
    #[error("{location} has format version {version}; this program knows version 1")]
    Version {
        /// The repository.
        location: String,
        /// Its version.
        version: u64,
    },
    /// A feature that this program does not know.
    #[error("{location} needs feature {feature} {needed}, which this version of bk does not have")]
    Feature {
        /// The repository.
        location: String,
        /// `to read` or `to write`.
        needed: &'static str,
        /// Its number.
        feature: u64,
    },
    /// The bytes of an object do not fit its name.
    #[error("object {name} is damaged: its bytes do not match its name")]
    Damaged {
        /// The object.
        name: String,
    },
    /// An object cannot be opened.
    #[error("object {name} cannot be used: {source}")]
    Object {
        /// The object.
        name: String,
        /// Why not.
        source: ObjectError,
    },
    /// An object opens but its contents make no sense.
    #[error("object {name} is malformed: {source}")]
    Malformed {
        /// The object.
        name: String,
        /// What is wrong.
        source: DecodeError,
    },
    /// A key slot cannot be made or read.
    #[error("key slot {name}: {source}")]
    Slot {
        /// The slot.
        name: String,
        /// Why not.
        source: SlotError,
    },
    /// The last slot must stay.
    #[error("key slot {name} is the only one that opens the repository")]
    LastSlot {
        /// The slot.
        name: String,
    },
    /// No slot has this name.
    #[error("no key slot begins with `{prefix}`, or more than one does")]
    NoSuchSlot {
        /// What the user typed.
        prefix: String,
    },
    /// The index does not know a blob.
    #[error("blob {id} is not in the index")]
    NotIndexed {
        /// The blob.
        id: BlobId,
    },
    /// A segment of a pack cannot be used.
    #[error("{pack}: the segment at byte {offset} cannot be used: {reason}")]
    Segment {
        /// The pack.
        pack: String,
        /// Where the segment begins, in bytes.
        offset: u64,
        /// Why not.
        reason: String,
    },
    /// Something in a repository of another format cannot be used.
    #[error("{object} of {location} cannot be used: {reason}")]
    Foreign {
        /// The repository.
        location: String,
        /// What in it.
        object: String,
        /// Why not.
        reason: String,
        /// Whether what is stored is to blame, as opposed to a passing trouble.
        damage: bool,
    },
    /// Other keys.
    #[error("{location} is no sibling of {other}: the key of that one does not open it")]
    NotSibling {
        /// The repository.
        location: String,
        /// The one that it should be a sibling of.
        other: String,
    },
    /// Blobs that the snapshot needs were deleted while the run went on.
    #[error("{packs} packs that this run relied on were deleted from {location} meanwhile")]
    Lost {
        /// The repository.
        location: String,
        /// How many.
        packs: usize,
    },
    /// The commit could not be made in time.
    #[error("the snapshot could not be put within 10 minutes of the last look at {location}")]
    TooLate {
        /// The repository.
        location: String,
    },
    /// No snapshot, or more than one, has this id.
    #[error("{0}")]
    NoSnapshot(String),
    /// The snapshot that is meant cannot be read.
    #[error("{object} cannot be read: {reason}")]
    DamagedSnapshot {
        /// Its object.
        object: String,
        /// Why not.
        reason: String,
    },
    /// Compression failed.
    #[error("{0}")]
    Compress(#[from] CompressError),
    /// Sealing failed.
    #[error("{0}")]
    Seal(#[from] SealError),
    /// No random bytes.
    #[error("{0}")]
    Random(#[from] RandomError),
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// Another thread of the same run failed; its error is the one to show.
    #[error("the run was stopped by an error elsewhere")]
    Stopped,
}

impl From<StoreError> for RepositoryError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl RepositoryError {
    /// The next step for the user.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Store(error) => error.hint(),
            Self::WrongKey { .. } => {
                "check the password or key file; `--key-file` takes the text of a recovery kit too"
            }
            Self::NoSlots { .. } => "put the keys folder back from a sibling repository or a copy of this one",
            Self::NoConfig { .. } => {
                "make the repository anew with `bk init`, or put its config folder back from a copy"
            }
            Self::Version { .. } | Self::Feature { .. } => "use a newer version of bk",
            Self::Damaged { .. } | Self::Object { .. } | Self::Malformed { .. } | Self::Segment { .. } => {
                "run `bk check --read-data` to see everything that is affected"
            }
            Self::DamagedSnapshot { .. } => {
                "run `bk check` to see what is damaged; `bk snapshots` lists those that can be read"
            }
            Self::Slot { .. } => "run `bk key list`",
            Self::LastSlot { .. } => "add another key first, with `bk key add`",
            Self::NoSuchSlot { .. } => "run `bk key list` and type more digits of the slot",
            Self::NotIndexed { .. } => "run `bk check` to see which snapshots need it; a new backup stores it again",
            Self::Foreign { damage: true, .. } => {
                "`restic check --read-data` says more; see also restic's own guide to repairs"
            }
            Self::Foreign { .. } => "check that the repository can be reached, then run the command again",
            Self::NotSibling { .. } => {
                "repositories that `bk init` makes together are siblings; name one of another family alone, with --repo"
            }
            Self::Lost { .. } | Self::TooLate { .. } => "run the backup again",
            Self::NoSnapshot(_) => "run `bk snapshots` to see what there is",
            Self::Compress(_) => "test this machine's memory before you trust it with anything",
            Self::Seal(_) | Self::Random(_) | Self::Stopped => "run the command again",
            Self::Interrupted => "run the command again; what is stored already is used",
        }
    }

    /// Whether something was not where it should be, as happens when a prune moved it.
    #[must_use]
    pub const fn is_absence(&self) -> bool {
        matches!(self, Self::NotIndexed { .. } | Self::Store(StoreError::Missing { .. }))
    }

    /// Whether this says that stored data is damaged or missing, as opposed to a passing trouble.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. }
            | Self::Object { .. }
            | Self::Malformed { .. }
            | Self::NotIndexed { .. }
            | Self::Segment { .. }
            | Self::DamagedSnapshot { .. }
            | Self::Foreign { damage: true, .. } => true,
            Self::Store(error) => matches!(error, StoreError::Missing { .. } | StoreError::Short { .. }),
            _ => false,
        }
    }
}
