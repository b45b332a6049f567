//! Where a setting comes from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// A line of a configuration file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was found.
    pub file: Arc<PathBuf>,
    /// Counted from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// Where the value of a setting comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Origin {
    /// Nobody said anything.
    #[default]
    Default,
    /// A line of a configuration file.
    File(Place),
    /// The environment variable of this name.
    Environment(&'static str),
    /// The command line flag of this name, with its dashes.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(place) => place.fmt(f),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// The origin of every setting that somebody made, by its full key such as `profile.wiki.paths`.
pub(super) type Origins = BTreeMap<String, Origin>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_told_in_a_few_words() {
        let place = Place { file: Arc::new("/etc/bk/bk.toml".into()), line: 7 };
        assert_eq!(Origin::File(place).to_string(), "/etc/bk/bk.toml:7");
        assert_eq!(Origin::Environment("BK_KEY_FILE").to_string(), "environment BK_KEY_FILE");
        assert_eq!(Origin::Flag("--key-file").to_string(), "flag --key-file");
        assert_eq!(Origin::default().to_string(), "default");
    }
}
