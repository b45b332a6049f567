//! Whether what goes into a snapshot was in the one before it.

use crate::format::snapshot::Statistics;

/// Compared with the snapshot before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Freshness {
    /// It is not there.
    New,
    /// It was another one there.
    Changed,
    /// It is the same there.
    Unchanged,
}

impl Freshness {
    /// Counts so many files of this freshness.
    pub(super) const fn count(self, files: u64, statistics: &mut Statistics) {
        match self {
            Self::New => statistics.new_files += files,
            Self::Changed => statistics.changed_files += files,
            Self::Unchanged => statistics.unchanged_files += files,
        }
    }
}
