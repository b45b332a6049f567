//! Spans of calendar time as people write them: `30d`, `2y6mo`, `1w`, `36h`.
//!
//! A span is not a number of seconds: how long `1mo` is depends on where it is counted from
//! (`Span::before` in `calendar.rs`). `m` alone is refused, since it is minutes to some and months to others.

use std::fmt;

/// The longest span.
const MAX_YEARS: u64 = 1000;

/// What a year has of half hours when it has 365¼ days: every unit is a whole number of them.
const YEAR_HALF_HOURS: u64 = 17_532;

/// The units from long to short, with their length in half hours.
const UNITS: [(&str, u64); 5] = [("y", YEAR_HALF_HOURS), ("mo", 1461), ("w", 336), ("d", 48), ("h", 2)];

/// A span of calendar time: longer than nothing, and at most 1000 years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    /// As many as there are [`UNITS`], in their order.
    amounts: [u32; UNITS.len()],
}

/// A text that is not a span.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpanError {
    /// It does not begin with a number.
    #[error("`{0}` is not a span of time: write whole numbers with the units y, mo, w, d and h, such as 30d or 2y6mo")]
    NotASpan(String),
    /// A number without a unit.
    #[error("`{0}` has no unit; write {0}d")]
    NoUnit(String),
    /// A unit that is not known.
    #[error("`{unit}` is not a unit; {}", unit_hint(.unit))]
    Unit {
        /// What follows the number.
        unit: String,
    },
    /// A unit twice, or a short one before a long one.
    #[error("`{0}` is not in order: write each unit once, the longest first, such as 2y6mo or 1w3d")]
    Order(String),
    /// Nothing at all.
    #[error("`{0}` is no time at all; leave it out instead")]
    Zero(String),
    /// Longer than anybody keeps backups.
    #[error("`{0}` is too long: a span is at most {MAX_YEARS}y")]
    TooLong(String),
}

fn unit_hint(unit: &str) -> &'static str {
    match unit {
        "m" | "M" | "mon" | "month" | "months" => "write `mo` for months",
        "Y" | "yr" | "year" | "years" => "write `y` for years",
        "W" | "week" | "weeks" => "write `w` for weeks",
        "D" | "day" | "days" => "write `d` for days",
        "H" | "hr" | "hour" | "hours" => "write `h` for hours",
        _ => "the units are y, mo, w, d and h",
    }
}

impl Span {
    /// How long it is when nothing is known about where it lies: a year has 365 days then, and a month 30.
    #[must_use]
    pub fn nominal_seconds(self) -> u64 {
        let [years, months, weeks, days, hours] = self.amounts.map(u64::from);
        3600 * (hours + 24 * (days + 7 * weeks + 30 * months + 365 * years))
    }

    /// Years and months, as months.
    pub(super) fn months(self) -> i64 {
        let [years, months, ..] = self.amounts.map(i64::from);
        years * 12 + months
    }

    /// Weeks and days, as days.
    pub(super) fn days(self) -> i64 {
        let [_, _, weeks, days, _] = self.amounts.map(i64::from);
        weeks * 7 + days
    }

    /// The hours.
    pub(super) fn hours(self) -> i64 {
        let [.., hours] = self.amounts.map(i64::from);
        hours
    }
}

impl std::str::FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let mut amounts = [0; UNITS.len()];
        let (mut rest, mut longest, mut half_hours) = (text, 0, 0_u64);
        while !rest.is_empty() || longest == 0 {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, after) = rest.split_at(digits);
            if number.is_empty() {
                return Err(SpanError::NotASpan(text.to_owned()));
            }
            let end = after.find(|one: char| one.is_ascii_digit()).unwrap_or(after.len());
            let (unit, after) = after.split_at(end);
            if unit.is_empty() {
                return Err(SpanError::NoUnit(number.to_owned()));
            }
            let known = UNITS.iter().zip(&mut amounts).enumerate().find(|(_, ((name, _), _))| *name == unit);
            let Some((place, ((_, length), amount))) = known else {
                return Err(SpanError::Unit { unit: unit.to_owned() });
            };
            if place < longest {
                return Err(SpanError::Order(text.to_owned()));
            }
            // More than 32 bits of any unit, and the sum of all, is above the bound long before 64 bits are.
            *amount = number.parse().map_err(|_| SpanError::TooLong(text.to_owned()))?;
            half_hours += u64::from(*amount) * length;
            (rest, longest) = (after, place + 1);
        }
        match half_hours {
            0 => Err(SpanError::Zero(text.to_owned())),
            _ if half_hours > MAX_YEARS * YEAR_HALF_HOURS => Err(SpanError::TooLong(text.to_owned())),
            _ => Ok(Self { amounts }),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        let mut text = String::new();
        for (amount, (unit, _)) in self.amounts.iter().zip(UNITS).filter(|(amount, _)| **amount > 0) {
            write!(text, "{amount}{unit}")?;
        }
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_printed_as_they_were_written() {
        for text in ["30d", "2y6mo", "36h", "1w", "1y2mo3w4d5h", "1000y", "12000mo", "365250d", "8766000h"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        assert_eq!("1y0mo07d".parse::<Span>().unwrap().to_string(), "1y7d");
    }

    #[test]
    fn a_span_counts_in_months_days_and_hours() {
        let span: Span = "2y6mo1w3d5h".parse().unwrap();
        assert_eq!((span.months(), span.days(), span.hours()), (30, 10, 5));
        assert_eq!(span.nominal_seconds(), (2 * 365 + 6 * 30 + 7 + 3) * 86_400 + 5 * 3600);
    }

    #[test]
    fn a_text_that_is_no_span_is_refused_and_says_what_to_write() {
        let not = "is not a span of time: write whole numbers with the units y, mo, w, d and h, such as 30d or 2y6mo";
        let order = "is not in order: write each unit once, the longest first, such as 2y6mo or 1w3d";
        let cases = [
            ("", format!("`` {not}")),
            ("d", format!("`d` {not}")),
            ("-3d", format!("`-3d` {not}")),
            ("forever", format!("`forever` {not}")),
            ("30", "`30` has no unit; write 30d".into()),
            ("2y6", "`6` has no unit; write 6d".into()),
            ("6m", "`m` is not a unit; write `mo` for months".into()),
            ("3days", "`days` is not a unit; write `d` for days".into()),
            ("1.5y", "`.` is not a unit; the units are y, mo, w, d and h".into()),
            ("3 d", "` d` is not a unit; the units are y, mo, w, d and h".into()),
            ("3ä", "`ä` is not a unit; the units are y, mo, w, d and h".into()),
            ("6mo2y", format!("`6mo2y` {order}")),
            ("1d1d", format!("`1d1d` {order}")),
            ("0d", "`0d` is no time at all; leave it out instead".into()),
            ("1000y1h", "`1000y1h` is too long: a span is at most 1000y".into()),
            ("99999999999999999999h", "`99999999999999999999h` is too long: a span is at most 1000y".into()),
            ("4294967295y4294967295mo", "`4294967295y4294967295mo` is too long: a span is at most 1000y".into()),
        ];
        for (text, message) in cases {
            assert_eq!(text.parse::<Span>().unwrap_err().to_string(), message);
        }
    }
}
