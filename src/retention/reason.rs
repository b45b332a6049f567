//! Why a snapshot stays: a few words for tables and programs, a sentence for people.

use std::fmt;

use super::calendar::Period;
use super::keep::{ALL, Rule};

/// One reason to keep a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It starts in the future, or after the store took it.
    Future,
    /// Somebody promised to keep it.
    Pinned,
    /// It has this tag.
    Tag(String),
    /// It is incomplete, and newer than the newest complete one.
    Newest,
    /// It is the newest complete one that was verified with success.
    Verified,
    /// A rule that counts keeps it.
    Counted {
        /// Either [`Rule::Last`] or [`Rule::Per`].
        rule: Rule,
        /// Its place among those that the rule keeps, from 1, the newest first.
        place: u32,
        /// How many the rule keeps.
        of: u32,
    },
    /// It is the oldest complete one, and the rule keeps more periods than there are.
    Oldest(Period),
    /// A rule with a span keeps it: either [`Rule::Within`] or [`Rule::WithinPer`].
    Within(Rule),
    /// It is incomplete, and lies where the rule keeps complete ones.
    Incomplete(Rule),
    /// It lies next to a long break: it is the first one after it, one of the newest before it, or one of those that
    /// it was measured by.
    Gap,
    /// It is one of the newest complete ones, of which so many always stay.
    Floor(u32),
    /// Nothing of its group is dropped.
    Held,
}

fn number(count: u32) -> String {
    if count == ALL { "all".to_owned() } else { count.to_string() }
}

/// For tables and programs: `daily 3 of 30`, `tag deploy`, `oldest monthly`, `daily incomplete`.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Future => f.pad("future"),
            Self::Pinned => f.pad("pinned"),
            Self::Tag(tag) => f.pad(&format!("tag {tag}")),
            Self::Newest => f.pad("newest"),
            Self::Verified => f.pad("verified"),
            Self::Counted { rule, place, of } => f.pad(&format!("{} {place} of {}", rule.name(), number(*of))),
            Self::Oldest(period) => f.pad(&format!("oldest {}", Rule::Per(*period).name())),
            Self::Within(rule) => f.pad(rule.name()),
            Self::Incomplete(rule) => f.pad(&format!("{} incomplete", rule.name())),
            Self::Gap => f.pad("gap"),
            Self::Floor(_) => f.pad("floor"),
            Self::Held => f.pad("held"),
        }
    }
}

impl Reason {
    /// The sentence for people, without a capital and a full stop.
    #[must_use]
    pub fn explain(&self) -> String {
        match self {
            Self::Future => "dated in the future: not counted".into(),
            Self::Pinned => "pinned: no rule drops it".into(),
            Self::Tag(tag) => format!("it has the tag {tag}"),
            Self::Newest => "newer than the newest complete snapshot".into(),
            Self::Verified => "the newest one that was verified".into(),
            Self::Counted { rule, place, of } => counted(*rule, *place, *of),
            Self::Oldest(period) => format!("the oldest one: the backups do not go back as far as `{}` keeps them", {
                Rule::Per(*period).name()
            }),
            Self::Within(Rule::WithinPer(period)) => {
                format!(
                    "the newest of its {}, within the span of `within-{}`",
                    period.noun(),
                    Rule::Per(*period).name()
                )
            }
            Self::Within(rule) => format!("young enough for `{}`", rule.name()),
            Self::Incomplete(rule) => incomplete(*rule),
            Self::Gap => "next to a long break".into(),
            Self::Floor(1) => "the newest complete one".into(),
            Self::Floor(floor) => format!("one of the newest {floor} complete ones"),
            Self::Held => "nothing of its group is dropped".into(),
        }
    }
}

fn counted(rule: Rule, place: u32, of: u32) -> String {
    match rule {
        Rule::Per(period) if of == ALL => format!("the newest of its {0}; every {0} is kept", period.noun()),
        Rule::Per(period) => format!("the newest of its {0}: {0} {place} of the {of} that are kept", period.noun()),
        _ if of == ALL => "every complete one is kept".into(),
        _ => format!("number {place} of the newest {of} complete ones"),
    }
}

fn incomplete(rule: Rule) -> String {
    match rule {
        Rule::Per(period) | Rule::WithinPer(period) => {
            format!(
                "incomplete, but the newest of its {}, which has no complete one (`{}`)",
                period.noun(),
                rule.name()
            )
        }
        Rule::Last | Rule::Within => {
            format!("incomplete, but among the complete ones that `{}` keeps", rule.name())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_a_few_words_and_a_sentence() {
        let daily = Rule::Per(Period::Day);
        let cases = [
            (Reason::Future, "future", "dated in the future: not counted"),
            (Reason::Pinned, "pinned", "pinned: no rule drops it"),
            (Reason::Tag("deploy".into()), "tag deploy", "it has the tag deploy"),
            (Reason::Newest, "newest", "newer than the newest complete snapshot"),
            (Reason::Verified, "verified", "the newest one that was verified"),
            (
                Reason::Counted { rule: Rule::Last, place: 2, of: 3 },
                "last 2 of 3",
                "number 2 of the newest 3 complete ones",
            ),
            (Reason::Counted { rule: Rule::Last, place: 2, of: ALL }, "last 2 of all", "every complete one is kept"),
            (
                Reason::Counted { rule: daily, place: 3, of: 30 },
                "daily 3 of 30",
                "the newest of its day: day 3 of the 30 that are kept",
            ),
            (
                Reason::Counted { rule: Rule::Per(Period::Month), place: 3, of: ALL },
                "monthly 3 of all",
                "the newest of its month; every month is kept",
            ),
            (
                Reason::Oldest(Period::Month),
                "oldest monthly",
                "the oldest one: the backups do not go back as far as `monthly` keeps them",
            ),
            (Reason::Within(Rule::Within), "within", "young enough for `within`"),
            (
                Reason::Within(Rule::WithinPer(Period::Week)),
                "within-weekly",
                "the newest of its week, within the span of `within-weekly`",
            ),
            (
                Reason::Incomplete(daily),
                "daily incomplete",
                "incomplete, but the newest of its day, which has no complete one (`daily`)",
            ),
            (
                Reason::Incomplete(Rule::WithinPer(Period::Hour)),
                "within-hourly incomplete",
                "incomplete, but the newest of its hour, which has no complete one (`within-hourly`)",
            ),
            (
                Reason::Incomplete(Rule::Last),
                "last incomplete",
                "incomplete, but among the complete ones that `last` keeps",
            ),
            (Reason::Gap, "gap", "next to a long break"),
            (Reason::Floor(3), "floor", "one of the newest 3 complete ones"),
            (Reason::Floor(1), "floor", "the newest complete one"),
            (Reason::Held, "held", "nothing of its group is dropped"),
        ];
        for (reason, words, sentence) in cases {
            assert_eq!((reason.to_string().as_str(), reason.explain().as_str()), (words, sentence));
        }
    }
}
