//! The rules of retention as people give them, in a configuration or on a command line.
//!
//! Both doors come in through [`Keep::set`], so that a rule has one name, one range and one message.

use std::fmt;

use super::calendar::Period;
use super::span::{Span, SpanError};

/// The count that keeps every period there is.
pub const ALL: u32 = u32::MAX;

/// One of the rules that keep snapshots by number or by age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// The newest complete ones.
    Last,
    /// The newest complete one of each of so many periods.
    Per(Period),
    /// Everything not older than a span.
    Within,
    /// The newest complete one of each period, as far back as a span reaches.
    WithinPer(Period),
}

impl Rule {
    /// As it is written: `daily`, `within-daily`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::Per(Period::Hour) => "hourly",
            Self::Per(Period::Day) => "daily",
            Self::Per(Period::Week) => "weekly",
            Self::Per(Period::Month) => "monthly",
            Self::Per(Period::Year) => "yearly",
            Self::Within => "within",
            Self::WithinPer(Period::Hour) => "within-hourly",
            Self::WithinPer(Period::Day) => "within-daily",
            Self::WithinPer(Period::Week) => "within-weekly",
            Self::WithinPer(Period::Month) => "within-monthly",
            Self::WithinPer(Period::Year) => "within-yearly",
        }
    }
}

/// Which snapshots stay; a snapshot that no rule keeps is dropped.
///
/// Counts are at least 1, and [`ALL`] is every period there is. Tags are distinct and not empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Keep {
    /// The newest complete ones.
    pub last: Option<u32>,
    /// The newest complete one of so many hours.
    pub hourly: Option<u32>,
    /// The newest complete one of so many days.
    pub daily: Option<u32>,
    /// The newest complete one of so many ISO weeks.
    pub weekly: Option<u32>,
    /// The newest complete one of so many months.
    pub monthly: Option<u32>,
    /// The newest complete one of so many years.
    pub yearly: Option<u32>,
    /// Everything this far back.
    pub within: Option<Span>,
    /// The newest complete one of each hour, this far back.
    pub within_hourly: Option<Span>,
    /// The newest complete one of each day, this far back.
    pub within_daily: Option<Span>,
    /// The newest complete one of each ISO week, this far back.
    pub within_weekly: Option<Span>,
    /// The newest complete one of each month, this far back.
    pub within_monthly: Option<Span>,
    /// The newest complete one of each year, this far back.
    pub within_yearly: Option<Span>,
    /// Everything with one of these tags.
    pub tags: Vec<String>,
}

/// What a rule is set to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// `7`.
    Number(i64),
    /// `7`, `all`, `30d`, or one tag.
    Text(&'a str),
    /// Tags.
    List(&'a [String]),
}

/// A rule that cannot be set so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeepError {
    /// No rule has this name.
    #[error("`{0}` is not a rule of what to keep: the rules are {rules}", rules = Keep::RULES.join(", "))]
    Unknown(String),
    /// Not a number from 1 on.
    #[error("`{value}` is not a count for `{rule}`: write a whole number from 1 on, or \"all\"")]
    Count {
        /// Its name.
        rule: &'static str,
        /// What was given.
        value: String,
    },
    /// A count of nothing.
    #[error("`{rule}` of 0 keeps nothing: leave it out instead")]
    Zero {
        /// Its name.
        rule: &'static str,
    },
    /// Not a span of time.
    #[error("`{rule}`: {source}")]
    Span {
        /// Its name.
        rule: &'static str,
        /// What is wrong with it.
        source: SpanError,
    },
    /// A list where one value belongs.
    #[error("`{rule}` takes one value, not a list: write for example {example}")]
    List {
        /// Its name.
        rule: &'static str,
        /// What can be written.
        example: &'static str,
    },
    /// A number where tags belong.
    #[error("`{0}` is not a tag: write a text, such as \"deploy\"")]
    NotATag(i64),
    /// A list without a tag.
    #[error("`tags` names no tag: leave it out instead")]
    NoTags,
    /// A tag without a letter.
    #[error("a tag to keep is empty: write its name, or leave it out")]
    EmptyTag,
}

impl Keep {
    /// The names of all rules, in the order in which reasons are listed; `tags` last.
    pub const RULES: [&'static str; 13] = [
        "last",
        "hourly",
        "daily",
        "weekly",
        "monthly",
        "yearly",
        "within",
        "within-hourly",
        "within-daily",
        "within-weekly",
        "within-monthly",
        "within-yearly",
        "tags",
    ];

    /// Whether there is no rule at all: such a `Keep` must be refused, for nothing but the floor would stay.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// How many the rule keeps for each kind of period.
    pub(super) const fn count(&self, period: Period) -> Option<u32> {
        match period {
            Period::Hour => self.hourly,
            Period::Day => self.daily,
            Period::Week => self.weekly,
            Period::Month => self.monthly,
            Period::Year => self.yearly,
        }
    }

