//! What can be wrong with a schedule.

use super::field::FieldName;

/// A line that is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Not five fields.
    #[error("`{line}` has {found} fields, not 5")]
    Fields {
        /// The line.
        line: String,
        /// How many it has.
        found: usize,
    },
    /// `@reboot`.
    #[error("`@reboot` is no time: bk looks at every start whether a run was missed")]
    Reboot,
    /// A word with `@` that nobody knows.
    #[error("`{word}` is no schedule")]
    Word {
        /// The word.
        word: String,
    },
    /// A field that makes no sense.
    #[error("the field for the {} has {problem}", field.text())]
    Field {
        /// Which of the five.
        field: FieldName,
        /// What is wrong, as the rest of a sentence.
        problem: String,
    },
    /// A day that no month has.
    #[error("`{line}` never comes: no such month has such a day")]
    Never {
        /// The line.
        line: String,
    },
}

impl ScheduleError {
    /// The next step for the user.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Fields { .. } => {
                "write minute, hour, day of the month, month, day of the week, such as \"30 2 * * *\" for 02:30 every day"
            }
            Self::Reboot => "remove it; what was missed while the machine was off is made up for anyway",
            Self::Word { .. } => {
                "use @hourly, @daily, @weekly, @monthly, @yearly, or five fields such as \"30 2 * * *\""
            }
            Self::Field { field, .. } => match field {
                FieldName::Minute => "the minute, the first field, is 0 to 59, such as 30, 0,30 or */15",
                FieldName::Hour => "the hour, the second field, is 0 to 23, such as 2, 8-18 or */6",
                FieldName::DayOfMonth => "the day of the month, the third field, is 1 to 31, such as 1 or 1,15",
                FieldName::Month => "the month, the fourth field, is 1 to 12 or jan to dec, such as 1-6 or jan,jul",
                FieldName::DayOfWeek => {
                    "the day of the week, the fifth field, is 0 to 7 (0 and 7 are Sunday) or sun to sat, such as mon-fri"
                }
            },
            Self::Never { .. } => "change the day of the month, the third field, or the month, the fourth",
        }
    }
}
