//! What a verification proved: the detail of a fact of the kinds 1 and 2. bk-repository(7), "FACTS".

use serde::{Deserialize, Serialize};

use crate::format::node::Timestamp;

/// How much of the files was restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Files {
    /// Nothing.
    #[default]
    None,
    /// A sample.
    Sample,
    /// Everything.
    All,
}

/// What one verification proved. There is none of one that failed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Verification {
    /// When it ended.
    #[serde(skip)]
    pub time: Timestamp,
    /// The machine that did it.
    #[serde(skip)]
    pub host: String,
    /// How much of the files.
    pub files: Files,
    /// Files that were restored.
    pub file_count: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Of those, files that were compared with the machine's own.
    pub compared_files: u64,
    /// Databases that were proved whole.
    pub databases: u64,
    /// Databases that could not be tried there.
    pub not_run: u64,
    /// How long it took.
    pub seconds: f64,
}

impl Verification {
    /// Reads the detail of a fact.
    #[must_use]
    pub(super) fn parse(detail: &str, time: Timestamp, host: &str) -> Option<Self> {
        let read: Self = serde_json::from_str(detail).ok()?;
        Some(Self { time, host: host.to_owned(), ..read })
    }

    /// The detail of the fact.
    #[must_use]
    pub fn detail(&self) -> String {
        // Numbers and words: this cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Whether files and databases were both looked at, as far as there are any.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.files != Files::None && self.not_run == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_proved_is_read_as_it_was_written_and_keys_of_later_versions_are_passed_over() {
        let proved =
            Verification { files: Files::Sample, bytes: 7, databases: 2, seconds: 1.5, ..Verification::default() };
        let read = |text: &str| Verification::parse(text, Timestamp::default(), "");
        assert_eq!(read(&proved.detail()), Some(proved));
        assert_eq!(read("{\"later\":1}"), Some(Verification::default()));
        assert_eq!(read("until 7"), None);
    }

    #[test]
    fn what_left_something_out_is_not_full() {
        let sample = Verification { files: Files::Sample, ..Verification::default() };
        assert!(sample.is_full());
        assert!(!Verification { not_run: 1, ..sample.clone() }.is_full());
        assert!(!Verification { files: Files::None, ..sample }.is_full());
    }
}