    /// How far back one of each period is kept.
    pub(super) const fn span(&self, period: Period) -> Option<Span> {
        match period {
            Period::Hour => self.within_hourly,
            Period::Day => self.within_daily,
            Period::Week => self.within_weekly,
            Period::Month => self.within_monthly,
            Period::Year => self.within_yearly,
        }
    }

    const fn count_mut(&mut self, rule: Rule) -> Option<&mut Option<u32>> {
        Some(match rule {
            Rule::Last => &mut self.last,
            Rule::Per(Period::Hour) => &mut self.hourly,
            Rule::Per(Period::Day) => &mut self.daily,
            Rule::Per(Period::Week) => &mut self.weekly,
            Rule::Per(Period::Month) => &mut self.monthly,
            Rule::Per(Period::Year) => &mut self.yearly,
            Rule::Within | Rule::WithinPer(_) => return None,
        })
    }

    const fn span_mut(&mut self, rule: Rule) -> Option<&mut Option<Span>> {
        Some(match rule {
            Rule::Within => &mut self.within,
            Rule::WithinPer(Period::Hour) => &mut self.within_hourly,
            Rule::WithinPer(Period::Day) => &mut self.within_daily,
            Rule::WithinPer(Period::Week) => &mut self.within_weekly,
            Rule::WithinPer(Period::Month) => &mut self.within_monthly,
            Rule::WithinPer(Period::Year) => &mut self.within_yearly,
            Rule::Last | Rule::Per(_) => return None,
        })
    }

    /// Sets the rule that is called `rule`, one of [`Self::RULES`]. `tags` adds to the tags that are there; every other
    /// rule replaces what it was.
    ///
    /// # Errors
    /// [`KeepError`] says which values the rule takes; nothing has been set then.
    pub fn set(&mut self, rule: &str, value: Value<'_>) -> Result<(), KeepError> {
        if rule == "tags" {
            return self.add_tags(value);
        }
        let each = Period::ALL.into_iter().flat_map(|period| [Rule::Per(period), Rule::WithinPer(period)]);
        let known = each.chain([Rule::Last, Rule::Within]).find(|one| one.name() == rule);
        let Some(known) = known else { return Err(KeepError::Unknown(rule.to_owned())) };
        let name = known.name();
        if let Some(count) = self.count_mut(known) {
            *count = Some(count_of(name, value)?);
        }
        if let Some(span) = self.span_mut(known) {
            *span = Some(span_of(name, value)?);
        }
        Ok(())
    }

    fn add_tags(&mut self, value: Value<'_>) -> Result<(), KeepError> {
        let tags = match value {
            Value::Number(number) => return Err(KeepError::NotATag(number)),
            Value::Text(tag) => vec![tag.to_owned()],
            Value::List([]) => return Err(KeepError::NoTags),
            Value::List(tags) => tags.to_vec(),
        };
        if tags.iter().any(|tag| tag.trim().is_empty()) {
            return Err(KeepError::EmptyTag);
        }
        for tag in tags {
            if !self.tags.contains(&tag) {
                self.tags.push(tag);
            }
        }
        Ok(())
    }
}

fn count_of(rule: &'static str, value: Value<'_>) -> Result<u32, KeepError> {
    let wrong = |value: &str| KeepError::Count { rule, value: value.to_owned() };
    let (text, count) = match value {
        Value::Number(number) => (number.to_string(), u32::try_from(number).ok()),
        Value::Text("all") => return Ok(ALL),
        // `parse` alone would take `+7`.
        Value::Text(text) => (text.to_owned(), text.parse().ok().filter(|_| !text.starts_with('+'))),
        Value::List(_) => return Err(KeepError::List { rule, example: "7 or \"all\"" }),
    };
    match count {
        Some(0) => Err(KeepError::Zero { rule }),
        Some(count) => Ok(count),
        None => Err(wrong(&text)),
    }
}

fn span_of(rule: &'static str, value: Value<'_>) -> Result<Span, KeepError> {
    let wrong = |source| KeepError::Span { rule, source };
    match value {
        Value::Number(number @ 0..) => Err(wrong(SpanError::NoUnit(number.to_string()))),
        Value::Number(number) => Err(wrong(SpanError::NotASpan(number.to_string()))),
        Value::Text(text) => text.parse().map_err(wrong),
        Value::List(_) => Err(KeepError::List { rule, example: "\"30d\"" }),
    }
}

