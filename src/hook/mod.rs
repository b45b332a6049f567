//! Hooks: programs that know a service. They dump a database, prove a dump, load it, stop and start what writes, or
//! make a snapshot of a file system. bk-hook(7) is the protocol.
//!
//! Most hooks are shell scripts in `hooks/`, compiled in and handed to `/bin/sh` by a descriptor, so that nobody can
//! change them on disk. A file of the same name in `/etc/bk/hooks` takes the place of a built-in one.
//!
//! Settings reach a hook in its environment, never as arguments: those are for everybody to read, and a shell may take
//! them apart. What a hook finds out comes back as one JSON object a line on descriptor 3.

mod builtin;
mod call;
mod error;
mod facts;
mod journal;

use std::path::{Path, PathBuf};

pub use builtin::BUILT_IN;
pub use call::{Call, Finished, Started, private_folder};
pub use error::HookError;
pub use facts::{Answer, Facts, Problem, Substitute};
pub use journal::{Journal, Pending};

/// Where a machine's own hooks lie.
pub const SYSTEM_FOLDER: &str = "/etc/bk/hooks";

/// A program that speaks the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// As the configuration calls it.
    pub name: String,
    script: Script,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Script {
    BuiltIn(&'static str),
    File(PathBuf),
}

impl Hook {
    /// The hook called `name`: the machine's own in `folder`, else a built-in one.
    ///
    /// # Errors
    /// [`HookError::Unknown`], and [`HookError::Untrusted`] when root would run what others can change.
    pub fn find(name: &str, folder: &Path) -> Result<Self, HookError> {
        let file = folder.join(name);
        let plain = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']);
        if plain && let Ok(metadata) = std::fs::metadata(&file) {
            error::trust(&file, &metadata)?;
            return Ok(Self { name: name.to_owned(), script: Script::File(file) });
        }
        let built_in = BUILT_IN.iter().find(|(known, _)| *known == name);
        let (_, text) = built_in.ok_or_else(|| HookError::Unknown {
            name: name.to_owned(),
            folder: folder.to_owned(),
            known: BUILT_IN.iter().map(|(known, _)| *known).collect::<Vec<_>>().join(", "),
        })?;
        Ok(Self { name: name.to_owned(), script: Script::BuiltIn(text) })
    }

    /// With what the hook was tried, as it says itself; `None` of a machine's own.
    #[must_use]
    pub fn tried_with(&self) -> Option<&'static str> {
        let Script::BuiltIn(text) = self.script else { return None };
        text.lines().find_map(|line| line.strip_prefix("# Tried with: "))
    }

    /// Where it comes from, for people.
    #[must_use]
    pub fn origin(&self) -> String {
        match &self.script {
            Script::BuiltIn(_) => "built in".to_owned(),
            Script::File(path) => path.display().to_string(),
        }
    }

    /// The text of a machine's own hook that is a script, so that a snapshot can carry it.
    #[must_use]
    pub fn own_text(&self) -> Option<String> {
        let Script::File(path) = &self.script else { return None };
        std::fs::read_to_string(path).ok()
    }
}
