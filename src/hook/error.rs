//! Why a hook did not do its work.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::source::command::CommandError;

/// The exit code of a hook that misses what it needs, `EX_UNAVAILABLE` of sysexits.h.
const UNAVAILABLE: i32 = 69;

/// A hook that cannot be used, or failed.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// There is none of that name.
    #[error("there is no hook called `{name}`")]
    Unknown {
        /// The name.
        name: String,
        /// Where a machine's own hooks lie.
        folder: PathBuf,
        /// The built-in ones.
        known: String,
    },
    /// Somebody else could change what root would run.
    #[error("{} {problem}, so root does not run it", path.display())]
    Untrusted {
        /// The hook.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The system did not give what a hook needs.
    #[error("hook `{hook}` cannot be prepared: {what}")]
    Prepare {
        /// Its name.
        hook: String,
        /// What failed.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It ran and failed.
    #[error("{source}")]
    Command {
        /// Its name.
        hook: String,
        /// How it ended.
        #[source]
        source: CommandError,
        /// What it said was wrong, on descriptor 3.
        problems: Vec<super::Problem>,
    },
}

impl HookError {
    /// The next step for the user.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Unknown { folder, known, .. } => {
                format!("built in are: {known}; a hook of your own lies in {}", folder.display())
            }
            Self::Untrusted { path, .. } => {
                format!(
                    "run `chown root {0}` and `chmod go-w {0}`, and see that its folder is root's too",
                    path.display()
                )
            }
            Self::Prepare { .. } => "check that there is room, and that /proc is mounted".to_owned(),
            Self::Command { source, problems, .. } => match problems.iter().find_map(|problem| problem.hint.clone()) {
                Some(hint) => hint,
                None => source.hint().to_owned(),
            },
        }
    }

    /// Whether it could not even be tried here, for want of a program or a server.
    #[must_use]
    pub const fn is_unavailable(&self) -> bool {
        matches!(self, Self::Command { source: CommandError::Failed { code: UNAVAILABLE, .. }, .. })
    }

    /// Whether the user stopped it.
    #[must_use]
    pub const fn is_interrupted(&self) -> bool {
        matches!(self, Self::Command { source: CommandError::Interrupted { .. }, .. })
    }

    /// The last words of the hook, when it has any.
    #[must_use]
    pub fn last_words(&self) -> Option<String> {
        let Self::Command { source, problems, .. } = self else { return None };
        let said = problems.first().map(|problem| problem.message.clone());
        said.or_else(|| {
            let text = source.stderr()?.trim_end();
            text.lines().last().filter(|line| !line.is_empty()).map(str::to_owned)
        })
    }

    /// Everything in one line.
    #[must_use]
    pub fn in_one_line(&self) -> String {
        match self.last_words() {
            Some(words) => format!("{self}: {words}"),
            None => self.to_string(),
        }
    }
}

/// Refuses what another user could have put in place of a hook that root runs.
pub(super) fn trust(path: &Path, metadata: &Metadata) -> Result<(), HookError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let untrusted = |problem| Err(HookError::Untrusted { path: path.to_owned(), problem });
    let folder = path.parent().and_then(|folder| std::fs::metadata(folder).ok());
    let writable = |metadata: &Metadata| metadata.mode() & 0o022 != 0;
    if metadata.uid() != 0 {
        untrusted("belongs to another user")
    } else if writable(metadata) {
        untrusted("can be written by others")
    } else if folder.is_none_or(|folder| folder.uid() != 0 || writable(&folder)) {
        untrusted("lies in a folder that others can write to")
    } else {
        Ok(())
    }
}