/// For people: `last 3, 7 daily, all monthly, within 30d, weekly within 1y, tag deploy`.
impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |count: u32| if count == ALL { "all".to_owned() } else { count.to_string() };
        let mut parts: Vec<String> = self.last.map(|count| format!("last {}", number(count))).into_iter().collect();
        for period in Period::ALL {
            parts.extend(self.count(period).map(|count| format!("{} {}", number(count), Rule::Per(period).name())));
        }
        parts.extend(self.within.map(|span| format!("within {span}")));
        for period in Period::ALL {
            parts.extend(self.span(period).map(|span| format!("{} within {span}", Rule::Per(period).name())));
        }
        parts.extend(self.tags.iter().map(|tag| format!("tag {tag}")));
        f.pad(&parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(rule: &str, value: Value<'_>) -> Result<Keep, String> {
        let mut keep = Keep::default();
        keep.set(rule, value).map(|()| keep).map_err(|error| error.to_string())
    }

    #[test]
    fn every_rule_can_be_set_by_its_name_and_is_printed() {
        let mut keep = Keep::default();
        assert!(keep.is_empty());
        assert_eq!(keep.to_string(), "");
        for (at, rule) in Keep::RULES.into_iter().enumerate() {
            let before = keep.clone();
            match at {
                0..6 => keep.set(rule, Value::Number(at as i64 + 2)).unwrap(),
                6..12 => keep.set(rule, Value::Text(&format!("{at}d"))).unwrap(),
                _ => keep.set(rule, Value::List(&["deploy".into(), "release 1".into()])).unwrap(),
            }
            assert_ne!(keep, before, "{rule}");
            assert!(!keep.is_empty());
        }
        let said = "last 2, 3 hourly, 4 daily, 5 weekly, 6 monthly, 7 yearly, within 6d, hourly within 7d, \
            daily within 8d, weekly within 9d, monthly within 10d, yearly within 11d, tag deploy, tag release 1";
        assert_eq!(keep.to_string(), said);
    }

    #[test]
    fn rules_are_printed_as_people_say_them() {
        assert_eq!(set("within", Value::Text("30d")).unwrap().to_string(), "within 30d");
        let mut keep = set("tags", Value::Text("deploy")).unwrap();
        keep.set("weekly", Value::Number(4)).unwrap();
        keep.set("daily", Value::Text("7")).unwrap();
        assert_eq!(keep.to_string(), "7 daily, 4 weekly, tag deploy");
        assert_eq!(set("monthly", Value::Text("all")).unwrap().to_string(), "all monthly");
        assert_eq!(set("monthly", Value::Text("4294967295")).unwrap().monthly, Some(ALL));
    }

    #[test]
    fn tags_add_up_and_are_named_once_while_another_rule_is_replaced() {
        let mut keep = set("tags", Value::Text("b")).unwrap();
        keep.set("tags", Value::List(&["a".into(), "b".into()])).unwrap();
        assert_eq!(keep.tags, ["b", "a"]);
        keep.set("daily", Value::Number(3)).unwrap();
        keep.set("daily", Value::Number(5)).unwrap();
        assert_eq!(keep.daily, Some(5));
    }

    #[test]
    fn what_a_rule_does_not_take_is_refused_with_what_it_takes() {
        let count = "is not a count for `daily`: write a whole number from 1 on, or \"all\"";
        let cases = [
            ("daily", Value::Number(0), "`daily` of 0 keeps nothing: leave it out instead".into()),
            ("last", Value::Text("0"), "`last` of 0 keeps nothing: leave it out instead".into()),
            ("daily", Value::Number(-1), format!("`-1` {count}")),
            ("daily", Value::Number(1 << 32), format!("`4294967296` {count}")),
            ("daily", Value::Text("+7"), format!("`+7` {count}")),
            ("daily", Value::Text("7d"), format!("`7d` {count}")),
            ("daily", Value::Text("All"), format!("`All` {count}")),
            ("daily", Value::List(&[]), "`daily` takes one value, not a list: write for example 7 or \"all\"".into()),
            ("within", Value::List(&[]), "`within` takes one value, not a list: write for example \"30d\"".into()),
            ("within", Value::Number(30), "`within`: `30` has no unit; write 30d".into()),
            ("within-daily", Value::Text("0d"), "`within-daily`: `0d` is no time at all; leave it out instead".into()),
            ("within", Value::Text("6m"), "`within`: `m` is not a unit; write `mo` for months".into()),
            ("tags", Value::Number(3), "`3` is not a tag: write a text, such as \"deploy\"".into()),
            ("tags", Value::List(&[]), "`tags` names no tag: leave it out instead".into()),
            ("tags", Value::Text(" "), "a tag to keep is empty: write its name, or leave it out".into()),
        ];
        for (rule, value, message) in cases {
            assert_eq!(set(rule, value), Err(message), "{rule} {value:?}");
        }
        let unknown = set("dayly", Value::Number(7)).unwrap_err();
        assert!(
            unknown.starts_with("`dayly` is not a rule of what to keep: the rules are last, hourly, "),
            "{unknown}"
        );
        assert!(set("within", Value::Number(-3)).unwrap_err().contains("`-3` is not a span of time"));
    }

    #[test]
    fn one_bad_tag_sets_none() {
        let mut keep = Keep::default();
        assert_eq!(keep.set("tags", Value::List(&["a".into(), String::new()])), Err(KeepError::EmptyTag));
        assert!(keep.is_empty());
    }
}
