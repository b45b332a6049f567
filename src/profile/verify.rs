//! `verify`, in `[defaults]` and in profiles: how often, and how deeply, it is proved that a backup restores.

use std::time::Duration;

use serde::Deserialize;
use toml::{Table, Value};

use super::dumps::duration;
use super::scope::Problem;
use crate::size::ByteSize;

/// How often when nothing is said.
const WEEK: Duration = Duration::from_secs(7 * 86_400);
/// How much of the files when nothing is said, in bytes.
const SAMPLE_BYTES: u64 = 2 << 30;

/// When it is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Every {
    /// When asked for.
    Never,
    /// When the last one is so long ago.
    Span(Duration),
}

/// How much of the files is restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Nothing.
    Nothing,
    /// A sample of about so many bytes.
    Bytes(u64),
    /// Everything.
    All,
}

impl std::str::FromStr for Depth {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self::All),
            "none" => Ok(Self::Nothing),
            text => match text.parse() {
                Ok(ByteSize(bytes)) if bytes > 0 => Ok(Self::Bytes(bytes)),
                _ => Err(format!("`{text}` is no part of the files: write a size such as 2GiB, `all` or `none`")),
            },
        }
    }
}

impl Depth {
    fn text(self) -> String {
        match self {
            Self::Nothing => "none".to_owned(),
            Self::All => "all".to_owned(),
            Self::Bytes(bytes) => ByteSize(bytes).exact(),
        }
    }
}

/// What was said of it; what was not holds from elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VerifySaid {
    /// How often.
    pub every: Option<Every>,
    /// Whether databases are drilled.
    pub databases: Option<bool>,
    /// How much of the files.
    pub files: Option<Depth>,
}

/// What holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verify {
    /// How often.
    pub every: Every,
    /// Whether databases are drilled.
    pub databases: bool,
    /// How much of the files.
    pub files: Depth,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct RawVerify {
    pub every: Option<String>,
    pub databases: Option<String>,
    pub files: Option<String>,
}

impl RawVerify {
    /// # Errors
    /// What is wrong, and the next step.
    pub fn read(&self) -> Result<VerifySaid, Problem> {
        let every = match self.every.as_deref() {
            None => None,
            Some("never") => Some(Every::Never),
            Some(text) => Some(Every::Span(duration(text).ok_or_else(|| {
                (format!("has `every = \"{text}\"`, which is no time"), "write a time such as \"7d\", or \"never\"")
            })?)),
        };
        let databases = match self.databases.as_deref() {
            None => None,
            Some("all") => Some(true),
            Some("none") => Some(false),
            Some(text) => {
                return Err((format!("has `databases = \"{text}\"`"), "write \"all\" or \"none\""));
            }
        };
        let hint = "write a size such as \"2GiB\", \"all\" or \"none\"";
        let files = self.files.as_deref().map(str::parse).transpose().map_err(|problem: String| (problem, hint))?;
        Ok(VerifySaid { every, databases, files })
    }
}

impl VerifySaid {
    /// This, and from `other` what was not said here.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            every: self.every.or(other.every),
            databases: self.databases.or(other.databases),
            files: self.files.or(other.files),
        }
    }

    /// With what holds when nothing is said.
    #[must_use]
    pub fn filled(self) -> Verify {
        Verify {
            every: self.every.unwrap_or(Every::Span(WEEK)),
            databases: self.databases.unwrap_or(true),
            files: self.files.unwrap_or(Depth::Bytes(SAMPLE_BYTES)),
        }
    }

    /// As a table of the configuration; none when nothing was said.
    pub(super) fn table(self) -> Option<Table> {
        let mut table = Table::new();
        let mut put = |key: &str, value: String| drop(table.insert(key.to_owned(), Value::from(value)));
        match self.every {
            Some(Every::Never) => put("every", "never".to_owned()),
            Some(Every::Span(span)) => put("every", format!("{}s", span.as_secs())),
            None => {}
        }
        if let Some(databases) = self.databases {
            put("databases", if databases { "all" } else { "none" }.to_owned());
        }
        if let Some(files) = self.files {
            put("files", files.text());
        }
        (!table.is_empty()).then_some(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<VerifySaid, Problem> {
        toml::from_str::<RawVerify>(text).unwrap().read()
    }

    #[test]
    fn what_a_profile_says_comes_before_the_defaults_and_these_before_what_is_usual() {
        let profile = read("files = \"all\"").unwrap();
        let defaults = read("every = \"30d\"\nfiles = \"1GiB\"").unwrap();
        let all = profile.or(defaults).filled();
        assert_eq!(all.files, Depth::All);
        assert_eq!(all.every, Every::Span(Duration::from_secs(30 * 86_400)));
        assert!(all.databases);
        assert_eq!(VerifySaid::default().filled().files, Depth::Bytes(2 << 30));
        assert_eq!(read("every = \"never\"\ndatabases = \"none\"").unwrap().filled().every, Every::Never);
    }

    #[test]
    fn what_was_said_is_written_as_it_is_read() {
        for text in [
            "every = \"604800s\"\ndatabases = \"none\"\nfiles = \"2GiB\"\n",
            "every = \"never\"\n",
            "files = \"all\"\n",
        ] {
            let said = read(text).unwrap();
            let written = toml::to_string(&said.table().unwrap()).unwrap();
            assert_eq!(read(&written).unwrap(), said, "{written}");
        }
        assert_eq!(VerifySaid::default().table(), None);
    }

    #[test]
    fn wrong_words_are_refused() {
        for text in ["every = \"soon\"", "databases = \"some\"", "files = \"half\"", "files = \"0\""] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
