//! How one profile stands in one repository, in one word.

use super::{Limit, STRANGE, Seen};
use crate::clock::Timestamp;
use crate::state::Done;

/// Exit codes of a run as they are remembered, and what each says here.
const INCOMPLETE: [u8; 2] = [3, 4];
const BEHIND: u8 = 7;

/// How a profile stands in a repository, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The newest complete snapshot is as new as it should be.
    Fine,
    /// Another repository has a newer one.
    Behind,
    /// The repository could not be asked; what is remembered was fine.
    Unreachable,
    /// The last run was not complete.
    Incomplete,
    /// One is unlike those before it, and nobody has said that this is right.
    Anomaly,
    /// The last run failed.
    Failed,
    /// The last verification found that it does not restore.
    Broken,
    /// There is no complete snapshot.
    Never,
    /// The newest complete snapshot is too old.
    Overdue,
}

impl Verdict {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Fine,
        Self::Behind,
        Self::Unreachable,
        Self::Incomplete,
        Self::Anomaly,
        Self::Failed,
        Self::Broken,
        Self::Never,
        Self::Overdue,
    ];

    /// From the newest complete snapshot, whether one of all is strange, and the last run.
    #[must_use]
    pub fn of(complete: Option<&Seen>, is_strange: bool, last: Option<&Done>, limit: Limit, now: Timestamp) -> Self {
        let Some(complete) = complete else {
            // A service that keeps nothing ends well, and no file was counted.
            let nothing = |done: &Done| done.exit == 0 && done.snapshot.is_none() && done.figures.files.is_none();
            let keeps_nothing = last.is_some_and(nothing);
            return if keeps_nothing { Self::Fine } else { Self::Never };
        };
        if limit.is_over(complete.start, now) {
            return Self::Overdue;
        }
        // A run on another machine, or one that is not remembered, may have come after it.
        let later = last.filter(|done| done.began >= complete.start.seconds);
        match later.map(|done| (done.exit, done.snapshot.is_some())) {
            _ if is_strange => Self::Anomaly,
            None | Some((0 | STRANGE, _)) => Self::Fine,
            Some((BEHIND, _)) => Self::Behind,
            Some((exit, true)) if INCOMPLETE.contains(&exit) => Self::Incomplete,
            Some(_) => Self::Failed,
        }
    }

    /// The word for people and programs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fine => "fine",
            Self::Behind => "behind",
            Self::Unreachable => "unreachable",
            Self::Incomplete => "incomplete",
            Self::Anomaly => "anomaly",
            Self::Failed => "failed",
            Self::Broken => "broken",
            Self::Never => "never",
            Self::Overdue => "overdue",
        }
    }
}
