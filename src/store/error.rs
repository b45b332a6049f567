//! What can go wrong with a store.

use std::io;
use std::path::PathBuf;

use super::remote::Trouble;
use super::sftp::SshTrouble;

/// A store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no such object.
    #[error("object {name} is not in {location}")]
    Missing {
        /// The object's name.
        name: String,
        /// The store.
        location: String,
    },
    /// The name is taken.
    #[error("object {name} exists already in {location}")]
    Exists {
        /// The object's name.
        name: String,
        /// The store.
        location: String,
    },
    /// The object ends before the range does.
    #[error("object {name} in {location} ends at byte {size}, before {end}: it was cut short")]
    Short {
        /// The object's name.
        name: String,
        /// The store.
        location: String,
        /// Its length in bytes.
        size: u64,
        /// End of the range that was asked for, in bytes.
        end: u64,
    },
    /// The disk is full, or a quota is used up.
    #[error("no room is left in {location} while writing {name}")]
    Full {
        /// What was being written.
        name: String,
        /// The store.
        location: String,
    },
    /// Less is free than the configuration wants to keep free.
    #[error("{location} has {free_bytes} bytes free, less than the min-free of {min_free_bytes}")]
    MinFree {
        /// The store.
        location: String,
        /// Free now.
        free_bytes: u64,
        /// To be kept free.
        min_free_bytes: u64,
    },
    /// There is no repository at the location.
    #[error("there is no repository at {location}")]
    NoRepository {
        /// The store.
        location: String,
    },
    /// There is something at the location already.
    #[error("{location} is not empty")]
    NotEmpty {
        /// The store.
        location: String,
    },
    /// Something of ours should be put into a repository in another format.
    #[error("{location} is a repository in restic's format, which this cannot write to")]
    OtherFormat {
        /// The store.
        location: String,
    },
    /// The file system that should be mounted is not.
    #[error("{mount} is not a mount point now, and `require-mount` asks for one before {location} is used")]
    NotMounted {
        /// Where it should be.
        mount: PathBuf,
        /// The store.
        location: String,
    },
    /// A store on another machine cannot be used, for a reason that is known.
    #[error("cannot {action} {name} in {location}: {trouble}")]
    Remote {
        /// What was tried.
        action: &'static str,
        /// The object or folder.
        name: String,
        /// The store.
        location: String,
        /// Why not.
        trouble: Trouble,
        /// The words of the server or the system.
        source: io::Error,
    },
    /// A store behind SSH cannot be used, for a reason that is known.
    #[error("cannot {action} {name} in {location}: {trouble}")]
    Ssh {
        /// What was tried.
        action: &'static str,
        /// The object or folder.
        name: String,
        /// The store.
        location: String,
        /// Why not.
        trouble: SshTrouble,
        /// The words of ssh or of the server.
        source: io::Error,
    },
    /// The configuration of a store on another machine lacks something, or contradicts itself.
    #[error("{location} {problem}")]
    Settings {
        /// The store.
        location: String,
        /// What is wrong.
        problem: &'static str,
        /// The next step.
        hint: &'static str,
    },
    /// The user stopped the run, and the server did not answer in time.
    #[error("stopped while waiting for {location} to {action} {name}")]
    Stopped {
        /// What was asked.
        action: &'static str,
        /// The object or folder.
        name: String,
        /// The store.
        location: String,
    },
    /// Anything else.
    #[error("cannot {action} {name} in {location}")]
    Io {
        /// What was tried: `read`, `write`, `list`, `delete`.
        action: &'static str,
        /// The object or folder.
        name: String,
        /// The store.
        location: String,
        /// Why not.
        source: io::Error,
    },
}

impl StoreError {
    /// Whether the object is simply not there.
    #[must_use]
    pub const fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. })
    }

    /// Whether its server gave no answer, which it will not to the next request either.
    #[must_use]
    pub const fn is_away(&self) -> bool {
        match self {
            Self::Remote { trouble, .. } => matches!(trouble, Trouble::Unreachable | Trouble::Busy),
            Self::Ssh { trouble, .. } => {
                matches!(trouble, SshTrouble::NobodyListens | SshTrouble::Unreachable | SshTrouble::Lost)
            }
            _ => false,
        }
    }

    /// Whether the store answers, and does not allow it.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        match self {
            Self::Remote { trouble, .. } => *trouble == Trouble::Denied,
            Self::Ssh { trouble, .. } => *trouble == SshTrouble::Denied,
            Self::Io { source, .. } => source.kind() == io::ErrorKind::PermissionDenied,
            _ => false,
        }
    }

    /// Names the object and the store in an error of the system.
    #[must_use]
    pub fn from_io(action: &'static str, name: &str, location: &str, source: io::Error) -> Self {
        let (name, location) = (name.to_owned(), location.to_owned());
        match source.kind() {
            io::ErrorKind::NotFound => Self::Missing { name, location },
            io::ErrorKind::AlreadyExists => Self::Exists { name, location },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { name, location },
            _ => Self::Io { action, name, location, source },
        }
    }

    /// The next step for the user.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Missing { .. } | Self::Short { .. } => "run `bk check` to see what is affected",
            Self::Stopped { .. } => "run the command again; what is stored already is used",
            Self::Exists { .. } => "run the command again; names are never used twice",
            Self::Full { .. } | Self::MinFree { .. } => {
                "make room there, then run the command again; what is stored already is kept and used"
            }
            Self::NoRepository { .. } => {
                "check the location, or make a repository there with `bk init`; `bk export` makes those in restic's format"
            }
            Self::NotEmpty { .. } => "choose another folder, or an empty one",
            Self::OtherFormat { .. } => "use `bk export` to write to it, `bk import` to bring its snapshots here",
            Self::NotMounted { .. } => "mount it, then run the command again",
            Self::Remote { trouble, .. } => trouble.hint(),
            Self::Ssh { trouble, .. } => trouble.hint(),
            Self::Settings { hint, .. } => hint,
            Self::Io { .. } => "check that the store is reachable and may be used, then run the command again",
        }
    }
}
