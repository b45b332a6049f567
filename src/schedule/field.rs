//! One of the five fields of a crontab line: `*`, numbers, names, lists, ranges and steps become a set of numbers.

use super::error::ScheduleError;

/// Which of the five it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldName {
    /// 0–59.
    Minute,
    /// 0–23.
    Hour,
    /// 1–31.
    DayOfMonth,
    /// 1–12, or the first three letters of its English name.
    Month,
    /// 0–7, of which 0 and 7 are Sunday, or the first three letters of its English name.
    DayOfWeek,
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl FieldName {
    /// For people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::DayOfMonth => "day of the month",
            Self::Month => "month",
            Self::DayOfWeek => "day of the week",
        }
    }

    const fn bounds(self) -> (u8, u8) {
        match self {
            Self::Minute => (0, 59),
            Self::Hour => (0, 23),
            Self::DayOfMonth => (1, 31),
            Self::Month => (1, 12),
            Self::DayOfWeek => (0, 7),
        }
    }

    /// A number, or a name where there are names.
    fn number(self, text: &str) -> Option<u8> {
        let named = |names: &[&str], first: u8| {
            let at = names.iter().position(|name| text.eq_ignore_ascii_case(name))?;
            u8::try_from(at).ok()?.checked_add(first)
        };
        let digits = !text.is_empty() && text.len() <= 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        let (least, most) = self.bounds();
        match self {
            _ if digits => text.parse().ok().filter(|number| (least..=most).contains(number)),
            Self::Month => named(&MONTHS, 1),
            Self::DayOfWeek => named(&DAYS, 0),
            _ => None,
        }
    }
}

/// What a field allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    /// In rising order, Sunday as 0.
    pub values: Vec<u8>,
    /// Whether it has a `*` in it; of the two fields for days such a one does not choose, it only restricts.
    pub star: bool,
    /// Whether it has a `*` or a step: it is meant to come again and again.
    pub repeats: bool,
}

impl Field {
    pub fn parse(name: FieldName, text: &str) -> Result<Self, ScheduleError> {
        let mut values = Vec::new();
        for part in text.split(',') {
            let found = part_values(name, part);
            let found = found.map_err(|problem| ScheduleError::Field { field: name, problem })?;
            // Sunday is 0 and 7.
            values.extend(found.into_iter().map(|value| if name == FieldName::DayOfWeek { value % 7 } else { value }));
        }
        values.sort_unstable();
        values.dedup();
        Ok(Self { values, star: text.contains('*'), repeats: text.contains(['*', '/']) })
    }

    /// As the crate `cron` reads it, which counts days of the week from 1.
    pub fn for_cron(&self, name: FieldName) -> String {
        let first = u8::from(name == FieldName::DayOfWeek);
        let values: Vec<String> = self.values.iter().map(|value| (value + first).to_string()).collect();
        values.join(",")
    }

    /// Whether nothing is left out.
    pub fn is_all(&self, name: FieldName) -> bool {
        let (least, most) = name.bounds();
        let all = usize::from(most - least) + usize::from(name != FieldName::DayOfWeek);
        self.values.len() == all
    }
}

/// One entry of a list. The error is the rest of a sentence.
fn part_values(name: FieldName, part: &str) -> Result<Vec<u8>, String> {
    let (range, step) = match part.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (part, None),
    };
    let (least, most) = name.bounds();
    let one = |text: &str| name.number(text).ok_or_else(|| format!("`{text}`, which is no {}", name.text()));
    let (first, last) = match range.split_once('-') {
        _ if range == "*" => (least, most - u8::from(name == FieldName::DayOfWeek)),
        Some((first, last)) => {
            let (first, last) = (one(first)?, one(last)?);
            // `fri-sun` ends with the Sunday after.
            (first, if name == FieldName::DayOfWeek && last == 0 && first > 0 { 7 } else { last })
        }
        None if step.is_some() => return Err(format!("`{part}`, a step without a range")),
        None => (one(range)?, one(range)?),
    };
    if first > last {
        return Err(format!("`{range}`, a range that ends before it begins"));
    }
    let step = match step {
        None => 1,
        Some(text) => {
            let digits = text.len() <= 2 && text.bytes().all(|byte| byte.is_ascii_digit());
            let step = if digits { text.parse::<u8>().unwrap_or(0) } else { 0 };
            if step == 0 || step > most {
                return Err(format!("the step `{text}`, which is not between 1 and {most}"));
            }
            step
        }
    };
    Ok((first..=last).step_by(usize::from(step)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(name: FieldName, text: &str) -> Vec<u8> {
        Field::parse(name, text).unwrap().values
    }

    #[test]
    fn a_field_is_a_list_of_numbers_names_ranges_and_steps() {
        assert_eq!(values(FieldName::Minute, "*/15"), [0, 15, 30, 45]);
        assert_eq!(values(FieldName::Minute, "5,1-3,40-50/5"), [1, 2, 3, 5, 40, 45, 50]);
        assert_eq!(values(FieldName::Hour, "23"), [23]);
        assert_eq!(values(FieldName::Month, "JAN,mar-May,12"), [1, 3, 4, 5, 12]);
        assert_eq!(values(FieldName::DayOfWeek, "7"), [0]);
        assert_eq!(values(FieldName::DayOfWeek, "5-7"), [0, 5, 6]);
        assert_eq!(values(FieldName::DayOfWeek, "fri-sun"), [0, 5, 6]);
        assert_eq!(values(FieldName::DayOfWeek, "0-6"), [0, 1, 2, 3, 4, 5, 6]);
        assert_eq!(values(FieldName::DayOfWeek, "*/2"), [0, 2, 4, 6]);
        assert_eq!(values(FieldName::DayOfMonth, "*").len(), 31);
    }

    #[test]
    fn what_leaves_nothing_out_is_known() {
        use FieldName::{DayOfMonth, DayOfWeek, Hour, Minute, Month};
        for name in [Minute, Hour, DayOfMonth, Month, DayOfWeek] {
            assert!(Field::parse(name, "*").unwrap().is_all(name), "{name:?}");
            assert!(!Field::parse(name, "1-3").unwrap().is_all(name), "{name:?}");
        }
        assert!(Field::parse(DayOfWeek, "1-7").unwrap().is_all(DayOfWeek));
    }
}
