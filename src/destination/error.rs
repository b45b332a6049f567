//! What can go wrong at the target of a restore.

use rustix::io::Errno;

use super::name::NameError;

/// A failure of one entry, or of the target as a whole. Paths are for people: control characters are escaped.
#[derive(Debug, thiserror::Error)]
pub enum DestinationError {
    /// The snapshot gives an entry a name that must not reach a file system.
    #[error("cannot restore `{name}` in {folder}: {source}")]
    Name {
        /// The folder it was to appear in.
        folder: String,
        /// The offending name.
        name: String,
        /// The rule it breaks.
        source: NameError,
    },
    /// A link or a file lies where a directory is needed.
    #[error("{path} is a link or a file, not a directory")]
    NotADirectory {
        /// Where.
        path: String,
    },
    /// The private folder belongs to another user.
    #[error("{path} belongs to user {uid}, not to you")]
    NotYours {
        /// Where.
        path: String,
        /// Its owner.
        uid: u32,
    },
    /// The private folder exists and lets other users in.
    #[error("{path} exists and is open to other users (mode {mode:04o})")]
    NotPrivate {
        /// Where.
        path: String,
        /// Its permission bits.
        mode: u32,
    },
    /// Something that must not be replaced has the name already.
    #[error("{path} exists already and is not replaced")]
    InTheWay {
        /// Where.
        path: String,
    },
    /// Something else than a regular file.
    #[error("{path} is not a regular file")]
    NotAFile {
        /// Where.
        path: String,
    },
    /// The inode has further names, perhaps outside the target, so it is not changed.
    #[error("{path} has other hard links, which would change with it")]
    HardLinked {
        /// Where.
        path: String,
    },
    /// Another file system is mounted here, and it is not entered to remove things.
    #[error("{path} is a mount point")]
    MountPoint {
        /// Where.
        path: String,
    },
    /// A directory was moved elsewhere by somebody while it was being removed.
    #[error("{path} was moved while it was being removed")]
    Moved {
        /// Where it had been.
        path: String,
    },
    /// The system refused.
    #[error("{action} {path} failed")]
    System {
        /// What was being done, such as `opening`.
        action: &'static str,
        /// On what.
        path: String,
        /// What the system said.
        source: Errno,
    },
}

impl DestinationError {
    /// What the system said, where it was the system.
    #[must_use]
    pub const fn errno(&self) -> Option<Errno> {
        match self {
            Self::System { source, .. } => Some(*source),
            _ => None,
        }
    }

    /// The next step for the user, printed under the message as `hint: …`.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Name { .. } => {
                "the snapshot holds a name no honest backup contains: find out who can write to the repository"
            }
            Self::NotADirectory { .. } => "look at what lies there; move it away, or restore to another folder",
            Self::NotYours { .. } => "restore to another folder, or as the user who owns this one",
            Self::NotPrivate { .. } => {
                "restore to another folder, or make it private with `chmod 700` if nothing uses it"
            }
            Self::InTheWay { .. } => "move it away, or allow overwriting with `--overwrite always`",
            Self::NotAFile { .. } => "look at what lies there; remove it, then run the same restore again",
            Self::HardLinked { .. } => "remove that name, then run the same restore again",
            Self::MountPoint { .. } => "unmount it first, or leave this folder out of `--delete`",
            Self::Moved { .. } => "stop the programs that work in the target, then run the same restore again",
            Self::System { source, .. } => system_hint(*source),
        }
    }
}

fn system_hint(errno: Errno) -> &'static str {
    match errno {
        Errno::NOSPC | Errno::DQUOT => "make room, then run the same restore again: what is complete is kept",
        Errno::ROFS => "the target is mounted read-only: mount it writable or choose another one",
        Errno::ACCESS | Errno::PERM => "run the restore as root, or choose a folder you may write to",
        Errno::MFILE | Errno::NFILE => "allow more open files (`ulimit -n`), then run the same restore again",
        Errno::NAMETOOLONG | Errno::FBIG => {
            "the target's file system is too limited for this entry: choose another one"
        }
        _ => "correct the cause, then run the same restore again: what is complete is kept",
    }
}
