//! What can be wrong with the configuration.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;

use super::origin::{Origin, Place};
use crate::source::exclude::PatternError;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file that was asked for is not there.
    #[error("there is no configuration file {} (named by {origin})", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// Who asked for it.
        origin: Origin,
    },
    /// A file cannot be read.
    #[error("the configuration {} cannot be read", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Root would follow what someone else can write.
    #[error("{} {problem}, but root would follow what it says", path.display())]
    Untrusted {
        /// The file or folder.
        path: PathBuf,
        /// Who could change it.
        problem: String,
        /// What to run.
        command: String,
    },
    /// Not TOML.
    #[error("{place}: {message}")]
    Syntax {
        /// Where.
        place: Place,
        /// What the parser says.
        message: String,
    },
    /// A key that nobody knows.
    #[error("{place}: unknown key `{key}` in {section}{}", did_you_mean(*.nearest))]
    UnknownKey {
        /// Where.
        place: Place,
        /// The key as it was written.
        key: String,
        /// The section as people write it, or "the file".
        section: String,
        /// The known key it was probably meant to be.
        nearest: Option<&'static str>,
        /// The next step.
        hint: String,
    },
    /// A key of the design that this version does not have.
    #[error("{place}: `{key}` in {section} is not supported by this version of bk")]
    NotSupported {
        /// Where.
        place: Place,
        /// The key.
        key: String,
        /// The section as people write it, or "the file".
        section: String,
    },
    /// A value of the wrong shape.
    #[error("{place}: `{key}` in {section} must be {expected}, not {found}")]
    WrongType {
        /// Where.
        place: Place,
        /// The key.
        key: String,
        /// The section as people write it, or "the file".
        section: String,
        /// The shape it must have.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A value of the right shape that cannot be used.
    #[error("{place}: `{key}` in {section} {problem}")]
    Value {
        /// Where.
        place: Place,
        /// The key.
        key: String,
        /// The section as people write it.
        section: String,
        /// What is wrong, as the rest of a sentence.
        problem: String,
        /// The next step.
        hint: &'static str,
    },
    /// A pattern that cannot be used.
    #[error("{place}: `{key}` in {section}: {source}")]
    Pattern {
        /// Where.
        place: Place,
        /// The key.
        key: &'static str,
        /// The section as people write it.
        section: String,
        /// What is wrong with the pattern.
        source: PatternError,
    },
    /// A section without something it needs, or with two things that exclude each other.
    #[error("{place}: {section} {problem}")]
    Section {
        /// Where.
        place: Place,
        /// The section as people write it.
        section: String,
        /// What is wrong, as the rest of a sentence.
        problem: String,
        /// The next step.
        hint: &'static str,
    },
    /// Two files say the same.
    #[error("{what} is in two files: {first} and {second}")]
    Duplicate {
        /// What they both say, such as "[profile.wiki]".
        what: String,
        /// The first.
        first: Place,
        /// The second.
        second: Place,
    },
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

impl ConfigError {
    /// The next step for the user, printed under the message as `hint: …`.
    #[must_use]
    pub fn hint(&self) -> Cow<'static, str> {
        match self {
            Self::Missing { .. } => "check the path, or make a file with `bk config example`".into(),
            Self::Read { .. } => "check that the file is readable and is UTF-8 text".into(),
            Self::Untrusted { command, .. } => {
                format!("run `{command}`, or name a file of root's own with --config").into()
            }
            Self::Syntax { .. } => "`bk config example` shows a file with every key".into(),
            Self::UnknownKey { hint, .. } => hint.clone().into(),
            Self::NotSupported { .. } => "remove it; `bk config schema` lists what this version knows".into(),
            Self::WrongType { .. } => "`bk config example` shows every key with a value".into(),
            Self::Value { hint, .. } | Self::Section { hint, .. } => (*hint).into(),
            Self::Pattern { source, .. } => source.hint().into(),
            Self::Duplicate { .. } => "keep one of the two".into(),
        }
    }
}
