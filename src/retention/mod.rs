//! Which snapshots stay, and why.
//!
//! [`decide`] looks at one *group*: the snapshots of one host and one profile. Every snapshot that stays has its
//! [`Reason`]s; one without a reason is dropped. What the clocks of other machines say is not trusted:
//! - a snapshot dated in the future is kept and counts for nothing;
//! - spans are measured from a steering time, the start of the newest complete snapshot, and never from the time of day:
//!   a machine that was off for a year has lost nothing when it comes back;
//! - what follows a long break steers only after runs of two days, and what lies next to it is remembered for a month.
//!
//! Only complete snapshots count. An incomplete one is kept beside them where it is all that there is: in a day without
//! a complete one, or after the newest. A group without a complete snapshot, or whose newest one is too old, is *held*:
//! nothing of it is dropped.
//!
//! Nothing here does I/O or reads a clock, and the order of the input does not matter.

mod calendar;
mod decide;
mod keep;
mod reason;
mod span;
mod steering;

#[cfg(test)]
mod bench;
#[cfg(test)]
mod properties;

use std::fmt;
use std::time::Duration;

use jiff::tz::TimeZone;

pub use calendar::Period;
pub use decide::decide;
pub use keep::{ALL, Keep, KeepError, Rule, Value};
pub use reason::Reason;
pub use span::{Span, SpanError};

use crate::format::node::Timestamp;
use crate::id::SnapshotId;

/// How many of the newest complete snapshots stay whatever the rules say, unless another number is chosen.
pub const DEFAULT_FLOOR: u32 = 3;

/// A promise, made for one snapshot, not to drop it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pin {
    /// No promise.
    #[default]
    None,
    /// Until it is taken back.
    Forever,
    /// While the steering time is before this.
    Until(Timestamp),
}

/// A snapshot that may be dropped.
#[derive(Debug, Clone)]
pub struct Candidate<'a> {
    /// Distinct within a group.
    pub id: SnapshotId,
    /// When reading began: the time that counts.
    pub start: Timestamp,
    /// Whether it is all there.
    pub complete: bool,
    /// Its tags.
    pub tags: &'a [String],
    /// Whether somebody promised to keep it.
    pub pin: Pin,
    /// Whether it was verified, with success.
    pub verified: bool,
    /// When the store took it, by the store's clock.
    pub stored: Option<Timestamp>,
    /// The start of the newest complete snapshot of its group that was not after its own, when it was made, as it says
    /// itself.
    pub previous: Option<Timestamp>,
}

/// How to decide.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// Not empty: see [`Keep::is_empty`].
    pub keep: &'a Keep,
    /// How many of the newest complete snapshots always stay; 0 counts as 1.
    pub floor: u32,
    /// The group is held when its newest complete snapshot is older than this.
    pub max_age: Option<Duration>,
    /// Drop even then.
    pub even_if_overdue: bool,
    /// Whose days, weeks and months count.
    pub zone: &'a TimeZone,
    /// The time of day.
    pub now: Timestamp,
}

/// Why nothing of a group is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// It has no complete snapshot.
    NoComplete,
    /// Its complete snapshots are all dated in the future.
    OnlyFuture,
    /// Its newest complete snapshot is too old: backups have stopped, and the old ones may be all that is left.
    Overdue {
        /// Of the newest complete snapshot.
        age: Duration,
        /// The limit.
        max_age: Duration,
    },
}

impl Held {
    /// For programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoComplete => "no-complete",
            Self::OnlyFuture => "only-future",
            Self::Overdue { .. } => "overdue",
        }
    }

    /// The next step for the user.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::NoComplete => "make a complete backup first; the report of the last one says what was missing",
            Self::OnlyFuture => "set the clocks of this machine and of the store right, then make a backup",
            Self::Overdue { .. } => {
                "make a backup first, or add --even-if-overdue if old ones may go although no new ones come"
            }
        }
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoComplete => f.write_str("there is no complete snapshot"),
            Self::OnlyFuture => f.write_str("the only complete snapshots are dated in the future"),
            Self::Overdue { age, max_age } => write!(
                f,
                "the newest complete snapshot is {} old, and at most {} are allowed",
                long(*age),
                long(*max_age)
            ),
        }
    }
}

/// A length of time in its two largest units: `5d 3h`, `26h`, `40min`. Below two days in hours, as limits are written.
fn long(time: Duration) -> String {
    let seconds = time.as_secs();
    let (large, small) = match seconds {
        172_800.. => ((seconds / 86_400, "d"), (seconds / 3600 % 24, "h")),
        3600.. => ((seconds / 3600, "h"), (seconds / 60 % 60, "min")),
        60.. => ((seconds / 60, "min"), (seconds % 60, "s")),
        _ => ((seconds, "s"), (0, "")),
    };
    match small.0 {
        0 => format!("{}{}", large.0, large.1),
        amount => format!("{}{} {amount}{}", large.0, large.1, small.1),
    }
}

/// What becomes of one snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    /// Every reason to keep it, in the order in which they are listed; none means that it is dropped.
    pub reasons: Vec<Reason>,
}

impl Verdict {
    /// Whether it stays.
    #[must_use]
    pub const fn is_kept(&self) -> bool {
        !self.reasons.is_empty()
    }
}

/// What becomes of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Why nothing is dropped.
    pub held: Option<Held>,
    /// One for each candidate, in their order.
    pub verdicts: Vec<Verdict>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_group_says_why_and_what_to_do() {
        assert_eq!(Held::NoComplete.to_string(), "there is no complete snapshot");
        let [age, max_age] = [5 * 86_400 + 3 * 3600 + 59, 26 * 3600].map(Duration::from_secs);
        let held = Held::Overdue { age, max_age };
        let said = "the newest complete snapshot is 5d 3h old, and at most 26h are allowed";
        assert_eq!(held.to_string(), said);
        let future = Held::OnlyFuture;
        assert_eq!(future.to_string(), "the only complete snapshots are dated in the future");
        let all = [held, future, Held::NoComplete];
        assert_eq!(all.map(|held| held.code()), ["overdue", "only-future", "no-complete"]);
        for (held, says) in all.iter().zip(["make a backup first", "set the clocks", "make a complete backup first"]) {
            assert!(held.hint().starts_with(says), "{}", held.hint());
        }
    }

    #[test]
    fn lengths_of_time_have_at_most_two_units() {
        let cases = [
            (0, "0s"),
            (59, "59s"),
            (61, "1min 1s"),
            (3600, "1h"),
            (93_600, "26h"),
            (172_799, "47h 59min"),
            (172_800, "2d"),
        ];
        for (seconds, text) in cases {
            assert_eq!(long(Duration::from_secs(seconds)), text);
        }
    }
}
