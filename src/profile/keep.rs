//! `keep`: the rules of retention as they stand in the configuration.

use std::borrow::Cow;
use std::collections::BTreeMap;

use toml::de::DeValue;
use toml::{Spanned, Table};

use crate::retention::{ALL, Keep, KeepError, Value};

/// As serde fills it; [`super::check`] has looked at it before.
pub(super) type RawKeep = BTreeMap<String, toml::Value>;

/// What a value must be, for people.
pub(super) const EXPECTED: &str = "a table of rules such as { within = \"30d\" } or { daily = 7, monthly = \"all\" }";

/// Rules that were checked before.
pub(super) fn read(raw: &RawKeep) -> Result<Keep, KeepError> {
    let mut keep = Keep::default();
    for (rule, value) in raw {
        let texts: Vec<String>;
        let value = match value {
            toml::Value::Integer(number) => Value::Number(*number),
            toml::Value::String(text) => Value::Text(text),
            toml::Value::Array(items) => {
                texts = items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect();
                Value::List(&texts)
            }
            _ => Value::Text(""),
        };
        keep.set(rule, value)?;
    }
    Ok(keep)
}

/// Whether a value can be that of a rule; `None` when it has not even the shape of one.
pub(super) fn check(rule: &str, value: &DeValue<'_>) -> Option<Result<(), KeepError>> {
    let mut keep = Keep::default();
    match value {
        DeValue::Integer(digits) => {
            let number = i64::from_str_radix(digits.as_str(), digits.radix()).ok()?;
            Some(keep.set(rule, Value::Number(number)))
        }
        DeValue::String(text) => Some(keep.set(rule, Value::Text(text))),
        DeValue::Array(items) => {
            let text = |item: &Spanned<DeValue<'_>>| item.get_ref().as_str().map(str::to_owned);
            let texts: Vec<String> = items.iter().map(text).collect::<Option<_>>()?;
            Some(keep.set(rule, Value::List(&texts)))
        }
        _ => None,
    }
}

/// The rules written down again.
pub(super) fn table(keep: &Keep) -> Table {
    let mut table = Table::new();
    let counts = [
        ("last", keep.last),
        ("hourly", keep.hourly),
        ("daily", keep.daily),
        ("weekly", keep.weekly),
        ("monthly", keep.monthly),
        ("yearly", keep.yearly),
    ];
    for (rule, count) in counts {
        if let Some(count) = count {
            let value = if count == ALL { "all".into() } else { toml::Value::from(i64::from(count)) };
            table.insert(rule.to_owned(), value);
        }
    }
    let spans = [
        ("within", keep.within),
        ("within-hourly", keep.within_hourly),
        ("within-daily", keep.within_daily),
        ("within-weekly", keep.within_weekly),
        ("within-monthly", keep.within_monthly),
        ("within-yearly", keep.within_yearly),
    ];
    for (rule, span) in spans {
        if let Some(span) = span {
            table.insert(rule.to_owned(), span.to_string().into());
        }
    }
    if !keep.tags.is_empty() {
        table.insert("tags".to_owned(), keep.tags.clone().into());
    }
    table
}

/// The name of a rule in a file, for the search of the nearest.
pub(super) fn rules() -> impl Iterator<Item = &'static str> {
    Keep::RULES.into_iter()
}

/// A rule's name as it stands in a file.
pub(super) fn is_rule(name: &Spanned<Cow<'_, str>>) -> bool {
    Keep::RULES.contains(&name.get_ref().as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_survive_being_written_down() {
        let text = "daily = 7\nmonthly = \"all\"\nwithin = \"30d\"\nwithin-weekly = \"2y6mo\"\ntags = [\"a\", \"b\"]\n";
        let keep = read(&toml::from_str(text).unwrap()).unwrap();
        assert_eq!((keep.daily, keep.monthly), (Some(7), Some(ALL)));
        let again = read(&toml::from_str(&table(&keep).to_string()).unwrap()).unwrap();
        assert_eq!(again, keep);
    }
}
