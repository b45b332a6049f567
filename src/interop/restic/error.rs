//! What can go wrong with a repository in restic's format.

use rustic_core::RusticError;

use crate::repository::RepositoryError;
use crate::store::StoreError;

/// A repository in restic's format did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ResticError {
    /// Where it lies.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// None of its keys is opened by the password.
    #[error("wrong password: it opens none of the {keys} keys of {location}")]
    WrongPassword {
        /// The repository.
        location: String,
        /// Keys tried.
        keys: usize,
    },
    /// Somebody works with it who must be alone, or who must not be disturbed.
    #[error("{location} is locked by {holder}")]
    Locked {
        /// The repository.
        location: String,
        /// Who, since when, and how.
        holder: String,
    },
    /// The lock of this run could not be renewed, and somebody else may have taken it for dead.
    #[error("the lock of this run in {location} could not be renewed for {minutes} minutes: {reason}")]
    LockLost {
        /// The repository.
        location: String,
        /// So long.
        minutes: u64,
        /// Why not.
        reason: String,
    },
    /// What is stored cannot be used.
    #[error("{object} of {location} cannot be used: {reason}")]
    Damaged {
        /// The repository.
        location: String,
        /// What in it.
        object: String,
        /// Why not.
        reason: String,
    },
    /// Something of the snapshot to be exported cannot be read, so that it was not exported.
    #[error("snapshot {snapshot} is not exported: {path} cannot be read: {source}")]
    Unreadable {
        /// The snapshot, in short.
        snapshot: String,
        /// What of it.
        path: String,
        /// Why not.
        source: Box<RepositoryError>,
    },
    /// The repository of our own format that is exported from.
    #[error("{0}")]
    Source(#[from] RepositoryError),
    /// The library that speaks the format refused.
    #[error("cannot {action} {location}: {reason}")]
    Library {
        /// What was tried.
        action: &'static str,
        /// The repository.
        location: String,
        /// The library's words, in one line.
        reason: String,
    },
    /// A thread ended without a result.
    #[error("a thread of the export ended without a result")]
    Thread,
    /// The user wants it to end.
    #[error("interrupted")]
    Interrupted,
}

impl ResticError {
    /// The next step for the user.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Store(error) => error.hint(),
            Self::WrongPassword { .. } => {
                "give restic's password with --restic-password-file, or in the section of the repository"
            }
            Self::Locked { .. } => {
                "wait until it has ended; what died without taking its lock away is cleared by `restic unlock`"
            }
            Self::LockLost { .. } => "check that the repository can be written to, then run the command again",
            Self::Damaged { .. } => "`restic check --read-data` says more; see also restic's own guide to repairs",
            Self::Unreadable { source, .. } => source.hint(),
            Self::Source(error) => error.hint(),
            Self::Library { .. } | Self::Thread => "run `bk check` on it, then the command again",
            Self::Interrupted => "run the command again; what is done already is not done again",
        }
    }

    /// Whether this says that stored data is damaged or missing.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        match self {
            Self::Damaged { .. } => true,
            Self::Store(error) => matches!(error, StoreError::Missing { .. } | StoreError::Short { .. }),
            Self::Unreadable { source, .. } => source.is_damage(),
            Self::Source(error) => error.is_damage(),
            _ => false,
        }
    }
}

/// The words of the library in one line: what failed and why, without its advice and the trace of its calls.
pub(super) fn words(error: &RusticError) -> String {
    let text = error.display_log();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = text.strip_prefix("Error: ").unwrap_or(&text);
    let Some((what, cause)) = text.split_once(" (kind: ") else { return text.to_owned() };
    let Some((_, cause)) = cause.split_once("caused by: ") else { return what.to_owned() };
    // A cause that is an error of the library, too, says in the middle what it is.
    let cause = cause.split_once("Message: ").map_or(cause, |(_, cause)| cause);
    let ends = [" For more information", " Some additional details", " Backtrace:"];
    let end = ends.iter().filter_map(|end| cause.find(end)).min().unwrap_or(cause.len());
    format!("{what}: {}", cause.get(..end).unwrap_or(cause).trim_end_matches('.'))
}
